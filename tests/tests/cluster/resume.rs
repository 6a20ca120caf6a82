//! A run that is interrupted becomes the run that it would have been.

use std::fs;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::{Step, wait_until};
use sha2::{Digest as _, Sha256};

/// What must not depend on an interruption, bit for bit.
#[derive(Debug, PartialEq)]
struct Outcome {
    losses: Vec<u64>,
    gradient_norms: Vec<u64>,
    /// SHA-256 of each file of the last checkpoint: weights, optimizer state.
    files: Vec<(String, String)>,
}

fn outcome(cluster: &TestCluster) -> Outcome {
    let steps = cluster.audited_steps();
    let bits = |of: fn(&Step) -> f64| steps.iter().map(|step| of(step).to_bits()).collect();
    Outcome {
        losses: bits(|step| step.loss_sum),
        gradient_norms: bits(|step| step.grad_norm),
        files: last_checkpoint(cluster, steps.len()),
    }
}

fn last_checkpoint(cluster: &TestCluster, steps: usize) -> Vec<(String, String)> {
    // After the steps comes the generation, which an interruption raises.
    let prefix = format!("step-{steps:08}-");
    let checkpoint = fs::read_dir(cluster.state_dir().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .expect("the last step has a checkpoint");
    let mut files = Vec::new();
    for part in ["model", "state"] {
        for entry in fs::read_dir(checkpoint.path().join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.push((name, hex::encode(Sha256::digest(fs::read(&path).unwrap()))));
        }
    }
    files.sort();
    files
}

/// What keeps whoever is to be killed from completing the run first, however late
/// the killer looks: workers get stuck in the last epoch. A build without debug
/// assertions takes no notice.
const STUCK_LATE: &str = "hang@22";

/// The same for two workers, with checkpoints in the middle of epochs. Sums of
/// two numbers do not depend on their order. It takes both: one that is left for
/// the moment between two kills must not go on alone, with sums of its own.
fn run_of_two(cluster: &TestCluster) -> Run {
    let mut run = run(cluster).with_workers(2);
    run.more.push("--checkpoint-every-steps=3".to_owned());
    run.more.push("--min-workers=2".to_owned());
    run
}

/// One worker on one thread: nothing of its arithmetic is left to chance.
fn run(cluster: &TestCluster) -> Run {
    Run {
        epochs: 3,
        // A generation that was killed must have run out before another forms.
        more: vec![
            "--heartbeat-ms=500".to_owned(),
            "--lease-ms=4000".to_owned(),
        ],
        ..Run::of(&cluster.text())
    }
}

fn undisturbed(run: fn(&TestCluster) -> Run) -> Outcome {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    cluster.complete();
    outcome(&cluster)
}

#[test]
fn a_cluster_that_was_stopped_goes_on_bit_for_bit() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    let before = cluster.wait_for_steps(4).len();
    cluster.stop(LIMIT).unwrap();

    cluster.start(&run);
    cluster.complete();
    let resumed = outcome(&cluster);
    assert!(resumed.losses.len() > before);
    assert_eq!(resumed, undisturbed(self::run));
}

#[test]
fn a_cluster_that_was_killed_goes_on_from_its_latest_checkpoint() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.set_variable("PEREGRINE_FAULT", Some(STUCK_LATE));
    cluster.start(&run);
    // Into the second epoch, so that there is a checkpoint and steps after it.
    let first_epoch = cluster
        .wait_for_epoch(1)
        .iter()
        .filter(|step| step.epoch == 0)
        .count();
    for process in cluster.processes() {
        process.kill();
    }

    cluster.set_variable("PEREGRINE_FAULT", None);
    cluster.start(&run);
    cluster.complete();
    let resumed = outcome(&cluster);
    assert!(resumed.losses.len() > first_epoch);
    assert_eq!(resumed, undisturbed(self::run));
}

#[test]
fn workers_wait_for_a_coordinator_that_was_killed() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    cluster.wait_for_steps(4);
    cluster.coordinator().unwrap().kill();

    cluster.restart_coordinator(&run.flags()).unwrap();
    cluster.complete();
    assert_eq!(outcome(&cluster), undisturbed(self::run));
}

#[test]
fn a_cluster_of_two_that_is_killed_within_epochs_goes_on_bit_for_bit() {
    let mut cluster = TestCluster::new();
    let run = run_of_two(&cluster);
    cluster.set_variable("PEREGRINE_FAULT", Some(STUCK_LATE));
    cluster.start(&run);
    // Within the first epoch, and within the second, which begins after step 9.
    let kills = [
        ("step-00000003-", Some(STUCK_LATE)),
        ("step-00000012-", None),
    ];
    for (checkpoint, next_life) in kills {
        let running = &mut *cluster;
        wait_until(format!("checkpoint {checkpoint}"), LIMIT, || {
            running.expect_no_failure()?;
            let status = running.status()?;
            let latest = status["latest_checkpoint"]["checkpoint_id"].as_str();
            Ok(latest.is_some_and(|id| id >= checkpoint).then_some(()))
        })
        .unwrap();
        for process in cluster.processes() {
            process.kill();
        }
        let before = cluster.coordinator().unwrap().log_text().len();
        cluster.set_variable("PEREGRINE_FAULT", next_life);
        cluster.start(&run);
        // The ledger goes back with the weights.
        cluster.wait_for_log(before, " from checkpoint step-");
    }
    cluster.complete();
    assert_eq!(outcome(&cluster), undisturbed(run_of_two));
}
