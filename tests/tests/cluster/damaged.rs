//! A checkpoint that was damaged on disk is noticed, dropped, and the one before
//! it is used: the run is the one that it would have been.

use std::fs::{self, File};
use std::path::Path;

use cluster_tests::{Run, TestCluster};
use local_cluster::Step;

/// A way to damage a checkpoint's folder.
type Damage = fn(&Path);

fn flip_a_bit(checkpoint: &Path) {
    let path = checkpoint.join("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(checkpoint: &Path) {
    let path = checkpoint.join("state/optimizer.safetensors");
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2).unwrap();
}

fn remove_a_file(checkpoint: &Path) {
    fs::remove_file(checkpoint.join("model/config.json")).unwrap();
}

const DAMAGES: [Damage; 3] = [flip_a_bit, truncate, remove_a_file];

/// One worker, a checkpoint after every other step.
fn run(cluster: &TestCluster) -> Run {
    Run {
        epochs: 8,
        more: [
            "--checkpoint-every-steps=2",
            "--keep-checkpoints=3",
            "--heartbeat-ms=500",
            "--lease-ms=3000",
        ]
        .map(str::to_owned)
        .into(),
        ..Run::of(&cluster.text())
    }
}

fn losses(cluster: &TestCluster) -> Vec<u64> {
    let steps = cluster.audited_steps();
    steps
        .iter()
        .map(|step| Step::loss(step).to_bits())
        .collect()
}

fn undisturbed() -> Vec<u64> {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    cluster.complete();
    losses(&cluster)
}

/// Waits until there are checkpoints to go back to, and the generation has got
/// so far that its end is not held against the worker.
fn wait_for_two_checkpoints(cluster: &mut TestCluster) {
    let steps = cluster.steps(0).unwrap().len();
    cluster.wait_for_steps(steps + 14);
}

#[test]
fn at_the_start_the_one_before_is_used() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    for damage in DAMAGES {
        wait_for_two_checkpoints(&mut cluster);
        for process in cluster.processes() {
            process.kill();
        }
        let kept = cluster.checkpoints();
        assert!(kept.len() >= 2, "{kept:?}");
        let newest = kept.last().unwrap().clone();
        damage(&newest);
        let before = cluster.coordinator().unwrap().log_text().len();
        cluster.start(&run);
        let name = newest.file_name().unwrap().to_string_lossy().into_owned();
        cluster.wait_for_log(before, &format!("checkpoint {name} is damaged and dropped"));
        cluster.wait_for_log(before, "of worker-1 from checkpoint");
    }
    cluster.complete();
    assert_eq!(losses(&cluster), undisturbed());
    cluster.assert_nothing_is_left();
    let kept = cluster.checkpoints();
    assert!(kept.len() <= 4, "three, and the best: {kept:?}");
}

#[test]
fn while_it_runs_a_worker_that_cannot_restore_says_so_and_gets_the_one_before() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster);
    cluster.start(&run);
    for damage in DAMAGES {
        wait_for_two_checkpoints(&mut cluster);
        let before = cluster.coordinator().unwrap().log_text().len();
        for worker in cluster.workers() {
            worker.kill();
        }
        // With the worker gone nothing comes in any more.
        cluster.wait_for_log(before, "worker worker-1 is gone");
        let newest = cluster.checkpoints().last().unwrap().clone();
        damage(&newest);
        cluster.start_one_worker(1, &[]);
        let name = newest.file_name().unwrap().to_string_lossy().into_owned();
        cluster.wait_for_log(before, &format!("checkpoint {name} is damaged and dropped"));
        cluster.wait_for_log(before, "of worker-1 from checkpoint");
    }
    cluster.complete();
    assert_eq!(losses(&cluster), undisturbed());
    cluster.assert_nothing_is_left();
}
