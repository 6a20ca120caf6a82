//! Reading what a state machine, or an audit, continues from.

use ledger::lineage;

use super::{RunStore, StoreError};
use crate::machine::History;
use crate::records::{KeptGeneration, Reported};

/// Steps that a machine is given: what speed and epoch averages are taken over.
const RECENT_STEPS: u64 = 256;

impl RunStore {
    /// Everything that a state machine continues from.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn history(&self) -> Result<History, StoreError> {
        let generations = self.generations()?;
        let end = self.reported_end(&generations)?;
        let steps = self.lineage_steps(end.saturating_sub(RECENT_STEPS), end)?;
        Ok(History {
            term: self.term()?,
            generations,
            rows: self.rows()?.into_iter().collect(),
            steps,
            evaluations: self.evaluations()?,
            checkpoints: self.checkpoints()?,
            complete: self.complete()?,
        })
    }

    /// The number of the first step that the surviving lineage has not
    /// reported. A machine stores reports without gaps, so it follows from the
    /// newest generation's.
    fn reported_end(&self, generations: &[KeptGeneration]) -> Result<u64, StoreError> {
        let Some(newest) = generations.last() else {
            return Ok(0);
        };
        let base = newest.record.base.step;
        let steps = self.steps(newest.record.number, base, u64::MAX)?;
        let last = steps.last().map(|reported| reported.report.step.number + 1);
        Ok(last.unwrap_or(base))
    }

    /// The steps of the surviving lineage from `first` on and before `end`,
    /// oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn lineage_steps(&self, first: u64, end: u64) -> Result<Vec<Reported>, StoreError> {
        let records: Vec<_> = self.generations()?.into_iter().map(|g| g.record).collect();
        let mut steps = Vec::new();
        for span in lineage(&records, &[]).spans {
            let from = span.base.step.max(first);
            let to = span.end.unwrap_or(u64::MAX).min(end);
            steps.extend(self.steps(span.generation, from, to)?);
        }
        Ok(steps)
    }

    /// Every step that any generation reported, rolled back ones included.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn all_steps(&self) -> Result<Vec<Reported>, StoreError> {
        let mut steps = Vec::new();
        for generation in self.generations()? {
            steps.extend(self.steps(generation.record.number, 0, u64::MAX)?);
        }
        Ok(steps)
    }
}
