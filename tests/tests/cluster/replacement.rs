//! A worker that dies is replaced, and the run is the one that it would have
//! been.

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::{Error, Process, Signal, wait_until};

use crate::chaos::{STEPS, assert_undisturbed, run};

/// The exit code by which a worker asks to be started again.
const RESTART: i32 = 75;

#[test]
fn a_killed_worker_costs_no_sequence_and_changes_no_loss() {
    let mut cluster = TestCluster::new();
    // Without an end, so that neither of them is killed too late.
    let run = Run {
        // Nobody has to be left behind soon: who is killed is missed at once.
        more: Vec::new(),
        ..run(&cluster, 2)
    };
    cluster.start(&run);
    for number in [2, 1] {
        let before = cluster.wait_for_steps(3).len();
        let name = format!("worker-{number}");
        for worker in cluster.workers() {
            if worker.name() == name {
                worker.kill();
            }
        }
        cluster.start_one_worker(number, &[]);
        cluster.wait_for_steps(before + 1);
    }
    cluster.wait_for_steps(STEPS);
    cluster.stop(LIMIT).unwrap();

    let disturbed = cluster.audited_steps();
    cluster.assert_nothing_is_left();
    let generations = disturbed.last().unwrap().generation;
    assert!(generations >= 3, "{generations} generations for two deaths");
    assert_undisturbed(&disturbed);
}

#[test]
fn a_worker_whose_name_another_took_meanwhile_asks_to_be_started_again() {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: -1,
        // Who stops is left behind after three of them; a busy machine keeps nobody
        // waiting for so long.
        more: vec!["--heartbeat-ms=2000".to_owned()],
        ..Run::of(&cluster.text()).with_workers(2)
    };
    cluster.start(&run);
    cluster.wait_for_steps(3);
    let second = |cluster: &mut TestCluster, signal| {
        let mut workers = cluster.workers().iter_mut();
        let second = workers.find(|worker| worker.name() == "worker-2");
        second.unwrap().signal(signal).unwrap();
    };
    second(&mut cluster, Signal::STOP);
    cluster.wait_for_members(&["worker-1"]);
    let mut command = cluster.command("worker");
    command
        .args(["--name=worker-2", "--device=cpu", "--threads=1"])
        .args(["--precision=fp32", "--advertise=127.0.0.1"])
        .args(["--coordinator", cluster.address()])
        .arg("--cache-dir")
        .arg(cluster.file("namesake-cache"));
    let mut namesake = Process::start("namesake", &mut command, cluster.folder()).unwrap();
    cluster.wait_for_members(&["worker-1", "worker-2"]);
    assert_was_warm(&namesake.log_text());

    second(&mut cluster, Signal::CONT);
    let status = wait_until("the first worker-2 to give up", LIMIT, || {
        let mut workers = cluster.workers().iter_mut();
        workers.find(|w| w.name() == "worker-2").unwrap().ended()
    });
    assert_eq!(status.unwrap().code(), Some(RESTART));
    // Nobody else noticed.
    assert_eq!(cluster.members(), ["worker-1", "worker-2"]);
    namesake.expect_running().unwrap();
    let stopped = cluster.stop(LIMIT);
    assert!(
        matches!(&stopped, Err(Error::Ended { name, .. }) if name == "worker-2"),
        "{stopped:?}"
    );
    assert!(namesake.wait(LIMIT).unwrap().success());
    cluster.audited_steps();
    cluster.assert_nothing_is_left();
}

/// Worker-1 trained all the time, so the newcomer had pages to fetch before it
/// interrupted it.
fn assert_was_warm(log: &str) {
    let (before, after) = log
        .split_once("the next pages are here pages=")
        .unwrap_or_else(|| panic!("it was not warm:\n{log}"));
    assert!(!after.starts_with("0 "), "{log}");
    assert!(!before.contains("generation formed"), "{log}");
}
