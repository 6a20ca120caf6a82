//! What is durable, and whether the rules hold.

mod generations;
mod progress;
mod records;
mod saying;
mod training;

use std::collections::{BTreeMap, BTreeSet};

use coordinator::records::{Checkpoint, CheckpointId, KeptGeneration, Reported};
use ledger::{Cursor, PageRow, Slot, StepReport, lineage};

use crate::weights::Trained;

/// The durable records, as the store has them, and what the rules need to know.
#[derive(Default)]
pub(crate) struct Rules {
    term: u64,
    pub(crate) generations: BTreeMap<u64, KeptGeneration>,
    pub(crate) rows: BTreeMap<Slot, PageRow>,
    steps: BTreeMap<(u64, u64), Reported>,
    pub(crate) checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    pub(crate) complete: Option<Cursor>,
    /// The durable steps of the surviving lineage, until a record changes them.
    surviving: Option<Vec<StepReport>>,
    /// Generations that were found out of life, for good.
    dead: BTreeSet<u64>,
}

impl Rules {
    pub(crate) fn members_of(&self, generation: u64) -> Option<Vec<String>> {
        let kept = self.generations.get(&generation)?;
        Some(kept.record.members.clone())
    }

    pub(crate) fn newest(&self) -> u64 {
        self.generations.keys().next_back().copied().unwrap_or(0)
    }

    /// The surviving steps from the run's beginning, as far as there is no gap.
    fn surviving(&mut self) -> &[StepReport] {
        let (generations, steps) = (&self.generations, &self.steps);
        self.surviving.get_or_insert_with(|| {
            let records: Vec<_> = generations.values().map(|g| g.record.clone()).collect();
            let reports: Vec<_> = steps.values().map(|step| step.report).collect();
            let steps = lineage(&records, &reports).steps;
            let in_order = steps.into_values().zip(0..);
            let in_order = in_order.take_while(|(report, number)| report.step.number == *number);
            in_order.map(|(report, _)| report).collect()
        })
    }

    /// What weights at `base` must be.
    pub(crate) fn weights_at(&mut self, base: Cursor) -> Option<Vec<Trained>> {
        let steps = self.surviving().get(..base.step as usize)?;
        let trained = |r: &StepReport| Trained::of(&r.step, r.generation, r.fed);
        Some(steps.iter().map(trained).collect())
    }

    fn survives(&self, generation: u64, step: u64) -> bool {
        let later = self.generations.range(generation + 1..);
        later.into_iter().all(|(_, g)| g.record.base.step >= step)
    }
}
