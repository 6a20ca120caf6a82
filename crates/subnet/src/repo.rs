//! A repository on the Hub, within what the chain string has room for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many characters a namespace and a name may have together: what the
/// [chain string](crate::ModelId) has left beside commit, hash and separators.
pub const MAX_REPO_CHARACTERS: usize = 41;

/// A repository on the Hugging Face Hub: `namespace/name`.
///
/// Both parts obey the Hub's rules: ASCII letters, digits, `-`, `_` and `.`; no
/// `--` and no `..`; `-` and `.` neither first nor last; the name does not end
/// in `.git`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoId {
    namespace: String,
    name: String,
}

/// Why a repository cannot be published from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepoError {
    /// There is not exactly one `/`.
    #[error("the repository {0:?} is not of the form NAMESPACE/NAME")]
    Form(String),
    /// A part breaks the Hub's rules.
    #[error("the repository's {part} {text:?} {reason}")]
    Part {
        /// `namespace` or `name`.
        part: &'static str,
        /// What was given.
        text: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The chain string has no room for it.
    #[error(
        "the repository {namespace}/{name} has {} characters in namespace and name, and the chain \
         has room for {MAX_REPO_CHARACTERS}: choose a name of at most {}",
        namespace.len() + name.len(),
        MAX_REPO_CHARACTERS.saturating_sub(namespace.len())
    )]
    TooLong {
        /// The namespace given.
        namespace: String,
        /// The name given.
        name: String,
    },
}

impl RepoId {
    /// A repository by the two parts of its name.
    ///
    /// # Errors
    /// If a part breaks the Hub's rules, or both are too long together.
    pub fn new(namespace: &str, name: &str) -> Result<Self, RepoError> {
        check_part("namespace", namespace)?;
        check_part("name", name)?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        if namespace.len() + name.len() > MAX_REPO_CHARACTERS {
            return Err(RepoError::TooLong { namespace, name });
        }
        Ok(Self { namespace, name })
    }

    /// The user or organisation that owns it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name within the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_part(part: &'static str, text: &str) -> Result<(), RepoError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let reason = if text.is_empty() {
        "is empty"
    } else if !text.chars().all(allowed) {
        "has characters other than ASCII letters, digits, - _ and ."
    } else if text.contains("--") || text.contains("..") {
        "contains -- or .., which the Hub forbids"
    } else if text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        "begins or ends with - or ., which the Hub forbids"
    } else if text.ends_with(".git") {
        "ends with .git, which the Hub forbids"
    } else {
        return Ok(());
    };
    Err(RepoError::Part {
        part,
        text: text.to_owned(),
        reason,
    })
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for RepoId {
    type Err = RepoError;

    fn from_str(text: &str) -> Result<Self, RepoError> {
        match text.split_once('/') {
            Some((namespace, name)) if !name.contains('/') => Self::new(namespace, name),
            _ => Err(RepoError::Form(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RepoId {
    type Error = RepoError;

    fn try_from(text: String) -> Result<Self, RepoError> {
        text.parse()
    }
}

impl From<RepoId> for String {
    fn from(repo: RepoId) -> Self {
        repo.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_hub_gives_are_accepted() {
        for text in ["a/b", "openai-community/gpt2", "me_1/v0.2_final", "0/_x"] {
            assert_eq!(text.parse::<RepoId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_namespace_slash_name_is_refused() {
        for text in ["", "gpt2", "a/b/c", "https://hub/a/b"] {
            let error = text.parse::<RepoId>().unwrap_err();
            assert!(matches!(error, RepoError::Form(_)), "{text:?}: {error}");
        }
    }

    #[test]
    fn each_rule_of_the_hub_is_kept() {
        for text in [
            "/b", "a/", "a/b c", "a/b:c", "a/é", "a/b--c", "a/b..c", "a/-b", "a/b-", "a/.b",
            "a/b.", "-a/b", "a./b", "a/b.git",
        ] {
            let error = text.parse::<RepoId>().unwrap_err();
            assert!(matches!(error, RepoError::Part { .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn forty_one_characters_fit_and_forty_two_say_by_how_much_to_shorten() {
        let namespace = "n".repeat(20);
        assert!(RepoId::new(&namespace, &"m".repeat(21)).is_ok());
        let error = RepoId::new(&namespace, &"m".repeat(22)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("42 characters"), "{text}");
        assert!(text.contains("a name of at most 21"), "{text}");
    }
}
