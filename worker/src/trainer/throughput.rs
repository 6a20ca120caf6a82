//! What a person watching one worker's log wants to see: the loss, the speed,
//! and where the time goes.

use std::time::{Duration, Instant};

use proto::v1::StepTimes;

use super::generation::World;
use super::step::Done;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(10);

/// Sums over the steps since the last line.
pub(super) struct Throughput {
    since: Instant,
    tokens: u64,
    times: StepTimes,
}

impl Throughput {
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            tokens: 0,
            times: StepTimes::default(),
        }
    }

    /// Takes note of a step, and writes the line when it is due.
    pub(super) fn note(&mut self, world: &World, done: &Done) {
        self.tokens += done.metrics.tokens;
        add(&mut self.times, &done.times);
        let elapsed = self.since.elapsed();
        if elapsed < EVERY {
            return;
        }
        let share = |part: f64| format!("{:.0}%", 100.0 * part / self.times.total.max(1e-9));
        tracing::info!(
            generation = world.generation,
            step = done.report.step.number,
            loss = done.report.mean_loss(),
            tokens_per_second = (self.tokens as f64 / elapsed.as_secs_f64()).round(),
            data = share(self.times.data),
            communication = share(self.times.communication),
            checkpoint = share(self.times.checkpoint),
            "training"
        );
        *self = Self::start();
    }
}

fn add(sum: &mut StepTimes, times: &StepTimes) {
    sum.total += times.total;
    sum.data += times.data;
    sum.forward += times.forward;
    sum.backward += times.backward;
    sum.communication += times.communication;
    sum.optimizer += times.optimizer;
    sum.checkpoint += times.checkpoint;
}
