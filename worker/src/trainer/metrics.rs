//! What the ranks sum about a step, beside its gradients.
//!
//! One small f64 all-reduce per step carries the loss, what was really fed to
//! the models, and the wishes to pause and to keep a checkpoint. Every rank therefore knows the whole
//! step, any survivor can report it, and all ranks leave a generation after
//! the same step whoever heard of it first.

use ledger::{FedDigest, Step};

/// One rank's part of a step, or the sum over ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepMetrics {
    /// Cross-entropy summed over predicted tokens, in nats.
    pub(super) loss_sum: f64,
    /// Predicted tokens.
    pub(super) tokens: u64,
    /// Sequences that went through a model.
    pub(super) sequences: u64,
    /// Digest of those sequences.
    pub(super) fed: FedDigest,
    /// How many ranks were asked to pause.
    pub(super) pausing: u64,
    /// How many of them were asked for a checkpoint before they leave.
    pub(super) checkpointing: u64,
}

/// The sums do not describe the step that every rank planned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum MetricsError {
    #[error(
        "the ranks fed {fed} sequences to {step}, which has {planned}: \
         a worker planned another step"
    )]
    Count { step: Step, planned: u32, fed: u64 },
    #[error("the sums over ranks of {step} are not whole numbers; the collective is damaged")]
    Damaged { step: Step },
}

impl StepMetrics {
    /// How many numbers travel.
    pub(super) const LEN: usize = 9;

    /// Nothing fed yet.
    pub(super) fn none() -> Self {
        Self {
            loss_sum: 0.0,
            tokens: 0,
            sequences: 0,
            fed: FedDigest::ZERO,
            pausing: 0,
            checkpointing: 0,
        }
    }

    /// The numbers to sum. Counts stay exact: they are far below 2^53.
    pub(super) fn to_numbers(self) -> [f64; Self::LEN] {
        let [a, b, c, d] = self.fed.to_f64_limbs();
        [
            self.loss_sum,
            self.tokens as f64,
            self.sequences as f64,
            a,
            b,
            c,
            d,
            self.pausing as f64,
            self.checkpointing as f64,
        ]
    }

    /// The sum over ranks, checked against the plan.
    pub(super) fn from_sums(sums: [f64; Self::LEN], step: &Step) -> Result<Self, MetricsError> {
        let [
            loss_sum,
            tokens,
            sequences,
            a,
            b,
            c,
            d,
            pausing,
            checkpointing,
        ] = sums;
        let damaged = MetricsError::Damaged { step: *step };
        let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
        let (Some(tokens), Some(sequences), Some(pausing), Some(checkpointing), Some(fed)) = (
            whole(tokens),
            whole(sequences),
            whole(pausing),
            whole(checkpointing),
            FedDigest::from_f64_limbs(&[a, b, c, d]),
        ) else {
            return Err(damaged);
        };
        if sequences != u64::from(step.count) {
            return Err(MetricsError::Count {
                step: *step,
                planned: step.count,
                fed: sequences,
            });
        }
        Ok(Self {
            loss_sum,
            tokens,
            sequences,
            fed,
            pausing,
            checkpointing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Ordinal, PageStart};

    fn step(count: u32) -> Step {
        let page = PageStart {
            ordinal: Ordinal(0),
            position: 0,
        };
        Step {
            number: 4,
            epoch: 0,
            first: 40,
            count,
            last_of_epoch: false,
            page,
            next_page: page,
        }
    }

    fn rank(first: u64, count: u64, pausing: u64) -> StepMetrics {
        StepMetrics {
            loss_sum: 10.5 * count as f64,
            tokens: 1023 * count,
            sequences: count,
            fed: (first..first + count)
                .map(|position| FedDigest::of(position, &[position as u32; 4]))
                .sum(),
            pausing,
            checkpointing: 0,
        }
    }

    fn sum(ranks: &[StepMetrics]) -> [f64; StepMetrics::LEN] {
        let mut total = [0.0; StepMetrics::LEN];
        for rank in ranks {
            for (total, number) in total.iter_mut().zip(rank.to_numbers()) {
                *total += number;
            }
        }
        total
    }

    #[test]
    fn sums_over_ranks_equal_one_rank_with_everything() {
        let split = sum(&[rank(40, 3, 0), rank(43, 7, 1), StepMetrics::none()]);
        let whole = StepMetrics::from_sums(split, &step(10)).unwrap();
        assert_eq!(whole, rank(40, 10, 1));
    }

    #[test]
    fn a_rank_that_fed_too_little_is_noticed_by_all() {
        let error =
            StepMetrics::from_sums(sum(&[rank(40, 3, 0), rank(43, 6, 0)]), &step(10)).unwrap_err();
        assert!(error.to_string().contains("fed 9 sequences"), "{error}");
    }

    #[test]
    fn damaged_sums_are_refused() {
        for number in 1..StepMetrics::LEN {
            for damage in [f64::NAN, -1.0, 0.5, f64::INFINITY] {
                let mut sums = rank(40, 10, 0).to_numbers();
                sums[number] = damage;
                assert!(
                    StepMetrics::from_sums(sums, &step(10)).is_err(),
                    "number {number} = {damage}"
                );
            }
        }
    }
}
