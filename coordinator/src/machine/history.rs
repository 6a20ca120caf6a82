//! What a machine knows when it starts.

use std::collections::BTreeMap;

use ledger::{Cursor, PageRow, Slot};

use crate::records::{Checkpoint, Evaluation, KeptGeneration, Reported};

/// Everything durable that a machine continues from; empty for a new run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The highest leader term so far.
    pub term: u64,
    /// Every generation, oldest first.
    pub generations: Vec<KeptGeneration>,
    /// The rows of the page table.
    pub rows: BTreeMap<Slot, PageRow>,
    /// The steps of the surviving lineage, without gaps, from the newest ones
    /// that matter for speed and epoch averages on.
    pub steps: Vec<Reported>,
    /// Evaluations, by the generation that made them.
    pub evaluations: Vec<(u64, Evaluation)>,
    /// Checkpoints that are kept.
    pub checkpoints: Vec<Checkpoint>,
    /// Where the run ended, if it did.
    pub complete: Option<Cursor>,
}

impl History {
    /// The point up to which every step of the lineage is reported: after the
    /// last one known, or the newest generation's base.
    pub fn reported(&self) -> Cursor {
        let base = match self.generations.last() {
            Some(generation) => generation.record.base,
            None => Cursor::start(),
        };
        match self.steps.last() {
            Some(last) if last.report.step.number >= base.step => last.report.step.after(),
            _ => base,
        }
    }
}
