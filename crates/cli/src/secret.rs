//! Text that must not reach a log.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A token or a password. It has no `Display` and no `Serialize`, and its
/// `Debug` shows that it is there and nothing of what it is, so that it cannot
/// be logged by accident as part of a struct.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret, without the white space that often surrounds a pasted one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it, as after `TOKEN=` in a `.env` file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Lets clap read a secret from a flag or an environment variable.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret_not_even_its_length() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "the field is there to be formatted")]
        struct Config {
            token: Secret,
        }
        let config = Config {
            token: Secret::new("hf_0123456789"),
        };
        for shown in [format!("{config:?}"), format!("{config:#?}")] {
            assert!(shown.contains("Secret(..)"), "{shown}");
            assert!(!shown.contains("hf_"), "{shown}");
        }
        assert_eq!(
            format!("{:?}", Secret::new("a")),
            format!("{:?}", Secret::new("abc"))
        );
    }

    #[test]
    fn surrounding_white_space_is_no_part_of_it() {
        assert_eq!(Secret::new(" hf_x\n").expose(), "hf_x");
        assert!(Secret::new(" \n").is_empty());
    }
}
