//! A worker that dies is replaced, and the run is the one that it would have
//! been.

use cluster_tests::{Run, TestCluster};
use local_cluster::Step;

fn run(cluster: &TestCluster) -> Run {
    Run {
        epochs: 3,
        ..Run::of(&cluster.text()).with_workers(2)
    }
}

#[test]
fn a_killed_worker_costs_no_sequence_and_changes_no_loss() {
    let undisturbed = {
        let mut cluster = TestCluster::new();
        let run = run(&cluster);
        cluster.start(&run);
        cluster.complete();
        cluster.audited_steps()
    };

    let mut cluster = TestCluster::new();
    let run = run(&cluster);
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
    cluster.complete();

    let disturbed = cluster.audited_steps();
    let generations = disturbed.last().unwrap().generation;
    assert!(generations >= 3, "{generations} generations for two deaths");
    assert_eq!(disturbed.len(), undisturbed.len());
    for (step, (with, without)) in disturbed.iter().zip(&undisturbed).enumerate() {
        let (with, without) = (Step::loss(with), Step::loss(without));
        assert!(
            (with - without).abs() <= 1e-4 * without,
            "step {step}: {with} with deaths, {without} without"
        );
    }
}
