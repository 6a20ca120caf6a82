//! A coordinator that dies in the middle of an upload leaves no checkpoint that
//! is not whole, and no trace of the torn one.
//!
//! It kills itself at a place named by `PEREGRINE_CRASH_POINT`; only builds with
//! debug assertions have such places.

use std::path::PathBuf;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::Error;

/// What is in the folder of checkpoints at the moment of death: in their
/// place, and on their way.
fn dies_at(point: &str) -> (TestCluster, Run, usize, usize) {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: 3,
        more: vec![
            "--heartbeat-ms=500".to_owned(),
            "--lease-ms=6000".to_owned(),
        ],
        ..Run::of(&cluster.text())
    };
    cluster.set_variable("PEREGRINE_CRASH_POINT", Some(point));
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.start_one_worker(1, &[]);
    let coordinator = cluster.coordinator().unwrap();
    let status = coordinator.wait(LIMIT).unwrap();
    assert_eq!(
        status.code(),
        None,
        "it was killed: {}",
        coordinator.log_tail()
    );
    cluster.set_variable("PEREGRINE_CRASH_POINT", None);
    let (whole, partial) = (
        cluster.checkpoints().len(),
        cluster.partial_checkpoints().len(),
    );
    (cluster, run, whole, partial)
}

/// Starts the coordinator again; the run completes, and nothing is left over.
fn goes_on(mut cluster: TestCluster, run: &Run, swept: bool) {
    let before = cluster.coordinator().unwrap().log_text().len();
    cluster.restart_coordinator(&run.flags()).unwrap();
    let log = cluster.coordinator().unwrap().log_text();
    let removed = log[before..].contains("removing an incomplete checkpoint");
    assert_eq!(removed, swept, "{}", &log[before..]);
    cluster.complete();
    cluster.audited_steps();
    cluster.assert_nothing_is_left();
    assert_eq!(cluster.partial_checkpoints(), Vec::<PathBuf>::new());
    let kept = cluster.checkpoints();
    assert!((1..=3).contains(&kept.len()), "{kept:?}");
}

#[test]
fn a_torn_upload_is_swept_and_the_run_goes_on() {
    if !cfg!(debug_assertions) {
        return;
    }
    for point in ["during-upload:2", "before-placing"] {
        let (cluster, run, whole, partial) = dies_at(point);
        assert_eq!((whole, partial), (0, 1), "{point}");
        goes_on(cluster, &run, true);
    }
}

#[test]
fn a_checkpoint_without_a_record_is_none() {
    if !cfg!(debug_assertions) {
        return;
    }
    let (cluster, run, whole, partial) = dies_at("after-placing");
    assert_eq!((whole, partial), (1, 0));
    goes_on(cluster, &run, true);
}

#[test]
fn a_checkpoint_with_a_record_stays_though_nobody_was_told() {
    if !cfg!(debug_assertions) {
        return;
    }
    let (cluster, run, whole, partial) = dies_at("after-record");
    assert_eq!((whole, partial), (1, 0));
    goes_on(cluster, &run, false);
}

/// The second life begins at once, so that nothing but the death is tested.
#[test]
fn an_upload_is_torn_again_and_again() {
    if !cfg!(debug_assertions) {
        return;
    }
    let (mut cluster, run, ..) = dies_at("during-upload:3");
    for point in ["before-placing", "during-upload", "after-placing"] {
        cluster.set_variable("PEREGRINE_CRASH_POINT", Some(point));
        let started = cluster.restart_coordinator(&run.flags());
        let coordinator = cluster.coordinator().unwrap();
        let status = match started {
            Ok(()) => coordinator.wait(LIMIT).unwrap(),
            // It was dead before anyone looked whether it serves.
            Err(Error::Ended { status, .. }) => status,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(
            status.code(),
            None,
            "it was killed {point}: {}",
            coordinator.log_tail()
        );
        cluster.set_variable("PEREGRINE_CRASH_POINT", None);
    }
    goes_on(cluster, &run, true);
}
