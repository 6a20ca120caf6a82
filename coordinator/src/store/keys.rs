//! The store's keys: a word, then numbers that sort as they count.

use ledger::Slot;

use crate::records::CheckpointId;

/// The key of a record.
pub(super) enum Key<'a> {
    Run,
    Term,
    Complete,
    Generation(u64),
    Row(Slot),
    Step {
        generation: u64,
        number: u64,
    },
    Evaluation {
        generation: u64,
        step: u64,
        epoch: u64,
    },
    Checkpoint(&'a CheckpointId),
    /// A hotkey, by its address.
    Hold(&'a str),
    Event(u64),
    /// Which events there are.
    EventBounds,
}

const GENERATION: &str = "generation/";
const EVALUATION_ROW: &str = "row/evaluation/";
const TRAINING_ROW: &str = "row/training/";
const ROW: &str = "row/";
const STEP: &str = "step/";
const EVALUATION: &str = "evaluation/";
const CHECKPOINT: &str = "checkpoint/";
const HOLD: &str = "hold/";
const EVENT: &str = "event/";

impl Key<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Key::Run => b"run".to_vec(),
            Key::Term => b"term".to_vec(),
            Key::Complete => b"complete".to_vec(),
            Key::Generation(number) => numbered(GENERATION, &[*number]),
            Key::Row(Slot::Evaluation(index)) => numbered(EVALUATION_ROW, &[u64::from(*index)]),
            Key::Row(Slot::Training(ordinal)) => numbered(TRAINING_ROW, &[ordinal.0]),
            Key::Step { generation, number } => numbered(STEP, &[*generation, *number]),
            Key::Evaluation {
                generation,
                step,
                epoch,
            } => numbered(EVALUATION, &[*generation, *step, *epoch]),
            Key::Checkpoint(id) => [CHECKPOINT.as_bytes(), id.0.as_bytes()].concat(),
            Key::Hold(hotkey) => [HOLD.as_bytes(), hotkey.as_bytes()].concat(),
            Key::Event(sequence) => numbered(EVENT, &[*sequence]),
            Key::EventBounds => b"events".to_vec(),
        }
    }
}

fn numbered(word: &str, numbers: &[u64]) -> Vec<u8> {
    let mut key = word.as_bytes().to_vec();
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

/// The bounds of all keys that begin with `word`, which ends in a slash.
fn all(word: &str) -> (Vec<u8>, Vec<u8>) {
    let from = word.as_bytes().to_vec();
    let mut to = from.clone();
    // The character after the slash: the first key that is not one of them.
    if let Some(last) = to.last_mut() {
        *last += 1;
    }
    (from, to)
}

pub(super) fn generations() -> (Vec<u8>, Vec<u8>) {
    all(GENERATION)
}

/// Evaluation rows sort before training rows, each by number.
pub(super) fn rows() -> (Vec<u8>, Vec<u8>) {
    all(ROW)
}

pub(super) fn evaluations() -> (Vec<u8>, Vec<u8>) {
    all(EVALUATION)
}

pub(super) fn holds() -> (Vec<u8>, Vec<u8>) {
    all(HOLD)
}

pub(super) fn checkpoints() -> (Vec<u8>, Vec<u8>) {
    all(CHECKPOINT)
}

/// The generation in an evaluation's key.
pub(super) fn evaluation_generation(key: &[u8]) -> Option<u64> {
    let numbers = key.strip_prefix(EVALUATION.as_bytes())?;
    Some(u64::from_be_bytes(*numbers.first_chunk()?))
}
