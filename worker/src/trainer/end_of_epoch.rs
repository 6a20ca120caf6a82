//! What the ranks do together when an epoch ends: compare weights, evaluate,
//! and keep a checkpoint.

use std::ops::Range;
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::worker_message::Body;
use tch::{Kind, Tensor};

use super::Trainer;
use super::epoch_loss::EpochLoss;
use super::generation::{Broken, World};
use super::replica::Replica;
use crate::checkpoint::{Job, Writer};
use crate::feeder;

/// The part of `count` items that `rank` of `world` takes: contiguous, and
/// sizes differ by at most one.
fn part(count: usize, rank: usize, world: usize) -> Range<usize> {
    count * rank / world..count * (rank + 1) / world
}

impl Trainer {
    /// Returns how long training stood still for the checkpoint's copy.
    pub(super) fn end_epoch(
        &self,
        world: &mut World,
        replica: &mut Replica,
        writer: &mut Writer,
        best: &mut Option<f64>,
    ) -> Result<Duration, Broken> {
        self.control.set_phase(v1::Phase::Evaluating);
        self.compare_weights(world, replica)?;
        // The next epoch's starts here, whatever becomes of the evaluation.
        let trained = std::mem::take(&mut replica.trained);
        let evaluation = self.evaluate(world, replica, &trained)?;
        if world.rank != 0 {
            return Ok(Duration::ZERO);
        }
        let better = best.is_none_or(|best| evaluation.loss < best);
        if better {
            *best = Some(evaluation.loss);
        }
        tracing::info!(
            loss = evaluation.loss,
            training_loss = trained.mean(),
            best = better,
            "evaluated"
        );
        self.control
            .send(world.generation, Body::Evaluated(evaluation));
        self.keep_checkpoint(world, replica, writer, Some(evaluation), &trained)
    }

    /// Copies the state and hands the copy to the background writer, unless it
    /// has this state already. Returns how long that took.
    pub(super) fn keep_checkpoint(
        &self,
        world: &World,
        replica: &Replica,
        writer: &mut Writer,
        evaluation: Option<v1::Evaluation>,
        trained: &EpochLoss,
    ) -> Result<Duration, Broken> {
        let started = Instant::now();
        self.control.set_phase(v1::Phase::Checkpointing);
        let cursor = replica.applied.unwrap_or_else(ledger::Cursor::start);
        if writer.has(world.generation, cursor) {
            return Ok(Duration::ZERO);
        }
        writer.submit(Job {
            generation: world.generation,
            cursor,
            evaluation,
            training_loss: trained.mean(),
            epoch_loss: replica.trained,
            weights: replica.model.snapshot()?,
            optimizer: replica.optimizer.snapshot()?,
        });
        Ok(started.elapsed())
    }

    /// The validator's loss over the evaluation pages, shared among the ranks
    /// and summed in f64 by sequence; without such pages, the epoch's training
    /// average.
    fn evaluate(
        &self,
        world: &World,
        replica: &Replica,
        trained: &EpochLoss,
    ) -> Result<v1::Evaluation, Broken> {
        let cursor = replica.applied.map(Into::into);
        if self.run.eval_pages == 0 {
            return Ok(v1::Evaluation {
                cursor,
                loss: trained.mean(),
                sequences: trained.sequences(),
                from_training: true,
            });
        }
        self.control.set_phase(v1::Phase::WaitingForData);
        let waits = feeder::evaluation(&self.book, &self.pages);
        let sequences = self.runtime.block_on(async {
            tokio::select! {
                sequences = waits => sequences.map_err(Broken::from),
                () = world.cancelled.cancelled() => Err(Broken::Aborted),
            }
        })?;
        let mine = part(
            sequences.len(),
            world.rank as usize,
            world.size.get() as usize,
        );
        let mut sum = 0.0;
        for batch in sequences[mine.clone()].chunks(self.bs.get() as usize) {
            if self.control.is_aborted(world.generation) {
                return Err(Broken::Aborted);
            }
            // Anew: how long one batch may take is known, unlike how long all may.
            self.control.set_phase(v1::Phase::Evaluating);
            let ids = replica.model.batch(batch)?;
            let losses = self
                .precision
                .scope(self.device, || replica.model.sequence_losses(&ids))?;
            sum += losses.iter().sum::<f64>();
        }
        self.control.set_phase(v1::Phase::Evaluating);
        let totals = Tensor::from_slice(&[sum, mine.len() as f64])
            .to_kind(Kind::Double)
            .to_device(self.device);
        world.group.all_reduce(&totals)?;
        let sum = totals.double_value(&[0]);
        let count = totals.double_value(&[1]);
        if count as usize != sequences.len() {
            return Err(Broken::Protocol(format!(
                "the ranks evaluated {count} of {} sequences",
                sequences.len()
            )));
        }
        Ok(v1::Evaluation {
            cursor,
            loss: sum / count,
            sequences: sequences.len() as u64,
            from_training: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_evaluated_once_whatever_the_world() {
        for world in 1..9 {
            for count in 0..40 {
                let parts: Vec<usize> = (0..world)
                    .flat_map(|rank| part(count, rank, world))
                    .collect();
                assert_eq!(parts, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
