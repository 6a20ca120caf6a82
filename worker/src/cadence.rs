//! When to take a checkpoint between the ends of epochs.
//!
//! Pure: it is told the step, the time, and whether the writer is still busy.
//! By steps, a checkpoint is due where the number of steps done reaches a
//! multiple, whatever generations lie in between; by time, when the last one was
//! handed over long enough ago. While the writer is busy none is taken: it
//! stays due until there is room, instead of queueing up.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Says at which steps a checkpoint is due.
#[derive(Debug, Clone)]
pub(crate) struct Cadence {
    every_steps: Option<NonZeroU64>,
    every: Option<Duration>,
    /// Steps done at the last checkpoint, or where the generation began.
    last_step: u64,
    /// When the last checkpoint was handed over.
    last_at: Instant,
}

impl Cadence {
    /// A checkpoint every `steps` steps and every `ms` milliseconds; 0 is never.
    pub(crate) fn new(steps: u64, ms: u64, now: Instant) -> Self {
        Self {
            every_steps: NonZeroU64::new(steps),
            every: (ms > 0).then(|| Duration::from_millis(ms)),
            last_step: 0,
            last_at: now,
        }
    }

    /// A generation begins when so many steps are done: with a state that is
    /// held by everyone, or was just restored.
    pub(crate) fn begin_at(&mut self, step: u64) {
        self.last_step = step;
    }

    /// Whether to take one, now that `step` steps are done.
    pub(crate) fn is_due(&self, step: u64, now: Instant, writer_is_busy: bool) -> bool {
        if writer_is_busy || step <= self.last_step {
            return false;
        }
        let by_steps = self
            .every_steps
            .is_some_and(|every| step / every > self.last_step / every);
        let by_time = self
            .every
            .is_some_and(|every| now.saturating_duration_since(self.last_at) >= every);
        by_steps || by_time
    }

    /// One was handed over when `step` steps were done, due or not.
    pub(crate) fn taken(&mut self, step: u64, now: Instant) {
        self.last_step = step;
        self.last_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The steps up to `end` after which one is taken, when a step takes a
    /// minute and writing takes `writing` steps.
    fn taken_at(
        cadence: &mut Cadence,
        start: Instant,
        steps: std::ops::Range<u64>,
        writing: u64,
    ) -> Vec<u64> {
        let mut taken = Vec::new();
        for step in steps {
            let now = start + MINUTE * u32::try_from(step).unwrap();
            let busy = taken.last().is_some_and(|last| step < last + writing);
            if cadence.is_due(step, now, busy) {
                cadence.taken(step, now);
                taken.push(step);
                assert!(
                    !cadence.is_due(step, now + 100 * MINUTE, false),
                    "two for one cursor"
                );
            }
        }
        taken
    }

    fn cadence(steps: u64, minutes: u64) -> (Cadence, Instant) {
        let start = Instant::now();
        (Cadence::new(steps, minutes * 60_000, start), start)
    }

    #[test]
    fn by_steps_they_come_at_multiples() {
        let (mut cadence, start) = cadence(5, 0);
        assert_eq!(taken_at(&mut cadence, start, 1..18, 0), [5, 10, 15]);
    }

    #[test]
    fn by_time_they_come_when_it_has_passed() {
        let (mut cadence, start) = cadence(0, 4);
        assert_eq!(taken_at(&mut cadence, start, 1..14, 0), [4, 8, 12]);
    }

    #[test]
    fn either_is_enough_and_time_counts_from_the_last_of_both() {
        let (mut cadence, start) = cadence(7, 5);
        assert_eq!(taken_at(&mut cadence, start, 1..20, 0), [5, 7, 12, 14, 19]);
    }

    #[test]
    fn none_are_taken_when_none_are_asked_for() {
        let (mut cadence, start) = cadence(0, 0);
        assert_eq!(taken_at(&mut cadence, start, 1..1000, 0), [0; 0]);
    }

    #[test]
    fn a_slow_writer_delays_the_next_and_they_do_not_queue_up() {
        let (mut cadence, start) = cadence(2, 0);
        assert_eq!(taken_at(&mut cadence, start, 1..20, 5), [2, 7, 12, 17]);
    }

    #[test]
    fn the_end_of_an_epoch_counts() {
        let (mut cadence, start) = cadence(0, 4);
        cadence.taken(3, start + 3 * MINUTE);
        assert_eq!(taken_at(&mut cadence, start, 4..9, 0), [7]);
    }

    #[test]
    fn generations_that_break_often_do_not_put_it_off() {
        let (mut cadence, start) = cadence(10, 0);
        let mut taken = Vec::new();
        for base in (0..40).step_by(4) {
            cadence.begin_at(base);
            taken.extend(taken_at(&mut cadence, start, base + 1..base + 5, 0));
        }
        assert_eq!(taken, [10, 20, 30, 40]);
    }

    #[test]
    fn a_generation_that_goes_back_takes_them_again() {
        let (mut cadence, start) = cadence(5, 0);
        assert_eq!(taken_at(&mut cadence, start, 1..12, 0), [5, 10]);
        cadence.begin_at(7);
        assert_eq!(taken_at(&mut cadence, start, 8..12, 0), [10]);
        cadence.begin_at(10);
        assert_eq!(taken_at(&mut cadence, start, 11..14, 0), [0; 0]);
    }
}
