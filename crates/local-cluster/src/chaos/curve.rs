//! Comparing the losses of two runs that should be one.

use crate::Step;

/// The largest relative difference of the training losses of the steps that
/// both runs took, among the first `steps`; and how many steps were compared.
#[must_use]
pub fn largest_difference(reference: &[Step], other: &[Step], steps: usize) -> (f64, usize) {
    let pairs = reference.iter().zip(other).take(steps);
    let differences = pairs.map(|(reference, other)| {
        let difference = (reference.loss() - other.loss()).abs() / reference.loss();
        // Whatever is not a number is as different as can be.
        if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        }
    });
    differences.fold((0.0, 0), |(largest, count), difference| {
        (f64::max(largest, difference), count + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Times;

    fn steps(losses: &[f64]) -> Vec<Step> {
        let step = |(number, loss): (u64, &f64)| Step {
            generation: 1,
            number,
            epoch: 0,
            sequences: 1,
            tokens: 10,
            loss_sum: loss * 10.0,
            grad_norm: 1.0,
            times: Times::default(),
        };
        (0..).zip(losses).map(step).collect()
    }

    #[test]
    fn the_largest_of_the_steps_that_both_took_counts() {
        let (reference, other) = (steps(&[8.0, 4.0, 2.0, 1.0]), steps(&[8.0, 4.4, 1.9]));
        let (difference, compared) = largest_difference(&reference, &other, 50);
        assert!((difference - 0.1).abs() < 1e-12, "{difference}");
        assert_eq!(compared, 3);
        assert_eq!(largest_difference(&reference, &other, 1), (0.0, 1));
    }

    #[test]
    fn a_loss_that_is_not_a_number_differs() {
        let (reference, other) = (steps(&[8.0]), steps(&[f64::NAN]));
        assert_eq!(
            largest_difference(&reference, &other, 50),
            (f64::INFINITY, 1)
        );
    }
}
