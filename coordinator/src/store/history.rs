//! Reading what a state machine, or an audit, continues from.

use ledger::{Ordinal, PageRow, Slot, lineage};

use super::keys::Key;
use super::{RunStore, StoreError, decode_row};
use crate::machine::History;
use crate::records::{KeptGeneration, Reported};

/// Steps that a machine is given: what speed and epoch averages are taken over.
const RECENT_STEPS: u64 = 4096;
/// Steps that are read at a time.
const PIECE: u64 = 4096;

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
        let last = self.last_step(newest.record.number, base)?;
        Ok(last.map_or(base, |last| last.report.step.number + 1))
    }

    /// The last step that a generation reported, from `first` on. It is looked
    /// for a piece at a time, so that memory does not grow with the run.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn last_step(&self, generation: u64, first: u64) -> Result<Option<Reported>, StoreError> {
        let mut last = None;
        let mut from = first;
        loop {
            let piece = self.steps(generation, from, from.saturating_add(PIECE))?;
            let Some(newest) = piece.last() else {
                // What lies beyond a gap, if there is any, counts all the same.
                let beyond = self.steps(generation, from, u64::MAX)?;
                return Ok(beyond.last().copied().or(last));
            };
            last = Some(*newest);
            from = newest.report.step.number.saturating_add(1);
        }
    }

    /// The training rows from `first` on and before `end`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn training_rows(
        &self,
        first: Ordinal,
        end: Ordinal,
    ) -> Result<Vec<(Ordinal, PageRow)>, StoreError> {
        let from = Key::Row(Slot::Training(first)).encode();
        let to = Key::Row(Slot::Training(end)).encode();
        let mut rows = Vec::new();
        for (_, bytes) in self.keyspace.scan(&from, &to)? {
            if let (Slot::Training(ordinal), row) = decode_row(&bytes)? {
                rows.push((ordinal, row));
            }
        }
        Ok(rows)
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
