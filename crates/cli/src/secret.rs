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

/// The token for the Hugging Face Hub, from the environment or `.env`: that of
/// `HF_ACCESS_TOKEN`, the seed's name for it, or else of `HF_TOKEN`, the Hub's own
/// tools'. An empty one counts as none.
#[must_use]
pub fn hub_token() -> Option<Secret> {
    hub_token_of(|name| std::env::var(name).ok())
}

fn hub_token_of(value: impl Fn(&str) -> Option<String>) -> Option<Secret> {
    ["HF_ACCESS_TOKEN", "HF_TOKEN"]
        .into_iter()
        .filter_map(value)
        .map(|text| Secret::new(&text))
        .find(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_makes_room_for_the_other_name() {
        let token = |access: Option<&str>, own: Option<&str>| {
            let value = |name: &str| match name {
                "HF_ACCESS_TOKEN" => access.map(str::to_owned),
                "HF_TOKEN" => own.map(str::to_owned),
                _ => None,
            };
            hub_token_of(value).map(|token| token.expose().to_owned())
        };
        assert_eq!(token(Some("a"), Some("b")).as_deref(), Some("a"));
        assert_eq!(token(None, Some("b")).as_deref(), Some("b"));
        assert_eq!(token(Some(" "), Some("b")).as_deref(), Some("b"));
        assert_eq!(token(Some(""), Some("\n")), None);
        assert_eq!(token(None, None), None);
    }

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
