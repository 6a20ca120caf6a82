//! A worker that is alive and does nothing: its device hangs.
//!
//! The worker is the real one, with a fault ordered by `PEREGRINE_FAULT`; only
//! builds with debug assertions have such faults.

use std::time::Duration;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::wait_until;
use serde_json::Value;

/// The exit code by which a worker asks to be started again.
const RESTART: i32 = 75;

fn events(cluster: &TestCluster, kind: &str) -> Vec<Value> {
    let mut command = cluster.command("coordinator");
    command.args(["events", "--json", "--kind", kind, "--coordinator"]);
    let output = command.arg(cluster.address()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_worker_whose_device_hangs_is_left_behind_by_name_and_starts_over() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: -1,
        more: ["--heartbeat-ms=500", "--lease-ms=3000"]
            .map(str::to_owned)
            .to_vec(),
        ..Run::of(&cluster.text()).with_workers(3)
    };
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.start_one_worker(1, &[]);
    cluster.start_one_worker(2, &[]);
    // Late enough for the generation's pace to be known.
    cluster.set_variable("PEREGRINE_FAULT", Some("hang@8"));
    cluster.start_one_worker(3, &[]);
    cluster.set_variable("PEREGRINE_FAULT", None);

    let hung = |cluster: &mut TestCluster| {
        let mut workers = cluster.workers().iter_mut();
        workers.find(|w| w.name() == "worker-3").unwrap().ended()
    };
    let status = wait_until("the hung worker to give up", LIMIT, || hung(&mut cluster)).unwrap();
    assert_eq!(status.code(), Some(RESTART));
    let straggled = events(&cluster, "straggled");
    assert!(
        straggled.iter().all(|event| event["worker"] == "worker-3"),
        "{straggled:?}"
    );
    let text = straggled[0]["text"].as_str().unwrap();
    assert!(text.contains("training at step 8"), "{text}");

    // As its supervisor would.
    cluster.start_one_worker(3, &[]);
    let rejoined = wait_until("worker-3 to train again", LIMIT, || {
        let formed = events(&cluster, "generation-formed");
        let last = formed.last().map(|event| event["text"].to_string());
        Ok(last.filter(|text| text.contains("worker worker-3 joins")))
    });
    rejoined.unwrap();
    cluster.wait_for_steps(12);
    cluster.stop(Duration::from_secs(60)).unwrap();
    cluster.audited_steps();
    cluster.assert_nothing_is_left();
}
