//! How a step is cut into micro-batches, and those dealt out to ranks.

use std::num::NonZeroU32;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Consecutive sequences of a step that go through the model at once.
///
/// Its first position names it in the whole run, whoever trains on it: seeds
/// of dropout are derived from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MicroBatch {
    /// Position of the first sequence.
    pub first: u64,
    /// How many sequences; never 0.
    pub len: u32,
}

impl MicroBatch {
    /// The positions of the sequences.
    pub fn positions(&self) -> Range<u64> {
        self.first..self.first.saturating_add(u64::from(self.len))
    }
}

/// What one rank trains on in a step: a contiguous run of the step's
/// micro-batches, possibly none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// In the order of their positions.
    pub micro_batches: Vec<MicroBatch>,
}

impl Share {
    /// Whether there is nothing to train on. Such a rank still takes part in
    /// the step's collectives.
    pub fn is_empty(&self) -> bool {
        self.micro_batches.is_empty()
    }

    /// How many sequences the share holds.
    pub fn sequences(&self) -> u64 {
        self.micro_batches
            .iter()
            .map(|micro_batch| u64::from(micro_batch.len))
            .sum()
    }

    /// The positions of the share's sequences; `None` for an empty share.
    pub fn positions(&self) -> Option<Range<u64>> {
        let first = self.micro_batches.first()?;
        let last = self.micro_batches.last()?;
        Some(first.first..last.positions().end)
    }
}

/// Cuts `count` sequences from `first` on into micro-batches of `bs`.
pub(crate) fn micro_batches(first: u64, count: u32, bs: NonZeroU32) -> Vec<MicroBatch> {
    (0..count)
        .step_by(bs.get() as usize)
        .map(|offset| MicroBatch {
            first: first.saturating_add(u64::from(offset)),
            len: bs.get().min(count - offset),
        })
        .collect()
}

/// The part of `micro_batches` that belongs to `rank`; earlier ranks take the
/// remainder.
pub(crate) fn share(micro_batches: Vec<MicroBatch>, rank: u32, world: NonZeroU32) -> Share {
    if rank >= world.get() {
        return Share::default();
    }
    let rank = rank as usize;
    let each = micro_batches.len() / world.get() as usize;
    let remainder = micro_batches.len() % world.get() as usize;
    let begin = rank * each + rank.min(remainder);
    let len = each + usize::from(rank < remainder);
    Share {
        micro_batches: micro_batches[begin..begin + len].to_vec(),
    }
}
