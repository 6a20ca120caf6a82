//! How git names a file's contents.

use std::fmt;

use sha1::{Digest as _, Sha1};

/// The object id of a git blob: the SHA-1 over `blob LENGTH`, a zero byte and
/// the contents. The only digest that the Hub shows of a file that is not
/// stored as a large one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId([u8; 20]);

impl BlobId {
    /// The id of these contents.
    #[must_use]
    pub fn of(contents: &[u8]) -> Self {
        let mut hasher = BlobHasher::new(contents.len() as u64);
        hasher.update(contents);
        hasher.finish()
    }

    /// An id from its 40 hexadecimal digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

/// A [`BlobId`] in the making, of contents whose length is known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct BlobHasher(Sha1);

impl BlobHasher {
    pub(crate) fn new(bytes: u64) -> Self {
        let mut sha1 = Sha1::new();
        sha1.update(format!("blob {bytes}\0"));
        Self(sha1)
    }

    pub(crate) fn update(&mut self, contents: &[u8]) {
        self.0.update(contents);
    }

    pub(crate) fn finish(self) -> BlobId {
        BlobId(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_are_those_of_git() {
        // As `git hash-object` prints them.
        let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        let hello = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(BlobId::of(b"").to_string(), empty);
        assert_eq!(BlobId::of(b"hello\n").to_string(), hello);
        assert_eq!(BlobId::from_hex(hello), Some(BlobId::of(b"hello\n")));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "e69d",
            &"g".repeat(40),
            &"0".repeat(41),
            &"é".repeat(20),
        ] {
            assert_eq!(BlobId::from_hex(text), None, "{text:?}");
        }
    }
}
