//! Commands that are ended early: by a signal, or by a reader that has seen
//! enough.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use local_cluster::EtcdServer;
use proto::v1;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, until, with};
use crate::store::{finished_run, json};
use crate::worker::{End, FakeWorker, Quirks};

/// Somebody who lets others call, and never answers.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Silent(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Waits until a process has called: from then on it waits for an answer.
    async fn called_by(&self, child: &mut Child) -> TcpStream {
        until("a call", || {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            self.0.accept().ok().map(|(stream, _)| stream)
        })
        .await
    }

    /// How a process ends that gets one signal while it waits.
    async fn code(&self, bench: &Bench, arguments: &[&str], signal: Signal) -> Option<i32> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut child = bench
            .command(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let call = self.called_by(&mut child).await;
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = until("it to end", || child.try_wait().unwrap()).await;
        drop(call);
        status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_ends_a_command_and_it_has_not_succeeded() {
    let bench = Bench::new();
    bench.start(&bench.flags(1)).await.kill();
    json(&bench, &["backup", "--state-dir", "state", "--to", "saved"]);
    // A server for each: a command may call more than once, and a call that nobody
    // took must not be mistaken for the next command's.
    let of_coordinator: [&[&str]; 4] = [&["status"], &["steps"], &["events"], &["audit"]];
    for command in of_coordinator {
        let silent = Silent::new();
        let address = silent.address();
        let arguments = [command, &["--coordinator", &address]].concat();
        let code = silent.code(&bench, &arguments, Signal::INT).await;
        assert_eq!(code, Some(130), "{arguments:?}");
    }
    let of_store: [&[&str]; 3] = [
        &["steps"],
        &["backup", "--to", "made"],
        &["restore", "--from", "saved"],
    ];
    for command in of_store {
        let silent = Silent::new();
        let store = format!("etcd://{}", silent.address());
        let arguments = [command, &["--store", &store]].concat();
        let code = silent.code(&bench, &arguments, Signal::INT).await;
        assert_eq!(code, Some(130), "{arguments:?}");
    }
    assert!(!bench.path("made").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_ends_it_with_a_signal() {
    let bench = Bench::new();
    for what in ["steps", "events"] {
        let silent = Silent::new();
        let address = silent.address();
        let arguments = [what, "--follow", "--coordinator", &address];
        let code = silent.code(&bench, &arguments, Signal::TERM).await;
        assert_eq!(code, Some(0), "{what}");
    }
}

/// Flags of a coordinator whose dataset server never answers.
fn without_data(bench: &Bench, silent: &Silent) -> Vec<String> {
    let mut flags = bench.flags(1);
    let data = flags.iter().position(|flag| flag == "--data").unwrap();
    flags.drain(data..data + 2);
    let endpoint = format!("http://{}", silent.address());
    for (flag, value) in [
        ("--dataset-endpoint", &endpoint[..]),
        ("--listen", "127.0.0.1:0"),
        ("--state-dir", "state"),
    ] {
        flags = with(flags, flag, value);
    }
    flags
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_ends_a_coordinator_that_has_not_begun_to_lead() {
    let (bench, silent) = (Bench::new(), Silent::new());
    let flags = without_data(&bench, &silent);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let code = silent.code(&bench, &flags, Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(!bench.state_dir().exists(), "something is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_ends_an_elected_coordinator_that_has_no_run_yet() {
    let (bench, silent) = (Bench::new(), Silent::new());
    let etcd = EtcdServer::start(bench.folder.path()).unwrap();
    let store = format!("etcd://{}", etcd.endpoint());
    let flags = with(without_data(&bench, &silent), "--store", &store);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let code = silent.code(&bench, &flags, Signal::TERM).await;
    assert_eq!(code, Some(0));

    // Nothing is in the way of whoever comes next, and leads to the end.
    let flags = with(bench.flags(1), "--store", &store);
    let flags = with(flags, "--leader-lease-ms", "30000");
    let running = bench.start(&flags).await;
    let worker = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    let complete = End::Stopped(v1::stop::Reason::Complete);
    assert_eq!(worker.work().await, complete);
    assert!(running.ended().await.success(), "{}", bench.log());
}

/// The exit code and the errors of a command whose output nobody reads.
fn unread(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let child = bench
        .command(&arguments)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let bench = finished_run().await;
    let from = ["--state-dir", "state"];
    for arguments in [
        &["steps"][..],
        &["steps", "--json"],
        &["events"],
        &["audit"],
        &["audit", "--json"],
        &["backup", "--to", "one"],
        &["backup", "--to", "two", "--json"],
    ] {
        let arguments = [arguments, &from].concat();
        let (code, said) = unread(&bench, &arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    let restore = ["restore", "--from", "one", "--state-dir", "other"];
    let (code, said) = unread(&bench, &restore);
    assert_eq!(code, Some(0), "{said}");
    let steps = |of| json(&bench, &["steps", "--state-dir", of]);
    assert_eq!(steps("other"), steps("state"));

    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let address = running.address.to_string();
    for arguments in [&["status"][..], &["status", "--json"], &["steps", "--json"]] {
        let arguments = [arguments, &["--coordinator", &address]].concat();
        let (code, said) = unread(&bench, &arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
}
