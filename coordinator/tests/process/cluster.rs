//! Several coordinators of one run, with a real etcd between them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Address, Addresses, ConnectOptions, Connection};
use local_cluster::EtcdServer;
use proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bench::{Bench, until, with};

/// How long a leader may be silent, where nothing else is said: so long that a
/// machine that stands still for some seconds deposes nobody.
pub(crate) const LEADER_LEASE: Duration = Duration::from_secs(10);

/// Coordinators that share an etcd.
pub(crate) struct Coordinators {
    pub(crate) bench: Bench,
    pub(crate) etcd: EtcdServer,
    pub(crate) nodes: Vec<Node>,
    leader_lease: Duration,
}

/// One of them.
pub(crate) struct Node {
    name: String,
    pub(crate) address: Address,
    state_dir: PathBuf,
    child: Option<Child>,
}

impl Coordinators {
    /// One coordinator for each state directory; the first one leads.
    pub(crate) async fn start(state_dirs: &[&str]) -> Coordinators {
        Coordinators::start_with(state_dirs, LEADER_LEASE).await
    }

    /// The same with another lease of the leader's.
    pub(crate) async fn start_with(state_dirs: &[&str], leader_lease: Duration) -> Coordinators {
        let bench = Bench::new();
        let etcd = EtcdServer::start(bench.folder.path()).unwrap();
        let mut coordinators = Coordinators {
            bench,
            etcd,
            nodes: Vec::new(),
            leader_lease,
        };
        for state_dir in state_dirs {
            coordinators.add(state_dir).await;
        }
        coordinators
    }

    fn flags(&self) -> Vec<String> {
        let flags = with(self.bench.flags(1), "--num_epochs", "9");
        let lease = self.leader_lease.as_millis().to_string();
        let flags = with(flags, "--leader-lease-ms", &lease);
        with(flags, "--store", &self.store())
    }

    fn store(&self) -> String {
        format!("etcd://{}", self.etcd.endpoint())
    }

    /// Starts one more, and waits until it is what it is going to be.
    pub(crate) async fn add(&mut self, state_dir: &str) {
        let name = format!("c{}", self.nodes.len());
        let address = self.spawn(&name, state_dir, "127.0.0.1:0").await;
        let state_dir = self.bench.path(state_dir);
        self.nodes.push(Node {
            name,
            address: address.1,
            state_dir,
            child: Some(address.0),
        });
        let (index, is_first) = (self.nodes.len() - 1, self.nodes.len() == 1);
        self.wait("the coordinator to know what it is", |all| {
            match is_first {
                true => all.state(index)? != "standby",
                // Its leader knows of it as well.
                false => {
                    all.detail(index)?.contains("state directory")
                        || all.detail(index)?.contains("copies")
                }
            }
            .then_some(())
        })
        .await;
    }

    async fn spawn(&self, name: &str, state_dir: &str, listen: &str) -> (Child, Address) {
        let address_file = self.bench.path(&format!("{name}.address"));
        let _ = std::fs::remove_file(&address_file);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.bench.path(&format!("{name}.log")))
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_coordinator"))
            .current_dir(self.bench.folder.path())
            .env_remove("RUST_LOG")
            .args(self.flags())
            .args(["--listen", listen, "--state-dir", state_dir])
            .arg("--address-file")
            .arg(&address_file)
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let address = until("the coordinator to listen", || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", self.logs());
            std::fs::read_to_string(&address_file).ok()
        });
        let address = address.await.trim().parse().unwrap();
        (child, address)
    }

    /// Starts one that was killed again, at its address.
    pub(crate) async fn start_again(&mut self, index: usize) {
        let node = &self.nodes[index];
        let listen = node.address.to_string();
        let state_dir = node.state_dir.display().to_string();
        let (child, _) = self.spawn(&node.name, &state_dir, &listen).await;
        self.nodes[index].child = Some(child);
    }

    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let child = self.nodes[index].child.as_ref().unwrap();
        let pid = Pid::from_child(child);
        kill_process(pid, signal).unwrap();
    }

    /// Kills one, as a power cut would.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.nodes[index].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until one has ended by itself, and says whether in good order.
    pub(crate) async fn ended(&mut self, index: usize) -> bool {
        let mut child = self.nodes[index].child.take().unwrap();
        let status = until("the coordinator to end", || child.try_wait().unwrap()).await;
        status.success()
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::of(self.nodes.iter().map(|node| node.address.clone())).unwrap()
    }

    /// A connection that follows the leader.
    pub(crate) fn connection(&self) -> Connection {
        Connection::lazy(self.addresses(), &ConnectOptions::default()).unwrap()
    }

    /// A connection to one.
    pub(crate) fn direct(&self, index: usize) -> Connection {
        Connection::direct(&self.nodes[index].address, &ConnectOptions::default()).unwrap()
    }

    /// Has one hear that another stands by, as that one says itself every second.
    pub(crate) async fn present(&self, standby: usize, to: usize) {
        let request = v1::DescribeRequest {
            standby: self.nodes[standby].address.to_string(),
        };
        let described = self.direct(to).coordinators().describe(request).await;
        assert!(described.unwrap().into_inner().leads, "{}", self.logs());
    }

    /// What a subcommand prints as JSON; `None` if it fails.
    pub(crate) fn ask(&self, arguments: &[&str], of: &str) -> Option<Value> {
        let (answer, is_good) = self.answer(arguments, of)?;
        is_good.then_some(answer)
    }

    /// What a subcommand prints as JSON, and whether it succeeds; `None` if it gets
    /// no answer.
    pub(crate) fn answer(&self, arguments: &[&str], of: &str) -> Option<(Value, bool)> {
        let output = Command::new(env!("CARGO_BIN_EXE_coordinator"))
            .args(arguments)
            .args(["--json", "--coordinator", of])
            .output()
            .unwrap();
        let answer = serde_json::from_slice(&output.stdout).ok()?;
        Some((answer, output.status.success()))
    }

    /// The steps as they are stored, whoever leads.
    pub(crate) fn stored_steps(&self) -> Vec<Value> {
        let store = self.store();
        let said = self.bench.say(&["steps", "--json", "--store", &store]);
        serde_json::from_str(&said).unwrap()
    }

    fn status(&self, index: usize) -> Option<Value> {
        self.ask(&["status"], &self.nodes[index].address.to_string())
    }

    pub(crate) fn state(&self, index: usize) -> Option<String> {
        Some(self.status(index)?["state"].as_str()?.to_owned())
    }

    pub(crate) fn detail(&self, index: usize) -> Option<String> {
        Some(self.status(index)?["detail"].as_str()?.to_owned())
    }

    /// Steps that the leader has reports of.
    pub(crate) async fn steps(&self, connection: &Connection) -> Option<u64> {
        let mut operator = connection.operator();
        let status = operator.status(v1::StatusRequest {}).await.ok()?;
        let status = status.into_inner();
        (status.state != "standby").then(|| status.cursor.unwrap_or_default().step)
    }

    /// Waits until the leader has so many steps, and says how many it has.
    pub(crate) async fn reach(&self, connection: &Connection, steps: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let has = self.steps(connection).await;
            if let Some(has) = has.filter(|has| *has >= steps) {
                return has;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for step {steps}, at {has:?}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn wait<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        until(what, || ask(self)).await
    }

    pub(crate) fn state_dir(&self, index: usize) -> &PathBuf {
        &self.nodes[index].state_dir
    }

    pub(crate) fn log(&self, index: usize) -> String {
        let name = format!("{}.log", self.nodes[index].name);
        std::fs::read_to_string(self.bench.path(&name)).unwrap_or_default()
    }

    pub(crate) fn logs(&self) -> String {
        let logs = (0..self.nodes.len()).map(|index| format!("-- c{index}\n{}", self.log(index)));
        logs.collect()
    }
}

impl Drop for Coordinators {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
