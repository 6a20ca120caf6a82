//! What stands for a model's weights: everything that was ever applied to them.

use std::sync::Arc;

use ledger::{Cursor, FedDigest, Step};

/// One applied step. Two groups that train the same sequences sum in another
/// order, so the generation is part of what the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trained {
    /// The step's number.
    pub(crate) number: u64,
    /// Position of its first sequence.
    pub(crate) first: u64,
    /// How many sequences.
    pub(crate) count: u32,
    /// The generation that trained it.
    pub(crate) generation: u64,
    /// What was fed.
    pub(crate) fed: FedDigest,
}

impl Trained {
    /// A step as a generation trained it.
    pub(crate) fn of(step: &Step, generation: u64, fed: FedDigest) -> Trained {
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
pub(crate) struct Weights {
    /// Every applied step.
    pub(crate) trained: Arc<Vec<Trained>>,
    /// What the worker says it has applied.
    pub(crate) cursor: Cursor,
}

impl Weights {
    /// As a run from scratch begins.
    pub(crate) fn initial() -> Weights {
        Weights {
            trained: Arc::new(Vec::new()),
            cursor: Cursor::start(),
        }
    }

    /// Sequences in these weights, each as often as it was trained.
    pub(crate) fn sequences(&self) -> u64 {
        self.trained.iter().map(|t| u64::from(t.count)).sum()
    }

    /// One more update.
    pub(crate) fn apply(&mut self, trained: Trained, after: Cursor) {
        Arc::make_mut(&mut self.trained).push(trained);
        self.cursor = after;
    }
}
