//! What stands for a model's weights: everything that was ever applied to them.

use std::sync::Arc;

use ledger::{Cursor, FedDigest, Step};

/// One applied step. Two groups that train the same sequences sum in another
/// order, so the generation is part of what the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trained {
    /// The step's number.
    pub number: u64,
    /// Position of its first sequence.
    pub first: u64,
    /// How many sequences.
    pub count: u32,
    /// The generation that trained it.
    pub generation: u64,
    /// What was fed.
    pub fed: FedDigest,
}

impl Trained {
    /// A step as a generation trained it.
    pub fn of(step: &Step, generation: u64, fed: FedDigest) -> Trained {
        Trained {
            number: step.number,
            first: step.first,
            count: step.count,
            generation,
            fed,
        }
    }
}

/// A model: what it was trained on, in order, and where that led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Every applied step.
    pub trained: Arc<Vec<Trained>>,
    /// What the worker says it has applied.
    pub cursor: Cursor,
}

impl Weights {
    /// As a run from scratch begins.
    pub fn initial() -> Weights {
        Weights {
            trained: Arc::new(Vec::new()),
            cursor: Cursor::start(),
        }
    }

    /// Sequences in these weights, each as often as it was trained.
    pub fn sequences(&self) -> u64 {
        self.trained.iter().map(|t| u64::from(t.count)).sum()
    }

    /// One more update.
    pub fn apply(&mut self, trained: Trained, after: Cursor) {
        Arc::make_mut(&mut self.trained).push(trained);
        self.cursor = after;
    }
}
