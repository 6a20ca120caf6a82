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
use serde_json::error::Category;

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
    serde_json::from_slice(body).map_err(|error| {
        // Not the library's own words, which repeat the value that they are about:
        // it may be a key, and of any length.
        let what = match error.classify() {
            Category::Eof => "JSON that breaks off",
            Category::Data => "JSON of another form than expected",
            Category::Syntax | Category::Io => "no JSON",
        };
        let (line, column) = (error.line(), error.column());
        AnswerError::new(format!("it is {what}, at line {line}, column {column}"))
    })
}

/// A stranger's text as an error shows it: its beginning, in quotes. (The
/// precision of a format has no effect on the `Debug` of a text.)
fn quoted(text: &str) -> String {
    const SHOWN: usize = 100;
    let beginning: String = text.chars().take(SHOWN).collect();
    let rest = if beginning.len() < text.len() {
        "…"
    } else {
        ""
    };
    format!("{beginning:?}{rest}")
}

/// A text of a reasonable length, without control characters.
fn text(what: &str, text: String) -> Result<String, AnswerError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(AnswerError::new(format!("its {what} is no {what}")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_shows_of_an_answer_is_short_and_holds_no_value() {
        let key = "hf_0123456789".repeat(1000);
        for (body, words) in [
            (
                format!(r#"{{"casUrl":{{}},"accessToken":"{key}","exp":1}}"#),
                "it is JSON of another form than expected, at line 1, column 10",
            ),
            (
                format!(r#"{{"casUrl":"https://h","accessToken":"k","exp":"{key}"}}"#),
                "another form",
            ),
            (
                format!(r#"{{"casUrl":"{key}"#),
                "it is JSON that breaks off, at line 1, column 13011",
            ),
            (key.clone(), "it is no JSON, at line 1, column 1"),
        ] {
            let error = XetAccess::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error:.300}");
            assert!(!error.contains("hf_"), "{error:.300}");
        }
    }

    #[test]
    fn what_an_error_quotes_is_short() {
        let long = "x".repeat(5000);
        let entry = format!(r#"[{{"type":"file","oid":"o","size":1,"path":"{long}"}}]"#);
        let mode = format!(r#"{{"files":[{{"path":"p","uploadMode":"{long}"}}]}}"#);
        let index = format!(r#"{{"weight_map":{{"a":"{long}"}}}}"#);
        for error in [
            TreePage::parse(entry.as_bytes()).unwrap_err(),
            UploadModes::parse(mode.as_bytes()).unwrap_err(),
            shard_names(index.as_bytes()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("\"xxx"), "{error}");
            assert!(error.len() < 300, "{} bytes", error.len());
        }
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
    }
}
