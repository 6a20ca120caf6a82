//! Whatever happens to a machine or a cable, the run is the one that it would
//! have been, and nothing of it stays behind.

use std::time::Duration;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::chaos::{Chaos, Fault, Injected, Kind, Return, largest_difference};
use local_cluster::{Cut, Follower, Network, Step};

/// How long a worker may be silent. Short, so that tests are; yet longer than
/// a busy machine keeps a process waiting.
const LEASE: Duration = Duration::from_secs(3);

/// The most by which losses may differ, relatively, in fp32: sums over other
/// shares are rounded otherwise.
const TOLERANCE: f64 = 1e-4;

fn run(cluster: &TestCluster, workers: u32) -> Run {
    Run {
        epochs: -1,
        pages_per_epoch: 8,
        more: vec![
            "--heartbeat-ms=300".to_owned(),
            format!("--lease-ms={}", LEASE.as_millis()),
        ],
        ..Run::of(&cluster.text()).with_workers(workers)
    }
}

/// The first steps of a run that nothing happens to.
fn undisturbed(steps: usize) -> Vec<Step> {
    let mut cluster = TestCluster::new();
    let run = run(&cluster, 1);
    cluster.start(&run);
    cluster.wait_for_steps(steps);
    cluster.stop(LIMIT).unwrap();
    cluster.audited_steps()
}

struct Disturbed {
    injected: Vec<Injected>,
    steps: Vec<Step>,
}

/// A run of three workers with these faults, and the promise that its audit is
/// clean and nothing is left of it.
fn disturbed(network: Network, faults: impl IntoIterator<Item = Fault>) -> Disturbed {
    let mut cluster = TestCluster::in_network(network);
    let run = run(&cluster, 3);
    cluster.start(&run);
    let workers = (1..=3).map(|number| format!("worker-{number}")).collect();
    let mut look = |_: &Follower| Ok(());
    let mut chaos = Chaos::new(&mut cluster, workers, Return::AfterRecovery, LIMIT, &mut look);
    let mut injected = Vec::new();
    for fault in faults {
        chaos.settle(fault.after_steps).unwrap();
        let fault = chaos.inject(&fault).unwrap();
        eprintln!("{fault:?}");
        injected.push(fault);
    }
    chaos.settle(2).unwrap();
    drop(chaos);
    cluster.stop(LIMIT).unwrap();
    let steps = cluster.audited_steps();
    assert_eq!(cluster.left_behind(), Vec::<String>::new());
    Disturbed { injected, steps }
}

fn assert_same(reference: &[Step], other: &[Step]) {
    let (difference, compared) = largest_difference(reference, other, usize::MAX);
    assert!(compared >= 20, "{compared} steps");
    assert!(
        difference <= TOLERANCE,
        "the losses differ by {difference:.1e}"
    );
    eprintln!("{difference:.2e} over {compared}");
}

#[test]
fn every_kind() {
    let reference = undisturbed(120);
    let one = |kind, lasts: f64| Fault {
        kind,
        victim: 1,
        lasts: LEASE.mul_f64(lasts),
        cut: Cut::Both,
        after_steps: 3,
    };
    let run = disturbed(
        Network::new(),
        Kind::ALL
            .into_iter()
            .flat_map(|kind| [one(kind, 0.2), one(kind, 1.4)]),
    );
    assert_same(&reference, &run.steps);
}
