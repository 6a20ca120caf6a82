//! How far the losses of a disturbed run are from those of an undisturbed one.
//!
//! Sums over other shares are rounded otherwise, and training multiplies such a
//! difference: in fp32 it grows from 1e-7 in the first step to some 1e-4 after
//! 150, and nothing is wrong. So the promise of 1e-4 is for the first steps, where
//! rounding cannot have come that far; and what comes later has a bound that only
//! says that both are the same training.
//!
//! A lost or a repeated batch is not what this looks for: a single one may well
//! hide below the later bound. The audit sees it, whatever it does to the loss.

use local_cluster::Step;
use local_cluster::chaos::largest_difference;
use serde::Serialize;

/// Steps within which [`AT_FIRST`] holds.
const FIRST: usize = 50;
/// The most by which the first losses may differ, relatively.
const AT_FIRST: f64 = 1e-4;
/// The most by which any may. Rounding alone came to 1.9e-3 at worst in 778
/// steps; from one batch to the next, losses differ by some 1e-2. Optimizer state
/// that was lost, weights of another checkpoint or a learning rate of another
/// step move the whole curve by more than that.
const EVER: f64 = 1e-2;

/// The comparison, with what `--json` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct LossCurve {
    /// Steps that were compared, from the run's first.
    pub(super) steps: usize,
    /// The largest relative difference among the first 50.
    pub(super) within_50: f64,
    /// The largest of all.
    pub(super) worst: f64,
}

impl LossCurve {
    pub(super) fn of(reference: &[Step], disturbed: &[Step], most: usize) -> Self {
        let (within_50, _) = largest_difference(reference, disturbed, most.min(FIRST));
        let (worst, steps) = largest_difference(reference, disturbed, most);
        Self {
            steps,
            within_50,
            worst,
        }
    }

    /// What is wrong with it, in words.
    pub(super) fn wrong(&self) -> Option<String> {
        if self.steps == 0 {
            return Some("there were no losses to compare".to_owned());
        }
        if self.within_50 > AT_FIRST {
            return Some(format!(
                "the losses of the first {FIRST} steps differ by {:.1e} from the undisturbed                  run's, and {AT_FIRST:.0e} is the most",
                self.within_50
            ));
        }
        (self.worst > EVER).then(|| {
            format!(
                "the losses of {} steps differ by {:.1e} from the undisturbed run's, and {EVER:.0e}                  is the most",
                self.steps, self.worst
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_cluster::Times;

    /// A run whose losses are 2, but for what is added to one of its steps.
    fn steps(count: u64, odd: u64, added: f64) -> Vec<Step> {
        let step = |number| Step {
            generation: 1,
            number,
            epoch: 0,
            sequences: 1,
            tokens: 10,
            loss_sum: 20.0 + if number == odd { 10.0 * added } else { 0.0 },
            grad_norm: 1.0,
            times: Times::default(),
        };
        (0..count).map(step).collect()
    }

    fn curve(count: u64, odd: u64, added: f64) -> LossCurve {
        LossCurve::of(&steps(count, 0, 0.0), &steps(count, odd, added), 1000)
    }

    #[test]
    fn the_first_fifty_steps_are_held_to_more_than_later_ones() {
        assert_eq!(curve(60, 49, 1e-4).wrong(), None);
        let early = curve(60, 49, 1e-3);
        assert!(early.wrong().unwrap().contains("first 50"), "{early:?}");
        let late = curve(60, 50, 1e-3);
        assert_eq!(late.wrong(), None);
        assert!(late.within_50 < 1e-9 && late.worst > 4e-4, "{late:?}");
        assert_eq!(late.steps, 60);
    }

    #[test]
    fn later_steps_are_held_to_something_too() {
        let late = curve(60, 50, 0.1);
        assert!(late.wrong().unwrap().contains("60 steps"), "{late:?}");
        assert!(curve(60, 50, f64::NAN).wrong().is_some());
    }

    #[test]
    fn only_as_many_steps_are_compared_as_were_asked_for() {
        let (reference, other) = (steps(60, 0, 0.0), steps(60, 50, 0.1));
        assert_eq!(LossCurve::of(&reference, &other, 50).steps, 50);
        assert_eq!(LossCurve::of(&reference, &other, 50).wrong(), None);
        assert!(LossCurve::of(&reference, &[], 50).wrong().is_some());
    }
}
