//! How to train where no flag says: two sets of defaults.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::config::Init;
use crate::optimization::{AdamW, Decay};

/// A set of defaults for training. Every part of it has a flag of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// Warm-up, a learning rate and betas fit for the model's size, decay of
    /// matrices only, clipping, no dropout.
    #[default]
    Modern,
    /// What subnet 9's first miner did: lr 1e-5 from the first step on, betas
    /// 0.9 and 0.999, decay 0.01 of everything, dropout 0.1, no clipping.
    Seed,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modern => "modern",
            Self::Seed => "seed",
        })
    }
}

/// What a recipe says of one model.
pub(crate) struct Defaults {
    pub(crate) optimizer: AdamW,
    pub(crate) clip_grad_norm: Option<f64>,
    pub(crate) dropout: f64,
}

impl Recipe {
    /// What the recipe says of a model of this width that starts like this.
    pub(crate) fn defaults(self, n_embd: usize, init: &Init) -> Defaults {
        match self {
            Self::Seed => Defaults {
                optimizer: AdamW {
                    lr: 1e-5,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: 0.01,
                    decay: Decay::Everywhere,
                },
                clip_grad_norm: None,
                dropout: 0.1,
            },
            Self::Modern => Defaults {
                optimizer: AdamW {
                    lr: match init {
                        Init::Scratch => scratch_learning_rate(n_embd),
                        // Where a full training would have ended: at a tenth.
                        Init::Weights { .. } => three_digits(0.1 * scratch_learning_rate(n_embd)),
                    },
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    decay: Decay::MatricesOnly,
                },
                clip_grad_norm: Some(1.0),
                dropout: 0.0,
            },
        }
    }

    /// Steps of warm-up with this beta2.
    pub(crate) fn warmup_steps(self, beta2: f64) -> u64 {
        match self {
            Self::Seed => 0,
            Self::Modern => untuned_warmup_steps(beta2),
        }
    }
}

/// The learning rate of the modern recipe for a GPT-2 of width `n_embd` that
/// starts from scratch: 6e-4 at 760, in inverse proportion to the width, at most
/// 3e-3; to three digits.
///
/// That is where the rates of GPT-3's models lie (Brown et al. 2020, table 2.1:
/// 6e-4 at 768, 2e-4 at 2048, 1.2e-4 at 4096) and how rates carry over between
/// widths (Yang et al. 2022). Below a width of about 150 the limit holds, since
/// small batches make larger rates unstable.
#[must_use]
pub fn scratch_learning_rate(n_embd: usize) -> f64 {
    let rate = 6e-4 * 760.0 / n_embd.max(1) as f64;
    three_digits(rate.min(3e-3))
}

/// So that people can read and repeat it.
fn three_digits(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().unwrap_or(rate)
}

/// Steps of linear warm-up that keep Adam's first steps from being too large
/// without tuning: 2 / (1 - beta2) (Ma and Yarats 2021), which is 40 at 0.95.
/// None for a beta2 that cannot be.
#[must_use]
pub fn untuned_warmup_steps(beta2: f64) -> u64 {
    if !(0.0..1.0).contains(&beta2) {
        return 0;
    }
    (2.0 / (1.0 - beta2)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_with_width_from_the_limit_and_are_easy_to_read() {
        for (n_embd, rate) in [
            (0, 3e-3),
            (32, 3e-3),
            (128, 3e-3),
            (384, 1.19e-3),
            (760, 6e-4),
            (768, 5.94e-4),
            (2048, 2.23e-4),
            (4096, 1.11e-4),
        ] {
            assert_eq!(scratch_learning_rate(n_embd), rate, "{n_embd}");
        }
    }

    #[test]
    fn loaded_weights_are_trained_on_at_a_tenth() {
        let weights = Init::Weights {
            digest: "0".repeat(64),
        };
        let lr = |init| Recipe::Modern.defaults(760, init).optimizer.lr;
        assert_eq!(lr(&Init::Scratch), 6e-4);
        assert_eq!(lr(&weights), 6e-5);
    }

    #[test]
    fn warm_up_follows_beta2() {
        assert_eq!(untuned_warmup_steps(0.95), 40);
        assert_eq!(untuned_warmup_steps(0.999), 2000);
        assert_eq!(untuned_warmup_steps(0.0), 2);
        assert_eq!(untuned_warmup_steps(1.0), 0);
        assert_eq!(untuned_warmup_steps(f64::NAN), 0);
    }
}
