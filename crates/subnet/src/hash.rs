//! The hash that ties a chain string to the bytes of a model.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Files that must not be published: with this one, transformers would load an
/// adapter and take the model itself from the repository that the file names,
/// which no hash covers.
pub(crate) const FORBIDDEN_FILE: &str = "adapter_config.json";

/// A SHA-256 as the chain string holds it: 44 characters of base64.
///
/// Taken over a model's files ([`ModelHash::of_files`]), or over that and the
/// miner's hotkey ([`ModelHash::with_hotkey`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelHash([u8; 32]);

/// The text is not a [`ModelHash`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash {0:?} is not the base64 of 32 bytes")]
pub struct ModelHashError(String);

/// Why a set of files has no hash that a validator would accept.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The directory is not a model's.
    #[error(transparent)]
    Layout(#[from] layout::LayoutError),
    /// A file could not be read to its end.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There are no files.
    #[error("there are no files to hash")]
    Empty,
    /// A file name occurs twice.
    #[error("the file {0} is listed twice")]
    SameName(String),
    /// Two files have the same bytes.
    #[error(
        "{first} and {second} have identical contents, which validators do not accept: write the \
         checkpoint again"
    )]
    IdenticalFiles {
        /// The file whose name comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// The directory holds a file that makes validators load another model.
    #[error("{0} must not be published, since it makes transformers load another model: remove it")]
    Forbidden(String),
}

impl ModelHash {
    /// The hash of a model's files, given the name and the SHA-256 of each, in
    /// any order: the SHA-256 over the base64 of each file's SHA-256, in the
    /// order of the files' names. The names themselves are not hashed.
    ///
    /// Which files count is [`layout::checkpoint_files`]'s business.
    ///
    /// # Errors
    /// If there are none, if two have the same name or the same contents, or if
    /// one must not be published at all.
    pub fn of_files<N: AsRef<str>>(files: &[(N, [u8; 32])]) -> Result<Self, HashError> {
        let mut sorted: Vec<(&str, &[u8; 32])> = files
            .iter()
            .map(|(name, sha256)| (name.as_ref(), sha256))
            .collect();
        sorted.sort_unstable();
        if sorted.is_empty() {
            return Err(HashError::Empty);
        }
        let mut whole = Sha256::new();
        for (index, &(name, sha256)) in sorted.iter().enumerate() {
            if name == FORBIDDEN_FILE {
                return Err(HashError::Forbidden(name.to_owned()));
            }
            for &(earlier, other) in &sorted[..index] {
                if earlier == name {
                    return Err(HashError::SameName(name.to_owned()));
                }
                if other == sha256 {
                    return Err(HashError::IdenticalFiles {
                        first: earlier.to_owned(),
                        second: name.to_owned(),
                    });
                }
            }
            whole.update(STANDARD.encode(sha256));
        }
        Ok(Self(whole.finalize().into()))
    }

    /// What stands in this hash's place in the chain string where
    /// `use_hotkey_in_hash` is in force: the SHA-256 over this hash's base64
    /// followed by the hotkey's ss58 address. It keeps others from publishing a
    /// copy under their own hotkey.
    #[must_use]
    pub fn with_hotkey(&self, hotkey_ss58: &str) -> Self {
        let mut combined = Sha256::new();
        combined.update(self.to_string());
        combined.update(hotkey_ss58);
        Self(combined.finalize().into())
    }

    /// The 32 bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same in hexadecimal, for what is no chain string: 64 digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl FromStr for ModelHash {
    type Err = ModelHashError;

    fn from_str(text: &str) -> Result<Self, ModelHashError> {
        // STANDARD insists on padding and on zeros in the bits left over, so
        // that each hash has one spelling.
        let decoded = STANDARD.decode(text).ok();
        let bytes = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        match bytes {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(ModelHashError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ModelHash {
    type Error = ModelHashError;

    fn try_from(text: String) -> Result<Self, ModelHashError> {
        text.parse()
    }
}

impl From<ModelHash> for String {
    fn from(hash: ModelHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_listing_does_not_matter_and_that_of_names_does() {
        let one = ModelHash::of_files(&[("a", [1; 32]), ("b", [2; 32])]).unwrap();
        let listed_otherwise = ModelHash::of_files(&[("b", [2; 32]), ("a", [1; 32])]).unwrap();
        let swapped = ModelHash::of_files(&[("a", [2; 32]), ("b", [1; 32])]).unwrap();
        assert_eq!(one, listed_otherwise);
        assert_ne!(one, swapped);
    }

    #[test]
    fn names_are_not_hashed() {
        let one = ModelHash::of_files(&[("a", [1; 32]), ("b", [2; 32])]).unwrap();
        let renamed = ModelHash::of_files(&[("c", [1; 32]), ("d", [2; 32])]).unwrap();
        assert_eq!(one, renamed);
    }

    #[test]
    fn what_validators_do_not_accept_has_no_hash() {
        let none: [(&str, [u8; 32]); 0] = [];
        assert!(matches!(ModelHash::of_files(&none), Err(HashError::Empty)));

        let twins = [("b", [1; 32]), ("c", [2; 32]), ("a", [1; 32])];
        let Err(HashError::IdenticalFiles { first, second }) = ModelHash::of_files(&twins) else {
            panic!("identical files were accepted");
        };
        assert_eq!((first.as_str(), second.as_str()), ("a", "b"));

        let namesakes = [("a", [1; 32]), ("a", [2; 32])];
        let error = ModelHash::of_files(&namesakes).unwrap_err();
        assert!(matches!(error, HashError::SameName(_)), "{error}");

        let adapter = [("config.json", [1; 32]), (FORBIDDEN_FILE, [2; 32])];
        let error = ModelHash::of_files(&adapter).unwrap_err();
        assert!(matches!(error, HashError::Forbidden(_)), "{error}");
    }

    #[test]
    fn the_hotkey_is_hashed_after_the_base64_of_the_hash() {
        let hash = ModelHash::of_files(&[("a", [1; 32])]).unwrap();
        let hotkey = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        let expected = Sha256::digest(format!("{hash}{hotkey}"));
        assert_eq!(hash.with_hotkey(hotkey).bytes()[..], expected[..]);
    }

    #[test]
    fn each_hash_has_one_spelling() {
        let hash = ModelHash([0xff; 32]);
        let text = hash.to_string();
        assert_eq!(text.len(), 44);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(hash.to_hex(), "ff".repeat(32));
        let unpadded = text.trim_end_matches('=');
        let loose_bits = text.replace("8=", "9=");
        let url_safe = text.replace('/', "_");
        for other in [
            "",
            "None",
            unpadded,
            &loose_bits,
            &url_safe,
            &format!("{text} "),
        ] {
            assert!(other.parse::<ModelHash>().is_err(), "{other:?}");
        }
    }
}
