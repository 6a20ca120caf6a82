//! The same run on any number of workers.

use cluster_tests::{Run, TestCluster};
use local_cluster::Step;

/// The losses of a run with these flags added, step by step.
fn losses(workers: u32, pages_per_epoch: u32, more: &[&str]) -> Vec<f64> {
    let mut cluster = TestCluster::new();
    let text = cluster.text();
    // Six micro-batches a step, and a last step of each epoch that the workers
    // cannot share evenly.
    cluster.start(&Run {
        pages_per_epoch,
        more: more.iter().map(ToString::to_string).collect(),
        ..Run::of(&text).with_workers(workers)
    });
    cluster.complete();
    cluster.audited_steps().iter().map(Step::loss).collect()
}

fn assert_same(alone: &[f64], together: &[f64], workers: u32) {
    assert_eq!(alone.len(), together.len(), "{workers} workers");
    for (step, (one, many)) in alone.iter().zip(together).enumerate() {
        assert!(
            (one - many).abs() <= 1e-4 * one,
            "step {step}: {one} alone, {many} with {workers} workers"
        );
    }
}

#[test]
fn one_to_four_workers_give_the_same_losses() {
    let alone = losses(1, 7, &[]);
    assert!(alone.len() >= 50, "{} steps", alone.len());
    for workers in 2..=4 {
        assert_same(&alone, &losses(workers, 7, &[]), workers);
    }
}

#[test]
fn dropout_falls_on_the_same_activations_whoever_trains() {
    let dropout = ["--dropout=0.1"];
    let alone = losses(1, 3, &dropout);
    assert_same(&alone, &losses(2, 3, &dropout), 2);
    let without = losses(1, 3, &[]);
    assert!(
        alone
            .iter()
            .zip(&without)
            .any(|(a, b)| (a - b).abs() > 1e-3 * b),
        "dropout changed nothing"
    );
}
