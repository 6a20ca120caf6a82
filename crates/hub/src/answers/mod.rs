//! The Hub's answers, parsed into types that hold only what is used and only
//! what makes sense.
//!
//! Everything here is pure and takes bytes or header texts that a stranger may
//! have written: a digest of the wrong length, a size that is none, a path that
//! leads out of the repository or a text without end is an [`AnswerError`], and
//! nothing panics. Fields that are not used are skipped, since the Hub adds new
//! ones all the time.

mod account;
mod headers;
mod index;
mod repository;
mod upload;

pub use account::{Account, Grant, Membership, TokenScope, WriteAccess};
pub(crate) use headers::error_message;
pub use headers::{ContentRange, next_page, told_wait};
pub use index::shard_names;
pub(crate) use repository::is_plain_path;
pub use repository::{RemoteFile, RepositoryInfo, TreePage};
pub use upload::{CommitAnswer, LfsBatch, UploadModes, XetAccess};

use serde::de::DeserializeOwned;

/// The longest name, path or token that is believed, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// An answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AnswerError(String);

impl AnswerError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(body)
        .map_err(|error| AnswerError::new(format!("it is not JSON of the expected form: {error}")))
}

/// A text of a reasonable length, without control characters.
fn text(what: &str, text: String) -> Result<String, AnswerError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(AnswerError::new(format!("its {what} is no {what}")));
    }
    Ok(text)
}
