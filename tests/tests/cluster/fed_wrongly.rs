//! What a worker feeds wrongly, the audit finds, names, and fails for.
//!
//! The worker is the real one, with a fault ordered by `PEREGRINE_FAULT`; only
//! builds with debug assertions have such faults.

use cluster_tests::{Run, TestCluster};
use serde_json::Value;

/// Two workers, three micro-batches each, of which the second worker commits a
/// fault in step 1. Yields the audit, and whether it was content.
fn audit_with(fault: &str) -> (Value, bool) {
    let mut cluster = TestCluster::new();
    let run = Run::of(&cluster.text()).with_workers(2);
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.start_one_worker(1, &[]);
    cluster.set_variable("PEREGRINE_FAULT", Some(fault));
    cluster.start_one_worker(2, &[]);
    cluster.complete();
    cluster.audit_report()
}

#[track_caller]
fn assert_found(fault: &str, finding: &str, repeated: u64, missed: u64) {
    if !cfg!(debug_assertions) {
        return;
    }
    let (report, content) = audit_with(fault);
    assert!(!content, "the exit code says it too: {report}");
    let violations: Vec<&str> = report["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation.as_str().unwrap())
        .collect();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(
        violations[0].starts_with("step 1 of epoch 0"),
        "{violations:?}"
    );
    assert!(violations[0].contains(finding), "{violations:?}");
    let total = &report["total"];
    assert_eq!(total["repeated"], repeated, "{report}");
    assert_eq!(total["missed"], missed, "{report}");
    let trained = total["trained"].as_u64().unwrap();
    assert_eq!(
        trained + missed,
        total["planned"].as_u64().unwrap(),
        "{report}"
    );
    assert_eq!(report["epochs"][0]["missed"], missed, "{report}");
    assert_eq!(report["epochs"][1]["missed"], 0, "{report}");
}

#[test]
fn sequences_fed_twice_in_place_of_others_are_found() {
    assert_found(
        "feed-twice@1",
        " were fed in place of the sequences at ",
        2,
        2,
    );
}

#[test]
fn a_sequence_of_another_content_is_found() {
    // What a step fed beside it cannot be told, so nothing of it counts.
    assert_found("feed-other@1", "something else than", 0, 12);
}

#[test]
fn sequences_that_were_counted_and_not_fed_are_found() {
    assert_found("feed-none@1", " were not fed", 0, 2);
}

/// The ranks count together, so a share that is too short goes into no weights.
#[test]
fn a_share_that_is_too_short_ends_its_generation_and_is_trained_again() {
    if !cfg!(debug_assertions) {
        return;
    }
    let (report, content) = audit_with("feed-short@1");
    assert!(content, "{report}");
    assert_eq!(report["total"]["trained"], report["total"]["planned"]);
}
