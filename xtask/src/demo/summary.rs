//! What the demo found out, for programs and for people.

use std::fmt::Write as _;
use std::path::PathBuf;

use local_cluster::{Counts, Step, median};
use serde::Serialize;

use crate::progress::duration;

/// Steps at the start whose speed does not count: caches are cold.
const WARM_UP: usize = 3;

/// How many steps a first or last loss is the mean of.
const MEAN_OF: usize = 5;

/// The demo's result. Its fields are what `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Mean training loss of the first steps, in nats per token.
    pub(crate) loss_first: f64,
    /// Mean training loss of the last steps.
    pub(crate) loss_last: f64,
    /// Training loss of every step.
    pub(crate) losses: Vec<f64>,
    /// Number of steps.
    pub(crate) steps: usize,
    /// Sequences that were trained on, by the audit.
    pub(crate) sequences_trained: u64,
    /// Sequences that were trained on twice, by the audit.
    pub(crate) sequences_repeated: u64,
    /// Sequences that were left out, by the audit.
    pub(crate) sequences_missed: u64,
    /// Of the median step.
    pub(crate) tokens_per_second: f64,
    /// Number of workers.
    pub(crate) workers: u32,
    /// The model directory that the publisher staged.
    pub(crate) checkpoint_dir: PathBuf,
    /// What a miner would commit on chain.
    pub(crate) chain_string: String,
    /// True: offline, the Hub's commit does not exist yet.
    pub(crate) commit_pending: bool,
    /// The loss curve.
    pub(crate) loss_plot: PathBuf,
}

/// What a run leaves behind, as [`Summary::of`] takes it.
pub(crate) struct Results {
    pub(crate) steps: Vec<Step>,
    pub(crate) counts: Counts,
    pub(crate) workers: u32,
    pub(crate) checkpoint_dir: PathBuf,
    pub(crate) chain_string: String,
    pub(crate) commit_pending: bool,
    pub(crate) loss_plot: PathBuf,
}

impl Summary {
    pub(crate) fn of(results: Results) -> Self {
        let losses: Vec<f64> = results.steps.iter().map(Step::loss).collect();
        let few = losses.len().min(MEAN_OF);
        Self {
            loss_first: mean(&losses[..few]),
            loss_last: mean(&losses[losses.len() - few..]),
            steps: losses.len(),
            losses,
            sequences_trained: results.counts.trained,
            sequences_repeated: results.counts.repeated,
            sequences_missed: results.counts.missed,
            tokens_per_second: tokens_per_second(&results.steps),
            workers: results.workers,
            checkpoint_dir: results.checkpoint_dir,
            chain_string: results.chain_string,
            commit_pending: results.commit_pending,
            loss_plot: results.loss_plot,
        }
    }

    /// The same in words.
    pub(crate) fn in_words(&self, seconds: f64) -> String {
        let mut text = String::new();
        let workers = if self.workers == 1 {
            "worker"
        } else {
            "workers"
        };
        let exactly_once = if self.sequences_repeated == 0 && self.sequences_missed == 0 {
            "each exactly once".to_owned()
        } else {
            format!(
                "{} repeated, {} missed",
                self.sequences_repeated, self.sequences_missed
            )
        };
        let pending = if self.commit_pending {
            " (offline: the forty zeros stand for the Hub's commit)"
        } else {
            ""
        };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\
{} {workers} took {} steps in {}, {:.0} tokens/s.
The training loss fell from {:.2} to {:.2} nats per token.
Trained on {} sequences, {exactly_once}, as the audit of what was fed to the model says.
The checkpoint, as transformers reads it:
  {}
What a miner would commit on chain{pending}:
  {}
The loss curve, for a browser:
  {}",
            self.workers,
            self.steps,
            duration(seconds),
            self.tokens_per_second,
            self.loss_first,
            self.loss_last,
            self.sequences_trained,
            self.checkpoint_dir.display(),
            self.chain_string,
            self.loss_plot.display(),
        );
        text
    }
}

/// Speed of the median step after the warm-up; of all when there are no more.
fn tokens_per_second(steps: &[Step]) -> f64 {
    let warm = steps.get(WARM_UP..).filter(|warm| !warm.is_empty());
    let speeds = warm.unwrap_or(steps).iter().map(Step::tokens_per_second);
    median(speeds).unwrap_or(0.0)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_cluster::Times;

    fn step(number: u64, loss: f64, seconds: f64) -> Step {
        Step {
            generation: 1,
            number,
            epoch: 0,
            sequences: 8,
            tokens: 1000,
            loss_sum: loss * 1000.0,
            grad_norm: 1.0,
            times: Times {
                total: seconds,
                ..Times::default()
            },
        }
    }

    fn summary() -> Summary {
        let mut steps: Vec<Step> = (0..10).map(|n| step(n, 10.0 - n as f64, 1.0)).collect();
        for slow in &mut steps[..3] {
            slow.times.total = 10.0;
        }
        Summary::of(Results {
            steps,
            counts: Counts {
                planned: 80,
                trained: 80,
                repeated: 0,
                missed: 0,
                skipped: 0,
            },
            workers: 2,
            checkpoint_dir: "/demo/model".into(),
            chain_string: "a:b:0:c".to_owned(),
            commit_pending: true,
            loss_plot: "/demo/loss.svg".into(),
        })
    }

    #[test]
    fn losses_are_means_of_five_and_speed_leaves_out_the_warm_up() {
        let summary = summary();
        assert!((summary.loss_first - 8.0).abs() < 1e-12);
        assert!((summary.loss_last - 3.0).abs() < 1e-12);
        assert!((summary.tokens_per_second - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn the_json_has_exactly_the_documented_keys() {
        let value = serde_json::to_value(summary()).unwrap();
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut documented = [
            "loss_first",
            "loss_last",
            "losses",
            "steps",
            "sequences_trained",
            "sequences_repeated",
            "sequences_missed",
            "tokens_per_second",
            "workers",
            "checkpoint_dir",
            "chain_string",
            "commit_pending",
            "loss_plot",
        ];
        documented.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, documented);
    }

    #[test]
    fn the_words_say_what_happened() {
        let words = summary().in_words(65.0);
        assert!(
            words.contains("2 workers took 10 steps in 1m 05s"),
            "{words}"
        );
        assert!(words.contains("each exactly once"), "{words}");
        assert!(words.contains("forty zeros"), "{words}");
    }
}
