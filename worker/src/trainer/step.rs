//! One step: this rank's share forward and backward, the sums over ranks, the
//! update.

use std::time::{Duration, Instant};

use ledger::{FedDigest, Step, StepReport};
use model::{Mode, ModelError};
use proto::v1;
use proto::v1::worker_message::Body;
use tch::{Kind, Tensor};

use super::Trainer;
use super::generation::{Broken, World};
use super::metrics::StepMetrics;
use super::replica::Replica;
use crate::fault::{self, Feed};
use crate::feeder::MicroBatchIds;

/// Steps in a row that may be skipped for gradients that are not finite.
const SKIPS_ALLOWED: u32 = 10;

/// A step that is over.
pub(super) struct Done {
    pub(super) report: StepReport,
    pub(super) metrics: StepMetrics,
    pub(super) learning_rate: f64,
    pub(super) times: v1::StepTimes,
}

/// Counts steps that were skipped one after the other.
#[derive(Default)]
pub(super) struct Skips(u32);

impl Skips {
    /// Fails when the run makes no progress any more. Every rank comes to the
    /// same conclusion, for all see the same gradients.
    pub(super) fn note(&mut self, applied: bool) -> Result<(), Broken> {
        if applied {
            self.0 = 0;
            return Ok(());
        }
        self.0 += 1;
        if self.0 >= SKIPS_ALLOWED {
            return Err(Broken::Run(format!(
                "the gradient was not finite in {} steps in a row; \
                 resume from the last checkpoint with a lower --lr",
                self.0
            )));
        }
        Ok(())
    }
}

/// The seed of dropout in the micro-batch that begins at `first`: the same on
/// whichever rank it is trained.
fn dropout_seed(run_seed: u64, first: u64) -> i64 {
    // SplitMix64's finalizer, so that neighbouring positions share nothing.
    let mut mixed = run_seed ^ first.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as i64
}

/// Wall time, split as it passes.
struct Clock {
    started: Instant,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last: now,
        }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now - self.last;
        self.last = now;
        lap
    }
}

impl Trainer {
    /// Trains one step. On an error nothing of it is applied here.
    pub(super) fn step(
        &self,
        world: &mut World,
        replica: &mut Replica,
        step: &Step,
        share: &[MicroBatchIds],
    ) -> Result<Done, Broken> {
        let mut clock = Clock::start();
        let mut times = v1::StepTimes::default();
        world.reducer.zero_grads()?;
        clock.lap();

        let mut fed = StepMetrics::none();
        let mut loss_sum = Tensor::zeros([], (Kind::Double, self.device));
        let Feed { share, pretended } = fault::feed(step.number, share);
        for (index, micro_batch) in share.iter().enumerate() {
            let ids = micro_batch.tensor(&replica.model)?;
            for (position, sequence) in micro_batch.sequences() {
                fed.fed += FedDigest::of(position, sequence);
                fed.sequences += 1;
                fed.tokens += sequence.len() as u64 - 1;
            }
            if self.run.dropout > 0.0 {
                tch::manual_seed(dropout_seed(self.run.seed, micro_batch.first));
            }
            let loss = self
                .precision
                .scope(self.device, || replica.model.loss_sum(&ids, Mode::Train))?;
            loss_sum += loss.detach().to_kind(Kind::Double);
            times.forward += clock.lap().as_secs_f64();
            let last = index + 1 == share.len();
            let backward = world.reducer.backward(&loss, last)?;
            let took = clock.lap();
            times.communication += backward.exposed_communication.as_secs_f64();
            times.backward += took
                .saturating_sub(backward.exposed_communication)
                .as_secs_f64();
        }
        if share.is_empty() {
            let zero = replica.model.zero_loss()?;
            let backward = world.reducer.backward(&zero, true)?;
            let took = clock.lap();
            times.communication += backward.exposed_communication.as_secs_f64();
            times.backward += took
                .saturating_sub(backward.exposed_communication)
                .as_secs_f64();
        }
        fed.sequences += pretended.sequences;
        fed.tokens += pretended.tokens;
        fed.loss_sum = loss_sum.double_value(&[]);
        fed.pausing = u64::from(self.control.is_pausing());
        fed.checkpointing = u64::from(self.control.is_checkpointing());
        times.backward += clock.lap().as_secs_f64();

        let metrics = self.sum_over_ranks(world, fed, step)?;
        times.communication += clock.lap().as_secs_f64();

        let learning_rate = self.run.learning_rate(step.number);
        let (grad_norm, applied) = self.update(replica, metrics.tokens, learning_rate)?;
        replica.applied = Some(step.after());
        replica.applied_in = world.generation;
        self.control.set_applied(step.after());
        times.optimizer = clock.lap().as_secs_f64();
        times.total = clock.started.elapsed().as_secs_f64();
        Ok(Done {
            report: StepReport {
                generation: world.generation,
                step: *step,
                loss_sum: metrics.loss_sum,
                tokens: metrics.tokens,
                sequences: metrics.sequences,
                fed: metrics.fed,
                grad_norm,
                applied,
            },
            metrics,
            learning_rate,
            times,
        })
    }

    fn sum_over_ranks(
        &self,
        world: &World,
        fed: StepMetrics,
        step: &Step,
    ) -> Result<StepMetrics, Broken> {
        let numbers = Tensor::from_slice(&fed.to_numbers()).to_device(self.device);
        world.group.all_reduce(&numbers)?;
        let mut sums = [0.0; StepMetrics::LEN];
        numbers
            .to_device(tch::Device::Cpu)
            .f_copy_data(&mut sums, StepMetrics::LEN)
            .map_err(ModelError::from)?;
        Ok(StepMetrics::from_sums(sums, step)?)
    }

    /// Averages, clips and applies the summed gradients, or skips them when
    /// they are not finite. Returns their mean's norm before clipping and
    /// whether they were applied; every rank has the same gradients and decides
    /// alike.
    fn update(
        &self,
        replica: &mut Replica,
        tokens: u64,
        learning_rate: f64,
    ) -> Result<(f64, bool), Broken> {
        let norm = replica
            .model
            .average_gradients(tokens, self.run.clip_grad_norm)?;
        if !norm.is_finite() {
            tracing::warn!("the gradient's norm is {norm}; every rank skips this update");
            return Ok((norm, false));
        }
        replica.optimizer.step(learning_rate)?;
        Ok((norm, true))
    }

    /// Tells the coordinator about a step: rank 0 at once, the others when
    /// rank 0 no longer can.
    pub(super) fn report(&self, world: &World, done: &Done) {
        let mut report = v1::StepReport::from(&done.report);
        report.learning_rate = done.learning_rate;
        report.times = Some(done.times);
        self.control.remember(report.clone());
        if world.rank == 0 {
            let reports = v1::StepReports {
                reports: vec![report],
            };
            self.control
                .send(world.generation, Body::StepReports(reports));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_only_skips_is_stopped_and_one_that_recovers_is_not() {
        let mut skips = Skips::default();
        for _ in 0..SKIPS_ALLOWED - 1 {
            skips.note(false).unwrap();
        }
        skips.note(true).unwrap();
        for _ in 0..SKIPS_ALLOWED - 1 {
            skips.note(false).unwrap();
        }
        let error = skips.note(false).unwrap_err();
        assert!(error.to_string().contains("--lr"), "{error}");
    }

    #[test]
    fn dropout_differs_between_micro_batches_and_runs_and_repeats_for_neither() {
        let seeds: std::collections::BTreeSet<i64> = (0..4)
            .flat_map(|run| (0..1000).map(move |first| dropout_seed(run, first)))
            .collect();
        assert_eq!(seeds.len(), 4000);
        assert_eq!(dropout_seed(7, 42), dropout_seed(7, 42));
    }
}
