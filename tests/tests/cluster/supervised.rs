//! `--device cuda:all`: one worker per GPU, none of them lost for good, and none
//! left behind.
//!
//! CPU workers stand in for the GPUs, which only builds with debug assertions
//! can do.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::{Signal, wait_until};

const SUPERVISOR: &str = "box";
/// The exit code of whoever leaves on a second signal.
const INTERRUPTED: i32 = 130;

/// A run without an end on `gpus` supervised workers that share `more` flags.
fn running(gpus: u32, fault: Option<&str>, more: &[&str]) -> TestCluster {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: -1,
        ..Run::of(&cluster.text()).with_workers(gpus)
    };
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.set_variable("PEREGRINE_STAND_IN_GPUS", Some(&gpus.to_string()));
    cluster.set_variable("PEREGRINE_FAULT", fault);
    let mut flags = vec!["--threads=1", "--precision=fp32"];
    flags.extend(more);
    cluster
        .start_worker_on("cuda:all", SUPERVISOR, &flags)
        .unwrap();
    cluster
}

fn names(gpus: u32) -> Vec<String> {
    (0..gpus)
        .map(|gpu| format!("{SUPERVISOR}-cpu{gpu}"))
        .collect()
}

/// Whether a process is there and its parent, unless it has ended.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the program's name, which may hold anything: state and parent.
    let mut columns = stat.rsplit_once(") ")?.1.split(' ');
    let state = columns.next()?;
    let parent = columns.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}

fn children_of(supervisor: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(supervisor))
        .collect()
}

/// The child whose command line names this worker.
fn child_named(supervisor: u32, name: &str) -> u32 {
    let is_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == name.as_bytes())
    };
    children_of(supervisor).into_iter().find(is_it).unwrap()
}

fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(sent.success(), "{kill}");
}

fn wait_until_gone(pids: &BTreeSet<u32>) {
    wait_until(format!("{pids:?} to be gone"), LIMIT, || {
        Ok(pids
            .iter()
            .all(|pid| parent_of(*pid).is_none())
            .then_some(()))
    })
    .unwrap();
}

/// So many free ports in a row, each of them held, below those that the system
/// gives to whoever asks for any. Each test looks in a range of its own.
fn held_ports(count: u16, range: u16) -> (u16, Vec<TcpListener>) {
    let from = 12_000 + range * 4_000 + (std::process::id() % 3_000) as u16;
    (from..from + 900)
        .step_by(count.into())
        .find_map(|first| {
            let ports = first..first + count;
            let listeners: Vec<TcpListener> = ports
                .map_while(|port| TcpListener::bind(("0.0.0.0", port)).ok())
                .collect();
            (listeners.len() == usize::from(count)).then_some((first, listeners))
        })
        .expect("there are free ports")
}

/// The first of so many free ports in a row.
fn free_ports(count: u16, range: u16) -> u16 {
    held_ports(count, range).0
}

#[test]
fn a_worker_that_is_killed_comes_back_while_a_sibling_holds_its_store_port() {
    if !cfg!(debug_assertions) {
        return;
    }
    let port = format!("--store-port={}", free_ports(3, 0));
    let mut cluster = running(3, None, &[&port]);
    cluster.wait_for_members(&names(3));
    cluster.wait_for_steps(3);
    let supervisor = cluster.workers()[0].id();
    // The last rank: the others go on, with rank 0's store open.
    let killed = child_named(supervisor, &names(3)[2]);
    signal(killed, "KILL");
    wait_until("another process in its place", LIMIT, || {
        let children = children_of(supervisor);
        Ok((children.len() == 3 && !children.contains(&killed)).then_some(()))
    })
    .unwrap();
    cluster.wait_for_members(&names(3));
    let taken = cluster.wait_for_steps(0).len();
    cluster.wait_for_steps(taken + 3);
    cluster.stop(LIMIT).unwrap();
    cluster.audited_steps();
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed_and_it_can_be_started_again() {
    if !cfg!(debug_assertions) {
        return;
    }
    let port = format!("--store-port={}", free_ports(2, 1));
    let mut cluster = running(2, None, &[&port]);
    cluster.wait_for_members(&names(2));
    cluster.wait_for_steps(3);
    let supervisor = cluster.workers()[0].id();
    let children = children_of(supervisor);
    assert_eq!(children.len(), 2);
    // Of its own group there is nobody else.
    cluster.workers()[0].kill();
    // At once, with the same ports: its children are on their way out.
    cluster.start_worker_again(SUPERVISOR).unwrap();
    wait_until_gone(&children);
    let taken = cluster.wait_for_steps(0).len();
    cluster.wait_for_steps(taken + 3);
    cluster.stop(LIMIT).unwrap();
}

#[test]
fn a_second_signal_leaves_no_worker_behind() {
    if !cfg!(debug_assertions) {
        return;
    }
    // In the middle of a step that does not end: nobody can drain.
    let mut cluster = running(2, Some("hang@3"), &[]);
    cluster.wait_for_steps(3);
    let supervisor = &mut cluster.workers()[0];
    let children = children_of(supervisor.id());
    assert_eq!(children.len(), 2);
    supervisor.signal(Signal::TERM).unwrap();
    wait_until("both workers to drain", LIMIT, || {
        let draining = supervisor.log_text().matches("draining;").count();
        Ok((draining == 2).then_some(()))
    })
    .unwrap();
    // One that can do nothing by itself is left by no kindness.
    let stopped = children.first().copied().unwrap();
    signal(stopped, "STOP");
    supervisor.signal(Signal::INT).unwrap();
    let status = supervisor.wait(LIMIT).unwrap();
    assert_eq!(
        status.code(),
        Some(INTERRUPTED),
        "{}",
        supervisor.log_tail()
    );
    wait_until_gone(&children);
}

#[test]
fn a_store_port_of_any_of_the_workers_that_is_taken_is_refused_by_its_number() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut cluster = TestCluster::new();
    cluster.set_variable("PEREGRINE_STAND_IN_GPUS", Some("2"));
    let (first, mut held) = held_ports(2, 2);
    // The second one stays held: a port that was let go cannot always be had again
    // at once, for a program that another test starts may have a copy of it.
    drop(held.remove(0));
    let store_port = format!("--store-port={first}");
    let flags = [
        "--coordinator=127.0.0.1:1",
        "--device=cuda:all",
        &store_port,
    ];
    let taken = (first + 1).to_string();
    cluster.refused("worker", &flags, &["--store-port", &taken]);
}

#[test]
fn workers_that_are_all_refused_are_refused_as_one() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut cluster = TestCluster::new();
    let run = Run::of(&cluster.text());
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.set_variable("PEREGRINE_STAND_IN_GPUS", Some("2"));
    let coordinator = format!("--coordinator={}", cluster.address());
    let flags = [
        "--device=cuda:all",
        "--data=/nowhere/text.jsonl",
        &coordinator,
    ];
    // The children print what they refuse; the supervisor names one of them.
    cluster.refused(
        "worker",
        &flags,
        &["--data", "/nowhere/text.jsonl", "ended with exit status: 2"],
    );
}
