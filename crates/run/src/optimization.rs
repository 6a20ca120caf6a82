//! How weights follow gradients: AdamW and the schedule of its learning rate.

use std::f64::consts::PI;
use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{RunError, require};

/// AdamW (Loshchilov and Hutter, 2019), with decay decoupled from the gradient
/// and scaled by the learning rate, as PyTorch has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate that the schedule scales.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// What is added to the root of the mean of squared gradients.
    pub eps: f64,
    /// How much of a weight is taken off in a step, times the learning rate.
    pub weight_decay: f64,
    /// Which weights decay.
    pub decay: Decay,
}

/// Which weights decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// All of them.
    Everywhere,
    /// Those with two dimensions or more: neither biases nor layer norms.
    MatricesOnly,
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everywhere => "everywhere",
            Self::MatricesOnly => "matrices-only",
        })
    }
}

/// How the learning rate goes over the steps of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Rises linearly over the warm-up, then stays.
    Constant {
        /// Steps until the full rate is reached; 0 begins with it.
        warmup_steps: u64,
    },
    /// Rises linearly over the warm-up, then falls along half a cosine, then
    /// stays.
    Cosine {
        /// Steps until the full rate is reached; 0 begins with it.
        warmup_steps: u64,
        /// Steps, warm-up included, until the final rate is reached.
        total_steps: u64,
        /// The final rate, as a fraction of the full one.
        final_fraction: f64,
    },
}

impl Schedule {
    /// The fraction of the full learning rate at a step, counted from 0: in
    /// (0, 1], but for a final fraction of 0.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        let warmup_steps = self.warmup_steps();
        if step < warmup_steps {
            // Not from 0, so that the first step already moves the weights.
            return (step + 1) as f64 / warmup_steps as f64;
        }
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Cosine {
                total_steps,
                final_fraction,
                ..
            } => {
                if step.saturating_add(1) >= total_steps {
                    return final_fraction;
                }
                let progress =
                    (step + 1 - warmup_steps) as f64 / (total_steps - warmup_steps) as f64;
                let above_final = 0.5 * (1.0 + (PI * progress).cos());
                final_fraction + (1.0 - final_fraction) * above_final
            }
        }
    }

    /// Steps until the full rate is reached.
    #[must_use]
    pub fn warmup_steps(&self) -> u64 {
        match *self {
            Self::Constant { warmup_steps } | Self::Cosine { warmup_steps, .. } => warmup_steps,
        }
    }

    pub(crate) fn check(&self) -> Result<(), RunError> {
        let Self::Cosine {
            warmup_steps,
            total_steps,
            final_fraction,
        } = *self
        else {
            return Ok(());
        };
        require(
            total_steps > warmup_steps,
            "--total-steps",
            total_steps,
            &format!(
                "the warm-up alone takes {warmup_steps} steps; give more, or fewer --warmup-steps"
            ),
        )?;
        require(
            (0.0..=1.0).contains(&final_fraction),
            "--final-lr-fraction",
            final_fraction,
            "it is a fraction of --lr; give a number between 0 and 1",
        )
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { warmup_steps } => {
                write!(f, "constant after {warmup_steps} steps of warm-up")
            }
            Self::Cosine {
                warmup_steps,
                total_steps,
                final_fraction,
            } => write!(
                f,
                "cosine to {final_fraction} of the rate at step {total_steps}, after \
                 {warmup_steps} steps of warm-up"
            ),
        }
    }
}

impl AdamW {
    pub(crate) fn check(&self) -> Result<(), RunError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let beta = "it is a decay; give a number of at least 0 and below 1";
        require(
            positive(self.lr),
            "--lr",
            self.lr,
            "a learning rate is a finite number above 0, such as 6e-4",
        )?;
        require(
            (0.0..1.0).contains(&self.beta1),
            "--beta1",
            self.beta1,
            beta,
        )?;
        require(
            (0.0..1.0).contains(&self.beta2),
            "--beta2",
            self.beta2,
            beta,
        )?;
        require(
            positive(self.eps),
            "--eps",
            self.eps,
            "give a finite number above 0, such as 1e-8",
        )?;
        require(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "--weight-decay",
            self.weight_decay,
            "give a finite number of at least 0; 0 turns it off",
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn warm_up_rises_linearly_and_ends_at_the_full_rate() {
        let schedule = Schedule::Constant { warmup_steps: 4 };
        let factors: Vec<f64> = (0..6).map(|step| schedule.factor(step)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_full_rate() {
        assert_eq!(Schedule::Constant { warmup_steps: 0 }.factor(0), 1.0);
    }

    #[test]
    fn the_cosine_is_half_way_down_in_the_middle_and_final_at_the_last_step() {
        let schedule = Schedule::Cosine {
            warmup_steps: 10,
            total_steps: 110,
            final_fraction: 0.1,
        };
        assert_eq!(schedule.factor(9), 1.0);
        assert!((schedule.factor(59) - 0.55).abs() < 1e-12);
        assert_eq!(schedule.factor(109), 0.1);
        assert_eq!(schedule.factor(u64::MAX), 0.1);
    }

    proptest! {
        #[test]
        fn factors_rise_over_the_warm_up_and_never_after(
            warmup_steps in 0u64..50,
            further in 1u64..200,
            final_fraction in 0.0f64..=1.0,
            constant: bool,
        ) {
            let total_steps = warmup_steps + further;
            let schedule = if constant {
                Schedule::Constant { warmup_steps }
            } else {
                Schedule::Cosine { warmup_steps, total_steps, final_fraction }
            };
            prop_assert!(schedule.check().is_ok());
            for step in 0..total_steps + 3 {
                let (now, next) = (schedule.factor(step), schedule.factor(step + 1));
                prop_assert!((0.0..=1.0).contains(&now));
                if step + 1 < warmup_steps {
                    prop_assert!(now < next);
                } else if step + 1 > warmup_steps {
                    prop_assert!(now >= next, "step {step}: {now} then {next}");
                }
            }
        }
    }
}
