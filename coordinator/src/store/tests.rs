//! What a store must keep: all of them (`conformance`), and the embedded one.

mod conformance;

use ledger::{
    Cursor, FedDigest, GenerationRecord, Ordinal, PageDigest, PageId, PageRow, PageStart, Slot,
    Step, StepReport,
};

use super::*;
use crate::records::{FileKind, StepTimes};

fn open(folder: &tempfile::TempDir) -> RunStore {
    RunStore::new(Embedded::open(&folder.path().join("ledger.redb")).unwrap())
}

pub(crate) fn start_of(ordinal: u64) -> PageStart {
    PageStart {
        ordinal: Ordinal(ordinal),
        position: 10 * ordinal,
    }
}

pub(crate) fn generation(number: u64, base: u64) -> Record {
    Record::Generation(KeptGeneration {
        record: GenerationRecord {
            number,
            parent: number.checked_sub(1).filter(|parent| *parent > 0),
            base: Cursor {
                step: base,
                position: 2 * base,
                epoch: 0,
                page: start_of(0),
            },
            members: vec!["a".to_owned(), "b".to_owned()],
        },
        instances: vec!["1".to_owned(), "2".to_owned()],
        lease_ms: 10_000,
        reason: "the run begins".to_owned(),
        ended: false,
    })
}

pub(crate) fn step(generation: u64, number: u64) -> Reported {
    Reported {
        report: StepReport {
            generation,
            step: Step {
                number,
                epoch: 0,
                first: 2 * number,
                count: 2,
                last_of_epoch: false,
                page: start_of(0),
                next_page: start_of(0),
            },
            // No short decimal: it must come back to the bit.
            loss_sum: 1.0 / 3.0 + number as f64,
            tokens: 2046,
            sequences: 2,
            fed: FedDigest::of(number, &[1, 2]),
            grad_norm: f64::INFINITY,
            applied: number != 1,
        },
        learning_rate: 0.1 + 0.2,
        times: StepTimes {
            total: 0.7,
            ..StepTimes::default()
        },
    }
}

pub(crate) fn checkpoint() -> Checkpoint {
    let cursor = Cursor::start();
    Checkpoint {
        id: CheckpointId::of(0, 1),
        generation: 1,
        cursor,
        evaluation: Some(Evaluation {
            cursor,
            loss: 9.1,
            sequences: 5,
            from_training: false,
        }),
        training_loss: 9.3,
        parameters: 7,
        files: vec![crate::records::CheckpointFile {
            name: "config.json".to_owned(),
            kind: FileKind::Model,
            size: 3,
            sha256: [4; 32],
        }],
        created_unix_ms: 1,
    }
}

/// A run on a small data set.
pub(crate) fn run_record() -> RunRecord {
    let args = run::RunArgs {
        preset: Some("gpt2-nano".to_owned()),
        ..run::RunArgs::default()
    };
    let dataset = run::Dataset {
        source: run::Source::Files {
            path: "/data/corpus".to_owned(),
            column: "content".to_owned(),
            revision: "5eed".to_owned(),
        },
        rows: 9_950,
        tokenizer: "gpt2 5eed".to_owned(),
        vocabulary: 50_257,
    };
    let settings = args.settings(2, None).unwrap();
    RunRecord::new(settings.with_data("first", dataset).unwrap())
}

#[test]
fn two_coordinators_cannot_share_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder);
    let second = Embedded::open(&folder.path().join("ledger.redb"));
    let error = second.map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("--state-dir"), "{error}");
    drop(first);
}

#[test]
fn events_are_read_back_by_range_and_deleted_ones_are_gone() {
    use crate::events::{EventBounds, EventLog, describe};
    use crate::machine::Happening;
    use std::num::NonZeroU64;
    use std::time::UNIX_EPOCH;

    let folder = tempfile::tempdir().unwrap();
    let mut log = EventLog::new(
        open(&folder).event_bounds().unwrap(),
        NonZeroU64::new(2).unwrap(),
    );
    for generation in 1..=5 {
        let event = describe(&Happening::Running { generation }, None);
        let appended = log.append(&[event], 1, UNIX_EPOCH);
        open(&folder).commit_turn(&[], &appended).unwrap();
        log.keep(&appended);
    }

    let store = open(&folder);
    let bounds = store.event_bounds().unwrap();
    assert_eq!(bounds, EventBounds { oldest: 3, next: 6 });
    let sequences = |events: Vec<v1::Event>| -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    };
    assert_eq!(sequences(store.events(0, u64::MAX).unwrap()), [3, 4, 5]);
    assert_eq!(sequences(store.events(4, 5).unwrap()), [4]);
    assert_eq!(sequences(store.events(5, 4).unwrap()), [0; 0]);
    let newest = |count| store.newest_events_begin(bounds, count, |event| event.sequence != 5);
    assert_eq!(newest(0).unwrap(), 6);
    assert_eq!(newest(1).unwrap(), 4);
    assert_eq!(newest(100).unwrap(), 3);
}
