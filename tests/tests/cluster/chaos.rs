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
pub(crate) const STEPS: usize = 50;
/// The same where ten disturbances have to begin within them. Up to here,
/// rounding has not grown to the tolerance by a long way; after 170 steps it has.
const STEPS_OF_TEN: usize = 100;
/// Of those, how many come after the last disturbance at least.
const STEPS_AFTER_TEN: u64 = 10;

/// A run without an end.
pub(crate) fn run(cluster: &TestCluster, workers: u32) -> Run {
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

/// The same with steps that take several times as long: while a process starts,
/// the others take a few of them and not dozens.
fn slow_run(cluster: &TestCluster, workers: u32) -> Run {
    Run {
        global_batch: 40,
        pages_per_epoch: 24,
        ..run(cluster, workers)
    }
}

/// The first steps of that run when nothing happens to it.
static UNDISTURBED: LazyLock<Vec<Step>> = LazyLock::new(|| undisturbed(&PLAIN, 1));

/// What is disturbed.
struct Trial {
    run: fn(&TestCluster, u32) -> Run,
    /// It takes so many steps or more.
    steps: usize,
    /// Whether pauses and cuts of a worker end when the others have gone on.
    undoes_early: bool,
}

const PLAIN: Trial = Trial {
    run,
    steps: STEPS,
    undoes_early: false,
};

fn undisturbed(trial: &Trial, workers: u32) -> Vec<Step> {
    let mut cluster = TestCluster::new();
    let run = (trial.run)(&cluster, workers);
    cluster.start(&run);
    cluster.wait_for_steps(trial.steps);
    cluster.stop(LIMIT).unwrap();
    cluster.audited_steps()
}

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
/// reports never go back to an older generation, its audit is clean, and nothing
/// is left of it.
fn disturbed(
    network: Network,
    trial: &Trial,
    faults: impl IntoIterator<Item = Fault>,
) -> Disturbed {
    let method = network.method();
    let mut cluster = TestCluster::in_network(network);
    let run = (trial.run)(&cluster, 3);
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
    if trial.undoes_early {
        chaos = chaos.undoing_early();
    }
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

    cluster.wait_for_steps(trial.steps);
    cluster.stop(LIMIT).unwrap();
    let steps = cluster.audited_steps();
    cluster.assert_nothing_is_left();
    Disturbed { injected, steps }
}

/// The promise that so many steps are those of the undisturbed run.
pub(crate) fn assert_undisturbed(steps: &[Step]) {
    assert_same(&UNDISTURBED, steps, STEPS);
}

#[track_caller]
fn assert_same(undisturbed: &[Step], steps: &[Step], count: usize) {
    let (difference, compared) = largest_difference(undisturbed, steps, count);
    assert_eq!(compared, count);
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
    // Few steps pass while something is wrong, so that all ten come early.
    let trial = Trial {
        run: slow_run,
        steps: STEPS_OF_TEN,
        undoes_early: true,
    };
    // Nobody breaks three young generations in a row, which would set it aside.
    let ridden_out = |fault| Fault {
        lasts: SHORT,
        ..fault
    };
    let disturbed = disturbed(
        Network::new(),
        &trial,
        [
            fault(Kind::KillWorker, 1, 2),
            fault(Kind::KillCoordinator, 1, 1),
            // Silence counts sooner in a generation that has made three steps.
            fault(Kind::PauseWorker, 2, 3),
            fault(Kind::CutWorker, 3, 3),
            ridden_out(fault(Kind::CutCoordinator, 1, 1)),
            fault(Kind::DrainWorker, 1, 1),
            ridden_out(fault(Kind::PauseCoordinator, 1, 1)),
            fault(Kind::KillWorker, 2, 11),
            ridden_out(fault(Kind::PauseWorker, 3, 1)),
            fault(Kind::KillWorker, 3, 1),
        ],
    );
    // They would prove nothing where nobody compares.
    assert_eq!(disturbed.injected.len(), 10);
    for injected in &disturbed.injected {
        let left = (STEPS_OF_TEN as u64).checked_sub(injected.step + 1);
        assert!(left >= Some(STEPS_AFTER_TEN), "too late: {injected:?}");
    }
    let undisturbed = undisturbed(&trial, 2);
    assert_same(&undisturbed, &disturbed.steps, STEPS_OF_TEN);
    for killed in disturbed.of(Kind::KillWorker) {
        // The survivors go on; a lease is not waited for.
        let recovery = killed.recovery.unwrap();
        assert!(recovery < LEASE.as_secs_f64(), "{killed:?}");
    }
    for restarted in disturbed.of(Kind::KillCoordinator) {
        assert!(restarted.lived_on(), "{restarted:?}");
    }
    // The others did not wait for it to wake up.
    let paused = disturbed.of(Kind::PauseWorker).next().unwrap();
    assert!(paused.recovery.unwrap() < paused.lasted, "{paused:?}");
}

#[test]
fn a_worker_or_a_coordinator_that_was_away_for_longer_than_a_lease_comes_back() {
    let disturbed = disturbed(
        Network::new(),
        &PLAIN,
        [
            fault(Kind::PauseWorker, 2, 3),
            fault(Kind::PauseCoordinator, 1, 3),
        ],
    );
    for away in &disturbed.injected {
        assert!(!away.lived_on(), "{away:?}");
    }
    assert_undisturbed(&disturbed.steps);
}

#[test]
fn a_worker_that_the_coordinator_cannot_hear_is_left_behind_and_comes_back() {
    let disturbed = disturbed(
        Network::of_proxies(),
        &PLAIN,
        [Cut::Outgoing, Cut::Incoming].map(|cut| Fault {
            cut,
            ..fault(Kind::CutWorker, 2, 11)
        }),
    );
    for cut in disturbed.of(Kind::CutWorker) {
        assert!(!cut.lived_on(), "{cut:?}");
    }
    assert_undisturbed(&disturbed.steps);
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
    assert_undisturbed(&cluster.audited_steps());
}
