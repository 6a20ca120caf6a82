//! Answers that are refusals: what their statuses mean for a caller.

use std::fmt;
use std::time::Duration;

use crate::Class;

/// An answer whose status is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The Hub's own code, from `X-Error-Code`.
    pub code: Option<String>,
    /// The Hub's own words, cut to a line.
    pub message: String,
    /// How long it asked to wait.
    pub told: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Hub answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What a 429 without a word about time waits for: a fifth of the window over
/// which the Hub counts.
const UNTOLD_WAIT: Duration = Duration::from_secs(60);

impl Refusal {
    pub(crate) fn class(&self) -> Class {
        match (self.status, self.told) {
            (429, told) => Class::Wait(told.unwrap_or(UNTOLD_WAIT)),
            (503, Some(told)) => Class::Wait(told),
            (408 | 425 | 500 | 502..=504 | 520..=599, _) => Class::Retry,
            (409 | 412, _) => Class::Ambiguous,
            _ => Class::Fatal,
        }
    }

    pub(crate) fn advice(&self) -> Option<String> {
        let words = match self.status {
            401 => {
                "the token is missing, expired or mistyped: make one with write access in the \
                 Hub's settings, under Access Tokens, and put it into HF_ACCESS_TOKEN"
            }
            403 => {
                "the token is valid and may not do this: it needs write access to the namespace, \
                 or, if it is fine-grained, to the repository; a full storage quota and a gated \
                 repository look the same, and the Hub's words above say which it is"
            }
            404 => {
                "the namespace or the repository does not exist: check the spelling of \
                 NAMESPACE/NAME, and that the token belongs to the namespace"
            }
            413 => {
                "a file or the commit is larger than the Hub takes: save the model in smaller \
                 shards"
            }
            429 => "wait; asking earlier prolongs the block",
            _ => return None,
        };
        Some(words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, told: Option<u64>) -> Refusal {
        Refusal {
            status,
            code: None,
            message: "no explanation".to_owned(),
            told: told.map(Duration::from_secs),
        }
    }

    #[test]
    fn each_status_has_its_class() {
        for status in [400, 401, 403, 404, 410, 413, 416, 422, 501, 505, 511] {
            assert_eq!(refused(status, None).class(), Class::Fatal, "{status}");
        }
        for status in [408, 500, 502, 503, 504, 522] {
            assert_eq!(refused(status, None).class(), Class::Retry, "{status}");
        }
        for status in [409, 412] {
            assert_eq!(refused(status, None).class(), Class::Ambiguous, "{status}");
        }
        let seconds = Duration::from_secs;
        assert_eq!(refused(429, Some(55)).class(), Class::Wait(seconds(55)));
        assert_eq!(refused(503, Some(7)).class(), Class::Wait(seconds(7)));
        assert_eq!(refused(429, None).class(), Class::Wait(UNTOLD_WAIT));
    }

    #[test]
    fn what_a_person_must_mend_comes_with_advice() {
        for (status, word) in [
            (401, "HF_ACCESS_TOKEN"),
            (403, "write access"),
            (404, "NAMESPACE/NAME"),
            (413, "shards"),
        ] {
            let advice = refused(status, None).advice().unwrap();
            assert!(advice.contains(word), "{status}: {advice}");
        }
        assert_eq!(refused(500, None).advice(), None);
    }
}
