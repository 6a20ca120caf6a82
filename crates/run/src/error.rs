//! Why something is no run, or not this one.

use crate::resume::Contradiction;

/// Why a run was refused. Every message names the flag and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag has a value that it cannot have, or not together with another's.
    #[error("{flag} {given}: {reason}")]
    Flag {
        /// The flag, as its help spells it.
        flag: &'static str,
        /// The value given, or filled in.
        given: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file that `--model_config` names is no GPT-2 configuration.
    #[error("--model_config: {0}")]
    ModelConfig(#[from] layout::LayoutError),
    /// The model cannot be built.
    #[error("the model's {0}; correct its config.json, or choose a --preset")]
    Model(#[from] layout::ConfigError),
    /// A stored or received run cannot be understood.
    #[error(
        "the run's configuration cannot be read: {0}; it may come from another version of this \
         program, and all parts of a cluster must be of the same version"
    )]
    Json(#[from] serde_json::Error),
    /// A resume asks for another run than the one that is stored.
    #[error("{}", crate::resume::in_words(.0))]
    Contradicts(Vec<Contradiction>),
}

impl RunError {
    pub(crate) fn flag(
        flag: &'static str,
        given: impl ToString,
        reason: impl Into<String>,
    ) -> Self {
        Self::Flag {
            flag,
            given: given.to_string(),
            reason: reason.into(),
        }
    }
}

/// Refuses a flag's value unless `holds`.
pub(crate) fn require(
    holds: bool,
    flag: &'static str,
    given: impl ToString,
    reason: &str,
) -> Result<(), RunError> {
    if holds {
        return Ok(());
    }
    Err(RunError::flag(flag, given, reason))
}
