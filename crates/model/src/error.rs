//! What can go wrong with a model.

use std::path::PathBuf;

use layout::{ConfigError, LayoutError};
use tch::TchError;

/// Why a model could not be built, run, loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model directory, or a file of it, is not as it should be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No model can be built from the configuration.
    #[error("the model's configuration cannot be: {0}")]
    Config(#[from] ConfigError),
    /// A batch does not fit the model.
    #[error("{0}")]
    Batch(String),
    /// A step was asked for without a backward pass before it.
    #[error("{name} has no gradient: run backward over every parameter first")]
    NoGradient {
        /// The parameter.
        name: String,
    },
    /// Saved optimizer state is not of this model.
    #[error("{}: {reason}", path.display())]
    OptimizerState {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// libtorch refused, most often for want of memory.
    #[error("libtorch: {0}")]
    Torch(String),
    /// One of libtorch's operations that tch lacks failed.
    #[error(transparent)]
    C10d(#[from] c10d::Error),
}

impl From<TchError> for ModelError {
    fn from(error: TchError) -> ModelError {
        let text = match error {
            TchError::Torch(text) => text,
            other => other.to_string(),
        };
        // After its first line libtorch prints a C++ backtrace.
        let first_line = text.lines().next().unwrap_or_default();
        ModelError::Torch(first_line.to_owned())
    }
}
