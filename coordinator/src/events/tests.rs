//! Every event has words and fields, they are the documented ones, and the log
//! numbers them without gaps and keeps a bounded number.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::{Duration, UNIX_EPOCH};

use ledger::{Cursor, FedDigest, Ordinal, PageId, PageStart, Slot, Step, StepReport};
use proptest::prelude::*;

use super::*;
use crate::machine::{Happening, Origin, Outcome};
use crate::records::{Checkpoint, CheckpointId, Evaluation, Reported, StepTimes, WorkerId};

const DOCUMENTATION: &str = include_str!("../../../docs/events.md");

fn reported(applied: bool, grad_norm: f64) -> Reported {
    let page = PageStart {
        ordinal: Ordinal(0),
        position: 0,
    };
    Reported {
        report: StepReport {
            generation: 3,
            step: Step {
                number: 40,
                epoch: 1,
                first: 80,
                count: 2,
                last_of_epoch: false,
                page,
                next_page: page,
            },
            loss_sum: 50.0,
            tokens: 10,
            sequences: 2,
            fed: FedDigest::ZERO,
            grad_norm,
            applied,
        },
        learning_rate: 0.5,
        times: StepTimes {
            total: 0.25,
            ..StepTimes::default()
        },
    }
}

/// At least one happening of every kind.
fn happenings() -> Vec<Happening> {
    let worker = WorkerId::from("b");
    let members = vec![WorkerId::from("a"), worker.clone()];
    let reason = "a reason".to_owned();
    let cursor = Cursor::start();
    let slot = Slot::Training(Ordinal(7));
    let evaluation = Evaluation {
        cursor,
        loss: 2.5,
        sequences: 3,
        from_training: false,
    };
    let checkpoint = Checkpoint {
        id: CheckpointId::of(41, 3),
        generation: 3,
        cursor,
        evaluation: Some(evaluation),
        training_loss: 3.0,
        parameters: 7,
        files: Vec::new(),
        created_unix_ms: 1,
    };
    vec![
        Happening::Joined {
            worker: worker.clone(),
            device: "cpu fp32 x1".to_owned(),
        },
        Happening::Lost {
            worker: worker.clone(),
            reason: reason.clone(),
        },
        Happening::Waiting {
            reason: reason.clone(),
        },
        Happening::Formed {
            generation: 3,
            members: members.clone(),
            base: cursor,
            origin: Origin::Rank(1),
            reason: reason.clone(),
            rolled_back: 0,
        },
        Happening::Adopted {
            generation: 3,
            members,
        },
        Happening::Straggled {
            worker: worker.clone(),
            generation: 3,
            doing: "training step 41".to_owned(),
            waited: 2.5,
            deadline: 2.0,
        },
        Happening::SetAside {
            worker: worker.clone(),
            seconds: 60.0,
            reason: reason.clone(),
        },
        Happening::Readmitted {
            worker: worker.clone(),
        },
        Happening::Running { generation: 3 },
        Happening::Leaving {
            generation: 3,
            at_once: true,
            reason: reason.clone(),
        },
        Happening::Ended { generation: 3 },
        Happening::Stepped {
            reported: reported(true, 1.0),
            tokens_per_second: Some(1234.5),
            seconds_left: Some(65.0),
        },
        Happening::EpochTrained {
            epoch: 1,
            loss: Some(4.25),
        },
        Happening::Evaluated {
            evaluation,
            best: true,
        },
        Happening::CheckpointKept {
            checkpoint,
            best: true,
        },
        Happening::CheckpointDropped {
            id: CheckpointId::of(41, 3),
        },
        Happening::CheckpointDamaged {
            id: CheckpointId::of(41, 3),
            reason: reason.clone(),
        },
        Happening::CheckpointSound {
            id: CheckpointId::of(41, 3),
            doubt: reason.clone(),
        },
        Happening::CheckpointRefused {
            reason: reason.clone(),
        },
        Happening::PageSkipped {
            slot,
            page: PageId(9),
            reason: reason.clone(),
        },
        Happening::PageDelayed {
            slot,
            worker: worker.clone(),
            attempts: 2,
            reason: reason.clone(),
        },
        Happening::Fault {
            worker,
            what: "reported a step that cannot be".to_owned(),
        },
        Happening::Complete { cursor },
        Happening::RunFailed { reason },
        Happening::Stopping,
    ]
}

fn notices() -> Vec<Notice> {
    let address = "127.0.0.1:50051".to_owned();
    let (version, run_id) = ("0.1.0".to_owned(), "run-1".to_owned());
    vec![
        Notice::Started {
            version: version.clone(),
            run_id: run_id.clone(),
            address: address.clone(),
            resumed_at: Some(41),
            unclean: true,
        },
        Notice::TookOver {
            version,
            run_id,
            address,
            former: "10.0.0.1:50051".to_owned(),
            steps: 41,
        },
        Notice::CheckpointDamaged {
            checkpoint: CheckpointId::of(41, 3),
            reason: "model.safetensors has other bytes".to_owned(),
        },
        Notice::Stopped {
            outcome: Outcome::Stopped,
            steps: 41,
        },
    ]
}

fn descriptions() -> Vec<Description> {
    let told = happenings();
    let told = told.iter().map(|happening| describe(happening, Some(3)));
    let noticed = notices();
    told.chain(noticed.iter().map(Notice::describe)).collect()
}

/// The table in `docs/events.md`: by kind, its severity and its fields.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut kinds = BTreeMap::new();
    for row in DOCUMENTATION.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let fields = cells[3].split(", ").filter(|field| !field.is_empty());
        let plain = |word: &str| word.trim_matches('`').to_owned();
        let entry = (cells[2].to_owned(), fields.map(plain).collect());
        let twice = kinds.insert(plain(cells[1]), entry);
        assert_eq!(twice, None, "{row}");
    }
    kinds
}

#[test]
fn every_kind_is_documented_with_its_severity_and_fields() {
    let mut told = BTreeMap::new();
    for description in descriptions() {
        let fields: BTreeSet<String> = description.fields.keys().cloned().collect();
        let severity = description.kind.severity().as_str().to_owned();
        told.insert(description.kind.as_str().to_owned(), (severity, fields));
    }
    let known: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let told_kinds: BTreeSet<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(
        told_kinds, known,
        "the examples of this test cover every kind"
    );
    assert_eq!(told, documented(), "docs/events.md");
}

#[test]
fn no_field_hides_what_every_event_has() {
    let reserved = [
        "sequence", "unix_ms", "time", "term", "kind", "severity", "text",
    ];
    for description in descriptions() {
        for name in reserved {
            let hidden = description.fields.contains_key(name);
            assert!(!hidden, "{name} of {description:?}");
        }
    }
}

#[test]
fn a_formed_generation_says_who_why_and_from_what() {
    let happening = Happening::Formed {
        generation: 7,
        members: ["a", "b", "c"].map(WorkerId::from).to_vec(),
        base: Cursor {
            step: 40,
            ..Cursor::start()
        },
        origin: Origin::Rank(0),
        reason: "worker d was lost: its session ended".to_owned(),
        rolled_back: 1,
    };
    let description = describe(&happening, None);
    assert_eq!(
        description.text,
        "generation 7 formed of a, b, c from the state of rank 0, after 40 steps: worker d was \
         lost: its session ended; 1 steps that no member holds are rolled back"
    );
    assert_eq!(description.severity, Severity::Warning);
    assert_eq!(
        description.fields["members"],
        serde_json::json!(["a", "b", "c"])
    );
    assert_eq!(description.fields["rolled_back"], 1);
}

#[test]
fn many_members_are_counted_in_the_sentence_and_listed_in_the_fields() {
    let members: Vec<WorkerId> = (0..10).map(|n| WorkerId(format!("w{n}"))).collect();
    let happening = Happening::Adopted {
        generation: 2,
        members,
    };
    let description = describe(&happening, None);
    assert!(
        description.text.contains("w7 and 2 more"),
        "{description:?}"
    );
    assert_eq!(description.fields["members"].as_array().unwrap().len(), 10);
}

#[test]
fn a_step_that_was_not_applied_is_a_warning_and_its_infinite_norm_is_null() {
    let happening = Happening::Stepped {
        reported: reported(false, f64::INFINITY),
        tokens_per_second: None,
        seconds_left: None,
    };
    let description = describe(&happening, None);
    assert_eq!(description.severity, Severity::Warning);
    assert!(description.fields["grad_norm"].is_null());
    assert_eq!(description.fields["step"], 40);
    assert!(
        description.text.starts_with("step 41: loss 5.0000;"),
        "{}",
        description.text
    );
}

#[test]
fn the_run_that_failed_ends_with_an_error() {
    let outcome = Outcome::Failed("gradients stayed non-finite".to_owned());
    let description = Notice::Stopped { outcome, steps: 3 }.describe();
    assert_eq!(description.severity, Severity::Error);
    assert_eq!(description.fields["outcome"], "failed");
}

#[test]
fn whatever_a_worker_says_an_event_stays_small() {
    let happening = Happening::Fault {
        worker: WorkerId::from("a"),
        what: "ä".repeat(100_000),
    };
    let description = describe(&happening, None);
    assert!(description.text.len() < 2100, "{}", description.text.len());
    assert!(description.fields["what"].as_str().unwrap().len() < 2100);
}

#[test]
fn events_have_the_time_and_term_of_their_turn_and_count_on() {
    let log = EventLog::new(EventBounds { oldest: 1, next: 5 }, NonZeroU64::MAX);
    let now = UNIX_EPOCH + Duration::from_millis(1234);
    let stopping = [describe(&Happening::Stopping, None)];
    let appended = log.append(&[stopping.clone(), stopping].concat(), 9, now);
    let seen: Vec<_> = appended
        .events
        .iter()
        .map(|event| (event.sequence, event.unix_ms, event.term))
        .collect();
    assert_eq!(seen, [(5, 1234, 9), (6, 1234, 9)]);
    assert_eq!(appended.bounds, EventBounds { oldest: 1, next: 7 });
    assert_eq!(log.bounds().next, 5, "nothing counts before it is durable");
}

proptest! {
    /// Whatever comes in one turn: the newest events are all kept, no more than
    /// a batch beyond them once turns are small, and none is deleted twice.
    #[test]
    fn the_newest_are_kept_and_the_rest_goes(
        keep in 1_u64..300,
        turns in prop::collection::vec(1_usize..200, 1..60),
    ) {
        let mut log = EventLog::new(EventBounds::default(), NonZeroU64::new(keep).unwrap());
        let event = describe(&Happening::Stopping, None);
        let mut stored = BTreeSet::new();
        let mut largest = 0;
        for count in turns {
            largest = largest.max(count as u64);
            let appended = log.append(&vec![event.clone(); count], 1, UNIX_EPOCH);
            for event in &appended.events {
                prop_assert!(stored.insert(event.sequence));
            }
            for sequence in appended.dropped.clone() {
                prop_assert!(stored.remove(&sequence));
            }
            log.keep(&appended);
            let EventBounds { oldest, next } = log.bounds();
            prop_assert_eq!(&stored, &(oldest..next).collect::<BTreeSet<u64>>());
            prop_assert!(next - oldest >= keep.min(next - 1), "a new one was deleted");
            prop_assert!(next - oldest <= keep + 64 + largest, "it outgrows its bound");
        }
    }
}
