//! What every keyspace must keep, shown on the embedded one.

use ledger::{
    Cursor, FedDigest, GenerationRecord, Ordinal, PageDigest, PageId, PageRow, PageStart, Slot,
    Step, StepReport,
};

use super::*;
use crate::records::{FileKind, StepTimes};

fn open(folder: &tempfile::TempDir) -> RunStore {
    RunStore::new(Embedded::open(&folder.path().join("ledger.redb")).unwrap())
}

fn start_of(ordinal: u64) -> PageStart {
    PageStart {
        ordinal: Ordinal(ordinal),
        position: 10 * ordinal,
    }
}

fn generation(number: u64, base: u64) -> Record {
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
        reason: "the run begins".to_owned(),
        ended: false,
    })
}

fn step(generation: u64, number: u64) -> Reported {
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

fn checkpoint() -> Checkpoint {
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

#[test]
fn everything_is_read_back_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let row = |page| PageRow::Packed {
        page: PageId(page),
        sequences: 3,
        digest: PageDigest([page as u8; 32]),
        dropped_tokens: 9,
    };
    let skipped = PageRow::Skipped {
        page: PageId(2),
        reason: "too big".to_owned(),
    };
    let evaluation = checkpoint().evaluation.unwrap();
    open(&folder)
        .commit(&[
            Record::Term(3),
            generation(1, 0),
            Record::Row(Slot::Training(Ordinal(300)), row(1)),
            Record::Row(Slot::Training(Ordinal(2)), skipped.clone()),
            Record::Row(Slot::Evaluation(0), row(3)),
            Record::Step(step(1, 0)),
            Record::Step(step(1, 1)),
            Record::Evaluation(1, evaluation),
            Record::Checkpoint(checkpoint()),
            Record::Complete(Cursor::start()),
        ])
        .unwrap();

    let store = open(&folder);
    let history = store.history().unwrap();
    assert_eq!(history.term, 3);
    assert_eq!(history.generations.len(), 1);
    assert_eq!(history.steps, [step(1, 0), step(1, 1)]);
    assert_eq!(history.evaluations, [(1, evaluation)]);
    assert_eq!(history.checkpoints, [checkpoint()]);
    assert_eq!(history.complete, Some(Cursor::start()));
    assert_eq!(
        store.row(Slot::Training(Ordinal(2))).unwrap(),
        Some(skipped)
    );
    assert_eq!(store.row(Slot::Training(Ordinal(3))).unwrap(), None);
    let slots: Vec<Slot> = store
        .rows()
        .unwrap()
        .into_iter()
        .map(|(slot, _)| slot)
        .collect();
    let expected = [
        Slot::Evaluation(0),
        Slot::Training(Ordinal(2)),
        Slot::Training(Ordinal(300)),
    ];
    assert_eq!(slots, expected);
}

#[test]
fn steps_follow_the_surviving_lineage() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let steps = [(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)];
    let mut records = vec![generation(1, 0), generation(2, 1)];
    records.extend(steps.map(|(generation, number)| Record::Step(step(generation, number))));
    store.commit(&records).unwrap();
    let surviving = store.lineage_steps(0, u64::MAX).unwrap();
    assert_eq!(surviving, [step(1, 0), step(2, 1), step(2, 2), step(2, 3)]);
    assert_eq!(store.lineage_steps(1, 3).unwrap(), [step(2, 1), step(2, 2)]);
    assert_eq!(store.all_steps().unwrap().len(), steps.len());
    assert_eq!(store.history().unwrap().reported().step, 4);
}

#[test]
fn a_forgotten_checkpoint_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.commit(&[Record::Checkpoint(checkpoint())]).unwrap();
    store.forget_checkpoint(&checkpoint().id).unwrap();
    assert_eq!(store.checkpoints().unwrap(), []);
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
fn an_empty_store_has_no_run_and_no_history() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    assert_eq!(store.run().unwrap(), None);
    assert_eq!(store.history().unwrap(), crate::machine::History::default());
}
