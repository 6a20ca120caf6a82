//! Checkpoints are taken when they were asked for, and take no more disk than
//! they may.

use std::fs;
use std::path::Path;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::wait_until;

fn bytes_below(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    entries
        .flatten()
        .map(|entry| bytes_below(&entry.path()))
        .sum()
}

fn run(cluster: &TestCluster, more: &[&str]) -> Run {
    Run {
        epochs: 3,
        more: more.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Run::of(&cluster.text())
    }
}

#[test]
fn the_newest_are_kept_with_the_best_and_never_more_than_the_budget() {
    let mut cluster = TestCluster::new();
    // A checkpoint of this model has 19.5 MB, so that three fit and four do not.
    let flags = [
        "--checkpoint-every-steps=1",
        "--keep-checkpoints=5",
        "--checkpoint-disk-gib=0.07",
    ];
    let budget = (0.07 * f64::from(1 << 30)) as u64;
    let run = run(&cluster, &flags);
    cluster.start(&run);
    let folder = cluster.state_dir().join("checkpoints");
    let running = &mut *cluster;
    let mut most = 0;
    wait_until("the run to complete", LIMIT, || {
        most = most.max(bytes_below(&folder));
        running.expect_no_failure()?;
        Ok(running.all_ended()?.then_some(()))
    })
    .unwrap();
    assert!(most <= budget, "{most} bytes of {budget}");
    assert!(
        most > budget / 2,
        "more than one was there at a time: {most} bytes"
    );
    cluster.audited_steps();
    let kept = cluster.checkpoints();
    assert!((2..=3).contains(&kept.len()), "{kept:?}");
    assert_eq!(
        cluster.partial_checkpoints(),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn by_time_they_come_within_an_epoch() {
    let mut cluster = TestCluster::new();
    let mut run = run(&cluster, &["--checkpoint-every-minutes=0.01"]);
    // One epoch without an end in sight.
    run.epochs = 1;
    run.pages_per_epoch = 25;
    cluster.start(&run);
    let running = &mut *cluster;
    let first: String = wait_until("a checkpoint within the epoch", LIMIT, || {
        running.expect_no_failure()?;
        let status = running.status()?;
        Ok(status["latest_checkpoint"]["checkpoint_id"]
            .as_str()
            .map(str::to_owned))
    })
    .unwrap();
    cluster.complete();
    let end = format!("step-{:08}-", cluster.audited_steps().len());
    assert!(first < end, "{first} is not before {end}");
}

#[test]
fn by_default_a_short_run_has_one_at_each_epochs_end_alone() {
    let mut cluster = TestCluster::new();
    let run = run(&cluster, &["--keep-checkpoints=100"]);
    cluster.start(&run);
    cluster.complete();
    let steps = cluster.audited_steps();
    let ends = (0..3).map(|epoch| steps.iter().filter(|step| step.epoch <= epoch).count());
    let ends: Vec<String> = ends.map(|end| format!("step-{end:08}-g1")).collect();
    let kept = cluster.checkpoints();
    let names: Vec<_> = kept
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy())
        .collect();
    assert_eq!(names, ends);
}
