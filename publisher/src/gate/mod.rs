//! What keeps a checkpoint from being published: what its manifest and its files
//! say ([`Refusal`]), and what its hotkey has committed already ([`Verdict`]).

mod scorer;
mod verdict;

use std::fmt;

pub(crate) use scorer::Scorer;
pub use verdict::{Comparison, Incumbent, Verdict};

use subnet::{ModelFacts, Violation};

use crate::{Candidate, Config};

/// Why a checkpoint is not published.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Nobody knows how good it is.
    NotEvaluated,
    /// It is not good enough.
    Loss {
        /// Its evaluation loss, in nats per token.
        loss: f64,
        /// The loss that it must be below.
        threshold: f64,
    },
    /// Validators would not evaluate it.
    Criteria(Vec<Violation>),
    /// Its files are not a model that can be published; in words.
    Unusable(String),
    /// The coordinator no longer has it.
    Gone,
    /// It is not better enough than what the hotkey has committed; in words.
    NotWorth(String),
}

impl Refusal {
    /// In which ways validators' criteria are violated, in words.
    pub fn violations(&self) -> Vec<String> {
        match self {
            Refusal::Criteria(violations) => violations.iter().map(Violation::to_string).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotEvaluated => {
                f.write_str("it has no evaluation to compare with --avg_loss_upload_threshold")
            }
            Refusal::Loss { loss, threshold } => {
                write!(
                    f,
                    "its loss {loss:.4} is not below --avg_loss_upload_threshold {threshold}"
                )?;
                if *threshold == 0.0 {
                    f.write_str(
                        ", and no loss is below 0: give the loss below which a checkpoint is worth publishing",
                    )?;
                }
                Ok(())
            }
            Refusal::Criteria(_) => write!(
                f,
                "validators would not take it: {} (see --criteria-block)",
                self.violations().join("; ")
            ),
            Refusal::Unusable(reason) | Refusal::NotWorth(reason) => f.write_str(reason),
            Refusal::Gone => f.write_str("the coordinator no longer has it"),
        }
    }
}

/// Refuses, by its manifest alone, a candidate that is not worth downloading.
/// What the manifest claims is measured again after the download.
pub(crate) fn before_download(candidate: &Candidate, config: &Config) -> Result<(), Refusal> {
    let loss = candidate.loss.ok_or(Refusal::NotEvaluated)?;
    let threshold = config.loss_threshold;
    // Written so that a loss that is not a number is refused.
    let below = loss < threshold;
    if !below {
        return Err(Refusal::Loss { loss, threshold });
    }
    let claimed = ModelFacts {
        // The only architecture that a run can have.
        model_type: "gpt2".to_owned(),
        parameters: candidate.manifest.parameters,
        repository_bytes: candidate.bytes(),
        context: None,
        vocabulary: None,
    };
    let violations = config.criteria.check(&claimed);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Criteria(violations))
    }
}
