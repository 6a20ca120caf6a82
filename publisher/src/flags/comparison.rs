//! Flags about what is worth publishing.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use subnet::EPSILON_LATER;
use wallet::Password;

use crate::config::ComparisonConfig;

/// The comparison with what the hotkey has committed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is worth publishing")]
pub(super) struct ComparisonFlags {
    /// Publish a checkpoint only if its loss is lower by more than this
    /// fraction than that of the model that the hotkey has committed, both
    /// scored on the same pages as validators do; `off` does not compare. The
    /// default is the advantage that validators give to the earlier model.
    #[arg(
        long = "publish-if-better-by",
        value_name = "EPS",
        default_value_t = BetterBy(Some(EPSILON_LATER)),
        value_parser = BetterBy::parse
    )]
    better_by: BetterBy,

    /// The worker's binary, which scores; by default the one beside this
    /// binary, or on the PATH.
    #[arg(long = "scorer", value_name = "PATH")]
    scorer: Option<PathBuf>,

    /// Score on so many of the pages that the run keeps for its evaluation; by
    /// default on all of them.
    #[arg(long = "score-pages", value_name = "N")]
    pages: Option<NonZeroU32>,

    /// Device to score on: cpu, cuda:N or auto.
    #[arg(long = "score-device", value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// Where this machine keeps the run's local dataset, if not at the path
    /// that the coordinator names.
    #[arg(long = "score-data", value_name = "PATH")]
    data: Option<PathBuf>,

    /// The tokenizer.json with which the run was planned, if not GPT-2's.
    #[arg(long = "score-tokenizer", value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

impl ComparisonFlags {
    pub(super) fn comparison(&self, password: &Password) -> Option<ComparisonConfig> {
        Some(ComparisonConfig {
            better_by: self.better_by.0?,
            scorer: self.scorer.clone(),
            pages: self.pages,
            device: self.device.clone(),
            data: self.data.clone(),
            tokenizer: self.tokenizer.clone(),
            password_env: match password {
                Password::Env(variable) => Some(variable.clone()),
                _ => None,
            },
        })
    }
}

/// A fraction, or `off`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BetterBy(Option<f64>);

impl BetterBy {
    fn parse(text: &str) -> Result<BetterBy, String> {
        if text == "off" {
            return Ok(BetterBy(None));
        }
        match text.parse::<f64>() {
            Ok(fraction) if (0.0..1.0).contains(&fraction) => Ok(BetterBy(Some(fraction))),
            _ => Err("it is a fraction from 0 to below 1, such as 0.005, or `off`".to_owned()),
        }
    }
}

impl std::fmt::Display for BetterBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(fraction) => write!(f, "{fraction}"),
            None => f.write_str("off"),
        }
    }
}
