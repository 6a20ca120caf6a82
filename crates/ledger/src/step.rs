//! One optimizer update of the whole cluster.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Cursor, MicroBatch, PageStart, Share, share};

/// The sequences that one optimizer update consumes. Only
/// [`PageTable::next_step`](crate::PageTable::next_step) plans steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 0 over the whole run.
    pub number: u64,
    /// The epoch that the sequences belong to; a step never spans two.
    pub epoch: u64,
    /// Position of the first sequence.
    pub first: u64,
    /// How many sequences: the global batch, or what an epoch's last step
    /// finds left. Never 0.
    pub count: u32,
    /// Whether the epoch has no sequence after this step.
    pub last_of_epoch: bool,
    /// The page that training stood in before the step.
    pub page: PageStart,
    /// The page that training stands in after the step.
    pub next_page: PageStart,
}

impl Step {
    /// The point at which the step begins.
    pub fn before(&self) -> Cursor {
        Cursor {
            step: self.number,
            position: self.first,
            epoch: self.epoch,
            page: self.page,
        }
    }

    /// The point at which the step ends.
    pub fn after(&self) -> Cursor {
        Cursor {
            step: self.number.saturating_add(1),
            position: self.positions().end,
            epoch: self.epoch.saturating_add(u64::from(self.last_of_epoch)),
            page: self.next_page,
        }
    }

    /// The positions of the step's sequences.
    pub fn positions(&self) -> Range<u64> {
        self.first..self.first.saturating_add(u64::from(self.count))
    }

    /// The step cut into micro-batches of `bs` sequences; the last may be
    /// shorter. The cut depends on nothing but the step and `bs`.
    pub fn micro_batches(&self, bs: NonZeroU32) -> Vec<MicroBatch> {
        share::micro_batches(self.first, self.count, bs)
    }

    /// The run of micro-batches that `rank` of `world` trains on. Shares are
    /// contiguous and in rank order, differ by at most one micro-batch, and
    /// put together they are [`Step::micro_batches`]. A share is empty where
    /// there are fewer micro-batches than ranks, and for a rank outside the
    /// world.
    pub fn share(&self, bs: NonZeroU32, rank: u32, world: NonZeroU32) -> Share {
        share::share(self.micro_batches(bs), rank, world)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions = self.positions();
        write!(
            f,
            "step {} of epoch {} (positions {}..{}{})",
            self.number,
            self.epoch,
            positions.start,
            positions.end,
            if self.last_of_epoch { ", its last" } else { "" }
        )
    }
}
