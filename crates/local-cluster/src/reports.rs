//! What the programs print as JSON, as far as anyone here reads it.
//!
//! Unknown fields are ignored, so that a program may say more tomorrow.

use std::path::PathBuf;

use serde::Deserialize;

/// One step of the surviving lineage, as `coordinator steps --json` prints it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Step {
    /// The generation that took it.
    pub generation: u64,
    /// Number of the step in the run, from 0.
    pub number: u64,
    /// Epoch it belongs to, from 0.
    pub epoch: u64,
    /// Sequences trained on.
    pub sequences: u64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Cross-entropy summed over the predicted tokens, in nats.
    pub loss_sum: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Where the reporting rank's time went.
    #[serde(default)]
    pub times: Times,
}

impl Step {
    /// Mean training loss, in nats per predicted token.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.tokens as f64
    }

    /// Tokens of the whole cluster per second of this step.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.times.total
    }
}

/// Seconds of one step, by what they were spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The whole step.
    pub total: f64,
    /// Waiting for packed pages.
    pub data: f64,
    /// Forward pass.
    pub forward: f64,
    /// Backward pass, less the communication that it did not hide.
    pub backward: f64,
    /// Waiting for other ranks.
    pub communication: f64,
    /// Clipping and the optimizer.
    pub optimizer: f64,
    /// Copying state for a checkpoint.
    pub checkpoint: f64,
}

/// What `coordinator audit --json` prints.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Audit {
    /// Sums over all epochs.
    pub total: Counts,
    /// What is wrong, in words.
    pub violations: Vec<serde_json::Value>,
}

/// Sequences (and pages) as the audit counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Sequences that the plan holds.
    pub planned: u64,
    /// Sequences that were trained on once at least.
    pub trained: u64,
    /// Sequences that were trained on more than once.
    pub repeated: u64,
    /// Sequences that were not trained on.
    pub missed: u64,
    /// Pages left out, each with a reason in the page table.
    pub skipped: u64,
}

/// What `publisher --json` prints when the run is complete.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publication {
    /// Where the checkpoint was staged.
    pub checkpoint_dir: Option<PathBuf>,
    /// Its evaluation loss, in nats per token.
    pub loss: Option<f64>,
    /// `namespace:name:commit:hash`.
    pub chain_string: Option<String>,
    /// Whether the commit is still to come (offline).
    pub commit_pending: bool,
    /// Why nothing was published.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The median; `None` of nothing.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
