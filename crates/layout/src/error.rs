//! What can be wrong with a model directory, said so that a person can mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

/// A field of `config.json` (or of a [`Gpt2Config`](crate::Gpt2Config)) with a
/// value that no GPT-2 can have, or that changes the model's arithmetic in a
/// way Peregrine does not implement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: {reason}")]
pub struct ConfigError {
    /// The field's name, as in `config.json`.
    pub field: &'static str,
    /// The value found.
    pub value: String,
    /// Why it cannot be, and what could.
    pub reason: String,
}

/// Why a model directory could not be read, checked or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory lacks a file that every model directory has.
    #[error("{} has no {file}{hint}", dir.display())]
    MissingFile {
        /// The model directory.
        dir: PathBuf,
        /// What is missing.
        file: String,
        /// What to do about it, starting with a separator; may be empty.
        hint: String,
    },
    /// A JSON file is not what it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// The directory is some other kind of model.
    #[error("{}: model_type is {}, and only \"gpt2\" can be read", path.display(), describe_model_type(model_type.as_deref()))]
    ModelType {
        /// The `config.json`.
        path: PathBuf,
        /// What it says, if anything.
        model_type: Option<String>,
    },
    /// A field of `config.json` cannot be.
    #[error("{}: {source}", path.display())]
    Config {
        /// The `config.json`.
        path: PathBuf,
        /// The field and the reason.
        source: ConfigError,
    },
    /// A file is not in the safetensors format, or is cut short.
    #[error("{}: not a whole safetensors file: {reason}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The index of a sharded model contradicts its shards.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The contradiction.
        reason: String,
    },
    /// The tensors are not those of the configuration.
    #[error("{}: the weights do not fit the configuration: {}", dir.display(), join(problems))]
    Tensors {
        /// The model directory.
        dir: PathBuf,
        /// Every tensor that is wrong, in name order.
        problems: Vec<TensorProblem>,
    },
    /// A directory to be written already holds a model.
    #[error("{} already exists: write to a folder without a model in it, or remove that one first", path.display())]
    AlreadyThere {
        /// The file in the way.
        path: PathBuf,
    },
}

impl LayoutError {
    pub(crate) fn io(path: &Path, source: io::Error) -> LayoutError {
        LayoutError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// One tensor that is not as the configuration demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorProblem {
    /// It should be there and is not.
    Missing {
        /// The tensor's name, as transformers writes it.
        name: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// It has another shape.
    Misshapen {
        /// The tensor's name, as the file has it.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// It belongs to no GPT-2 of this configuration.
    Unexpected {
        /// The tensor's name, as the file has it.
        name: String,
        /// The shape it has.
        shape: Vec<usize>,
    },
    /// Its elements are of a type that weights cannot have.
    WrongDtype {
        /// The tensor's name, as the file has it.
        name: String,
        /// The type it has.
        dtype: Dtype,
    },
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorProblem::Missing { name, shape } => {
                write!(f, "{name} {shape:?} is missing")
            }
            TensorProblem::Misshapen {
                name,
                expected,
                found,
            } => write!(f, "{name} is {found:?} and should be {expected:?}"),
            TensorProblem::Unexpected { name, shape } => {
                write!(f, "{name} {shape:?} is not part of this model")
            }
            TensorProblem::WrongDtype { name, dtype } => {
                write!(f, "{name} is {dtype} and should be F32, F16 or BF16")
            }
        }
    }
}

fn join(problems: &[TensorProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(TensorProblem::to_string).collect();
    texts.join("; ")
}

fn describe_model_type(model_type: Option<&str>) -> String {
    match model_type {
        Some(name) => format!("{name:?}"),
        None => "not given".to_owned(),
    }
}
