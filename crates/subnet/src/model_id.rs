//! The string that a miner puts on the chain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::commit::{CommitError, CommitId};
use crate::hash::{ModelHash, ModelHashError};
use crate::repo::{RepoError, RepoId};

/// The longest string that fits into a commitment on the chain.
pub const MAX_CHAIN_BYTES: usize = 128;

/// What stands in the string for a part that is not there, as validators write
/// and read it.
const MISSING: &str = "None";

/// Which model a miner has published: the chain string
/// `namespace:name:commit:hash`, of at most [`MAX_CHAIN_BYTES`] bytes.
///
/// [`Display`](fmt::Display) writes the string, and [`FromStr`] reads it.
///
/// ```
/// use subnet::{CommitId, ModelHash, ModelId, RepoId};
///
/// let id = ModelId {
///     repo: RepoId::new("falconry", "peregrine")?,
///     commit: Some(CommitId::PENDING),
///     hash: None,
/// };
/// let text = "falconry:peregrine:0000000000000000000000000000000000000000:None";
/// assert_eq!(id.to_string(), text);
/// assert_eq!(text.parse(), Ok(id));
/// # Ok::<(), subnet::RepoError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelId {
    /// The repository: namespace and name.
    pub repo: RepoId,
    /// The commit of the repository, once there is one.
    pub commit: Option<CommitId>,
    /// The hash over the model's files, or over that and the hotkey.
    pub hash: Option<ModelHash>,
}

/// Why a text is not a chain string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// It would not fit on the chain.
    #[error("the chain string has {0} bytes, and at most {MAX_CHAIN_BYTES} fit")]
    TooLong(usize),
    /// It has too few or too many parts.
    #[error("the chain string has {0} parts, not the four of namespace:name:commit:hash")]
    Parts(usize),
    /// Its repository cannot be one.
    #[error("in the chain string, {0}")]
    Repo(#[from] RepoError),
    /// Its commit cannot be one.
    #[error("in the chain string, {0}")]
    Commit(#[from] CommitError),
    /// Its hash cannot be one.
    #[error("in the chain string, {0}")]
    Hash(#[from] ModelHashError),
}

impl ModelId {
    /// The user or organisation that owns the repository.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.repo.namespace()
    }

    /// The repository's name within its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repo.name()
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.namespace(), self.name())?;
        match &self.commit {
            Some(commit) => write!(f, "{commit}:")?,
            None => write!(f, "{MISSING}:")?,
        }
        match &self.hash {
            Some(hash) => write!(f, "{hash}"),
            None => f.write_str(MISSING),
        }
    }
}

impl FromStr for ModelId {
    type Err = ModelIdError;

    fn from_str(text: &str) -> Result<Self, ModelIdError> {
        // First of all, so that no error below repeats a stranger's long text.
        if text.len() > MAX_CHAIN_BYTES {
            return Err(ModelIdError::TooLong(text.len()));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let [namespace, name, commit, hash] = parts[..] else {
            return Err(ModelIdError::Parts(parts.len()));
        };
        Ok(Self {
            repo: RepoId::new(namespace, name)?,
            commit: present(commit).map(str::parse).transpose()?,
            hash: present(hash).map(str::parse).transpose()?,
        })
    }
}

fn present(part: &str) -> Option<&str> {
    (part != MISSING).then_some(part)
}

impl TryFrom<String> for ModelId {
    type Error = ModelIdError;

    fn try_from(text: String) -> Result<Self, ModelIdError> {
        text.parse()
    }
}

impl From<ModelId> for String {
    fn from(id: ModelId) -> Self {
        id.to_string()
    }
}
