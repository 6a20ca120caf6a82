//! Whatever happens to a machine or a cable, the run is the one that it would
//! have been, and nothing of it stays behind.
//!
//! A few disturbances each, chosen so that every kind of fault happens once or
//! more; `cargo xtask chaos` goes on for as long as one likes.

use std::sync::LazyLock;
use std::time::Duration;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::chaos::{Chaos, Fault, Injected, Kind, Return, largest_difference};
use local_cluster::{Cut, Follower, Network, Step};

/// How long a worker may be silent. Short, so that tests are; yet longer than
/// a busy machine keeps a process waiting.
const LEASE: Duration = Duration::from_secs(3);
/// Longer than a lease.
const LONG: Duration = Duration::from_millis(4200);
/// Shorter than anyone's patience.
const SHORT: Duration = Duration::from_millis(400);

/// The most by which losses may differ, relatively, in fp32: sums over other
/// shares are rounded otherwise.
const TOLERANCE: f64 = 1e-4;
/// Steps over which they are compared.
const STEPS: usize = 50;

/// A run without an end.
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

/// The first steps of that run when nothing happens to it.
static UNDISTURBED: LazyLock<Vec<Step>> = LazyLock::new(|| {
    let mut cluster = TestCluster::new();
    let run = run(&cluster, 1);
    cluster.start(&run);
    cluster.wait_for_steps(STEPS);
    cluster.stop(LIMIT).unwrap();
    cluster.audited_steps()
});

struct Disturbed {
    injected: Vec<Injected>,
    steps: Vec<Step>,
}

impl Disturbed {
    fn of(&self, kind: Kind) -> impl Iterator<Item = &Injected> {
        self.injected.iter().filter(move |one| one.kind == kind)
    }
}

/// A run of three workers with these faults, and what is promised of any: its
/// reports never go back to an older generation, its audit is clean, its losses
/// are those of the undisturbed run, and nothing is left of it.
fn disturbed(network: Network, faults: impl IntoIterator<Item = Fault>) -> Disturbed {
    let method = network.method();
    let mut cluster = TestCluster::in_network(network);
    let run = run(&cluster, 3);
    cluster.start(&run);
    let workers = (1..=3).map(|number| format!("worker-{number}")).collect();
    let mut look = |_: &Follower| Ok(());
    let mut chaos = Chaos::new(
        &mut cluster,
        workers,
        Return::AfterRecovery,
        LIMIT,
        &mut look,
    );
    for fault in faults {
        chaos.settle(fault.after_steps).unwrap();
        let injected = chaos.inject(&fault).unwrap();
        // Shown when the test fails.
        println!("cuts by {method}: {injected:?}");
    }
    chaos.settle(1).unwrap();
    let generations = chaos.follower().seen().iter();
    let generations = generations.map(|seen| seen.step.generation);
    assert!(generations.is_sorted(), "an old generation reported a step");
    let injected = chaos.injected().to_vec();
    drop(chaos);

    cluster.wait_for_steps(STEPS);
    cluster.note_ports();
    cluster.stop(LIMIT).unwrap();
    let steps = cluster.audited_steps();
    assert_eq!(cluster.left_behind(), Vec::<String>::new());
    assert_same(&steps);
    Disturbed { injected, steps }
}

fn assert_same(steps: &[Step]) {
    let (difference, compared) = largest_difference(&UNDISTURBED, steps, STEPS);
    assert_eq!(compared, STEPS);
    assert!(
        difference <= TOLERANCE,
        "the losses differ by {difference:.1e}, relatively"
    );
}

fn fault(kind: Kind, worker: usize, after_steps: u64) -> Fault {
    Fault {
        kind,
        victim: worker - 1,
        lasts: LONG,
        cut: Cut::Both,
        after_steps,
    }
}

#[test]
fn ten_disturbances_change_no_loss() {
    // Nobody breaks three young generations in a row, which would set it aside.
    let ridden_out = |fault| Fault {
        lasts: SHORT,
        ..fault
    };
    let disturbed = disturbed(
        Network::new(),
        [
            fault(Kind::KillWorker, 1, 3),
            fault(Kind::KillCoordinator, 1, 3),
            fault(Kind::PauseWorker, 2, 3),
            fault(Kind::CutWorker, 3, 3),
            ridden_out(fault(Kind::CutCoordinator, 1, 3)),
            fault(Kind::DrainWorker, 1, 3),
            fault(Kind::PauseCoordinator, 1, 3),
            fault(Kind::KillWorker, 2, 11),
            ridden_out(fault(Kind::PauseWorker, 3, 3)),
            fault(Kind::KillWorker, 3, 3),
        ],
    );
    for killed in disturbed.of(Kind::KillWorker) {
        // The survivors go on; a lease is not waited for.
        let recovery = killed.recovery.unwrap();
        assert!(recovery < LEASE.as_secs_f64(), "{killed:?}");
    }
    for restarted in disturbed.of(Kind::KillCoordinator) {
        assert!(restarted.lived_on(), "{restarted:?}");
    }
    for paused in disturbed
        .of(Kind::PauseWorker)
        .filter(|one| one.lasted > 1.0)
    {
        // The others did not wait for it to wake up.
        assert!(paused.recovery.unwrap() < paused.lasted, "{paused:?}");
    }
}

#[test]
fn a_worker_that_the_coordinator_cannot_hear_is_left_behind_and_comes_back() {
    let disturbed = disturbed(
        Network::of_proxies(),
        [Cut::Outgoing, Cut::Incoming].map(|cut| Fault {
            cut,
            ..fault(Kind::CutWorker, 2, 11)
        }),
    );
    for cut in disturbed.of(Kind::CutWorker) {
        assert!(!cut.lived_on(), "{cut:?}");
    }
    assert!(disturbed.steps.len() >= STEPS);
}

#[test]
fn workers_come_and_go_between_the_fewest_and_the_most() {
    let mut cluster = TestCluster::new();
    let mut run = run(&cluster, 1);
    run.more.push("--max-workers=3".to_owned());
    cluster.start(&run);
    // One after the other, whatever the run is at; the last one has to wait.
    for number in 2..=4 {
        let taken = cluster.steps(0).unwrap().len();
        cluster.wait_for_steps(taken + 3);
        cluster.start_one_worker(number, &[]);
        let everyone: Vec<String> = (1..=number.min(3)).map(|n| format!("worker-{n}")).collect();
        cluster.wait_for_members(&everyone);
    }
    cluster.wait_for_worker("worker-4", "ready");
    assert_eq!(cluster.members(), ["worker-1", "worker-2", "worker-3"]);

    let worker = cluster.worker("worker-2").unwrap();
    worker.signal(local_cluster::Signal::TERM).unwrap();
    let status = worker.wait(LIMIT).unwrap();
    assert_eq!(status.code(), Some(0), "{}", worker.log_tail());
    cluster.wait_for_members(&["worker-1", "worker-3", "worker-4"]);

    cluster.wait_for_steps(STEPS);
    cluster.stop(LIMIT).unwrap();
    assert_same(&cluster.audited_steps());
}
