//! What comes after a step: an epoch's end, a checkpoint, a pause, the run's
//! end.

use coordinator::records::Evaluation;
use membership::{Input, Membership};
use proto::v1;
use proto::v1::worker_message::Body;

use super::{Stage, Trainer};
use crate::sabotage::OfShell;
use crate::sim::Sim;

/// How long a pause may take to store its checkpoint.
const PAUSE_PATIENCE_MS: u64 = 1200;

impl Sim {
    pub(super) fn end_epoch(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, rank) = (seat.generation, seat.rank);
        if rank == 0
            && let Some(cursor) = self.workers[index].process.claimed
        {
            let evaluation = Evaluation {
                cursor,
                loss: 9.0 - cursor.step as f64 / 100.0,
                sequences: 1,
                from_training: false,
            };
            let body = Body::Evaluated(v1::Evaluation::from(&evaluation));
            self.tell(index, Input::Say { generation, body });
            self.keep_checkpoint(index, generation, Some(evaluation));
        }
        self.after_step(index, true);
    }

    /// Goes on after a step, or leaves if that was agreed.
    pub(super) fn after_step(&mut self, index: usize, is_checkpointed: bool) {
        let Some((report, sum)) = self.workers[index].process.unsaid.take() else {
            return;
        };
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, rank) = (seat.generation, seat.rank);
        if let Some(report) = report {
            self.report(index, generation, report);
        }
        if !sum.pausing {
            if rank == 0 && !is_checkpointed && self.is_checkpoint_due(index) {
                self.keep_checkpoint(index, generation, None);
            }
            return self.next_step(index);
        }
        if sum.checkpointing && rank == 0 && !is_checkpointed {
            self.keep_checkpoint(index, generation, None);
        }
        // Nobody waits for a checkpoint that nobody asked for.
        let process = &self.workers[index].process;
        let asked = process
            .membership
            .as_ref()
            .is_some_and(Membership::is_checkpointing);
        if !asked || process.jobs.is_empty() {
            self.leave(index, generation, "");
            return self.obey(index);
        }
        self.stage(
            index,
            Stage::Storing,
            PAUSE_PATIENCE_MS..PAUSE_PATIENCE_MS + 1,
        );
    }

    /// Whether enough steps are done since the last checkpoint of an epoch's
    /// middle, and the last one is stored.
    fn is_checkpoint_due(&self, index: usize) -> bool {
        let process = &self.workers[index].process;
        let steps = process.claimed.map_or(0, |cursor| cursor.step);
        let every = self.config.checkpoint_steps;
        every > 0 && steps.is_multiple_of(every) && process.jobs.is_empty()
    }

    /// Every checkpoint that was handed over is stored or refused.
    pub(crate) fn checkpoints_stored(&mut self, index: usize) {
        if !self.workers[index].process.jobs.is_empty() {
            return;
        }
        let Some(seat) = self.seat(index) else {
            return;
        };
        let generation = seat.generation;
        match seat.stage {
            Stage::Storing => {
                self.leave(index, generation, "");
                self.obey(index);
            }
            Stage::Finishing => self.finish(index),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, index: usize) {
        let blames_all = self.config.breaks(OfShell::BlameOldCheckpoints);
        let process = &mut self.workers[index].process;
        let Trainer::In(seat) = &process.trainer else {
            return;
        };
        if !process.jobs.is_empty() {
            return;
        }
        let (generation, cursor) = (seat.generation, seat.cursor);
        process.last_generation = generation;
        process.is_member = true;
        process.trainer = Trainer::Idle;
        // What was rolled back is refused, and that is no fault of this generation.
        let refused = process.refused.clone();
        let refused = refused.filter(|(of, _)| *of == generation || blames_all);
        let body = match refused {
            None => {
                process.has_finished = true;
                Body::Finished(v1::Finished {
                    cursor: Some(cursor.into()),
                })
            }
            Some((_, reason)) => Body::RunFailed(v1::RunFailed {
                cursor: Some(cursor.into()),
                reason,
            }),
        };
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Finished,
                body,
            },
        );
        self.obey(index);
    }
}
