//! The digest of a packed page.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A blake3 digest of a packed page's content. Written as 64 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageDigest(pub [u8; 32]);

impl fmt::Display for PageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageDigest({self})")
    }
}

impl FromStr for PageDigest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<PageDigest, blake3::HexError> {
        Ok(PageDigest(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

impl Serialize for PageDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PageDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PageDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| de::Error::custom(format!("page digest `{text}`: {error}")))
    }
}
