//! A commit of a repository on the Hub.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What stands for the commit in a chain string until there is one: forty zeros,
/// which no commit has.
pub const PENDING_COMMIT: &str = "0000000000000000000000000000000000000000";

/// The SHA-1 of a git commit, written as 40 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId([u8; 20]);

/// The text is not a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the commit {0:?} is not 40 lowercase hexadecimal digits")]
pub struct CommitError(String);

impl CommitId {
    /// [`PENDING_COMMIT`].
    pub const PENDING: Self = Self([0; 20]);

    /// Whether this stands for a commit that is yet to be made.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self == Self::PENDING
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitId({self})")
    }
}

impl FromStr for CommitId {
    type Err = CommitError;

    fn from_str(text: &str) -> Result<Self, CommitError> {
        let refuse = || CommitError(text.to_owned());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 20 || !rest.is_empty() {
            return Err(refuse());
        }
        let mut bytes = [0; 20];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else {
                return Err(refuse());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

/// Lowercase only: git writes no other, and each commit shall have one spelling.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl TryFrom<String> for CommitId {
    type Error = CommitError;

    fn try_from(text: String) -> Result<Self, CommitError> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pending_commit_is_forty_zeros() {
        assert_eq!(CommitId::PENDING.to_string(), PENDING_COMMIT);
        assert_eq!(PENDING_COMMIT, "0".repeat(40));
        assert!(PENDING_COMMIT.parse::<CommitId>().unwrap().is_pending());
    }

    #[test]
    fn a_commit_is_written_as_it_was_read() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        let commit: CommitId = text.parse().unwrap();
        assert_eq!(commit.to_string(), text);
        assert_eq!(format!("{commit:?}"), format!("CommitId({text})"));
        assert!(!commit.is_pending());
    }

    #[test]
    fn other_texts_are_no_commits() {
        let short = "0".repeat(39);
        let long = "0".repeat(41);
        let uppercase = "A".repeat(40);
        let foreign = "g".repeat(40);
        let wide = "é".repeat(20);
        for text in ["", "main", &short, &long, &uppercase, &foreign, &wide] {
            assert!(text.parse::<CommitId>().is_err(), "{text:?}");
        }
    }
}
