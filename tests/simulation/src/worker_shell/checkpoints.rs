//! The checkpoints that a worker uploads in the background, one at a time.

use coordinator::records::{Checkpoint, CheckpointId, Evaluation};

use super::calls::Waiting;
use crate::event::{Call, WorkerAct};
use crate::sim::Sim;
use crate::weights::Weights;

/// A checkpoint that waits to be stored.
pub(crate) struct Job {
    pub(crate) id: CheckpointId,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) weights: Weights,
}

impl Sim {
    /// Hands a checkpoint to the background.
    pub(crate) fn keep_checkpoint(
        &mut self,
        index: usize,
        generation: u64,
        evaluation: Option<Evaluation>,
    ) {
        let process = &mut self.workers[index].process;
        let Some(weights) = process.weights.clone() else {
            return;
        };
        let id = CheckpointId::of(weights.cursor.step, generation);
        if process.last_job.as_ref() == Some(&id) {
            return;
        }
        process.last_job = Some(id.clone());
        process.jobs.push_back(Job {
            checkpoint: Checkpoint {
                id: id.clone(),
                generation,
                cursor: weights.cursor,
                evaluation,
                training_loss: 1.0,
                parameters: 1,
                files: Vec::new(),
                created_unix_ms: 0,
            },
            id: id.clone(),
            weights,
        });
        if !process.is_uploading {
            process.is_uploading = true;
            let delay = self.dice.within(20..300);
            self.act_later(index, delay, WorkerAct::Upload { id });
        }
    }

    pub(super) fn upload(&mut self, index: usize, id: &CheckpointId) {
        let Some(term) = self.term_of(index) else {
            return;
        };
        let Some(job) = self.workers[index].process.jobs.front() else {
            return;
        };
        if job.id != *id {
            return;
        }
        let (checkpoint, weights) = (job.checkpoint.clone(), job.weights.clone());
        let call = Call::Checkpoint {
            checkpoint: Box::new(checkpoint),
            weights,
            term,
            is_new: false,
        };
        self.call(index, call, Waiting::Checkpoint(id.clone()));
    }

    pub(super) fn stored(&mut self, index: usize, id: &CheckpointId, refused: Option<String>) {
        let process = &mut self.workers[index].process;
        if process.jobs.front().is_none_or(|job| job.id != *id) {
            return;
        }
        let job = process.jobs.pop_front();
        let generation = job.map_or(0, |job| job.checkpoint.generation);
        process.refused = refused.map(|reason| (generation, reason));
        let next = process.jobs.front().map(|job| job.id.clone());
        process.is_uploading = next.is_some();
        if let Some(id) = next {
            let delay = self.dice.within(20..300);
            self.act_later(index, delay, WorkerAct::Upload { id });
        }
        self.checkpoints_stored(index);
    }
}
