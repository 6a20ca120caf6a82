//! Where an audit finds what was reported, so that it need not hold it all.

use std::collections::BTreeMap;

use crate::{Lineage, StepReport};

/// What was reported of each step. An audit asks about steps in ascending
/// order, about each once, so that a piece of them at a time is enough.
pub trait Reports {
    /// What the surviving lineage reported of a step.
    fn surviving(&mut self, step: u64) -> Option<StepReport>;

    /// A generation that reported a step, and whose weights from there on did
    /// not survive. Asked where nothing survives.
    fn rolled_back(&mut self, step: u64) -> Option<u64>;
}

/// The reports of a lineage in memory.
pub(super) struct InMemory<'a> {
    lineage: &'a Lineage,
    /// Step number to one generation whose report of it was rolled back.
    rolled_back: BTreeMap<u64, u64>,
}

impl<'a> InMemory<'a> {
    pub(super) fn of(lineage: &'a Lineage) -> InMemory<'a> {
        let rolled_back = lineage.rolled_back.iter();
        InMemory {
            lineage,
            rolled_back: rolled_back
                .map(|report| (report.step.number, report.generation))
                .collect(),
        }
    }
}

impl Reports for InMemory<'_> {
    fn surviving(&mut self, step: u64) -> Option<StepReport> {
        self.lineage.steps.get(&step).copied()
    }

    fn rolled_back(&mut self, step: u64) -> Option<u64> {
        self.rolled_back.get(&step).copied()
    }
}
