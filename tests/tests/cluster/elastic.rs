//! The same run on any number of workers.

use cluster_tests::{Run, TestCluster};

#[test]
fn one_two_and_three_workers_give_the_same_losses() {
    let losses_of = |workers: u32| -> Vec<f64> {
        let mut cluster = TestCluster::new();
        let text = cluster.text();
        // Six micro-batches a step, and a last step of each epoch that the
        // workers cannot share evenly.
        cluster.start(&Run::of(&text).with_workers(workers));
        cluster.complete();
        let steps = cluster.audited_steps();
        steps.iter().map(local_cluster::Step::loss).collect()
    };
    let alone = losses_of(1);
    assert!(alone.len() >= 10, "{} steps", alone.len());
    for workers in [2, 3] {
        let together = losses_of(workers);
        assert_eq!(alone.len(), together.len(), "{workers} workers");
        for (step, (one, many)) in alone.iter().zip(&together).enumerate() {
            assert!(
                (one - many).abs() <= 1e-4 * one,
                "step {step}: {one} alone, {many} with {workers} workers"
            );
        }
    }
}
