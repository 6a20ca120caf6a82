//! Where things are in etcd, below the store's prefix.
//!
//! ```text
//! <prefix>/format                       the layout's version
//! <prefix>/leader                       who leads; goes with its lease
//! <prefix>/mark/<token>                 the number of the last batch of that leader
//! <prefix>/batch                        a large batch that is committed and not
//!                                       spread yet: where its parts are
//! <prefix>/staged/<token>/<n>/<part>    parts of a large batch
//! <prefix>/record/<key>                 the keyspace's pairs
//! ```

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The layout's version.
pub(super) const FORMAT: u32 = 1;

/// Keys below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    /// Below `prefix`, which does not end in a slash.
    pub(super) fn below(prefix: &str) -> Layout {
        Layout {
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("{}/{name}", self.prefix).into_bytes()
    }

    pub(super) fn format(&self) -> Vec<u8> {
        self.key("format")
    }

    pub(super) fn leader(&self) -> Vec<u8> {
        self.key("leader")
    }

    pub(super) fn mark(&self, token: i64) -> Vec<u8> {
        self.key(&format!("mark/{token:016x}"))
    }

    pub(super) fn marks(&self) -> (Vec<u8>, Vec<u8>) {
        // '0' follows '/'.
        (self.key("mark/"), self.key("mark0"))
    }

    pub(super) fn batch(&self) -> Vec<u8> {
        self.key("batch")
    }

    pub(super) fn all_staged(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key("staged/"), self.key("staged0"))
    }

    pub(super) fn parts(&self, batch: &StagedBatch) -> (Vec<u8>, Vec<u8>) {
        let StagedBatch { token, number, .. } = batch;
        let below = format!("staged/{token:016x}/{number:016x}");
        (
            self.key(&format!("{below}/")),
            self.key(&format!("{below}0")),
        )
    }

    pub(super) fn part(&self, token: i64, number: u64, part: usize) -> Vec<u8> {
        self.key(&format!("staged/{token:016x}/{number:016x}/{part:08x}"))
    }

    pub(super) fn record(&self, key: &[u8]) -> Vec<u8> {
        let mut whole = self.key("record/");
        whole.extend_from_slice(key);
        whole
    }

    /// The keyspace's key in one of etcd's.
    pub(super) fn key_of_record<'a>(&self, whole: &'a [u8]) -> &'a [u8] {
        whole
            .get(self.prefix.len() + "/record/".len()..)
            .unwrap_or_default()
    }
}

/// A large batch that is committed: what `<prefix>/batch` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedBatch {
    /// The leader that wrote the parts.
    pub(super) token: i64,
    /// Its how manieth large batch.
    pub(super) number: u64,
    /// Parts.
    pub(super) parts: usize,
    /// Changes in them.
    pub(super) changes: usize,
    /// SHA-256 of the parts, joined; hexadecimal.
    pub(super) sha256: String,
}

impl StagedBatch {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::corrupt("large batch", error))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<StagedBatch, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::corrupt("large batch", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_keys_and_no_other() {
        let layout = Layout::below("/run");
        let (from, to) = layout.marks();
        for token in [0, 1, i64::MAX] {
            let mark = layout.mark(token);
            assert!(from < mark && mark < to);
        }
        for other in [layout.batch(), layout.leader(), layout.record(b"mark/1")] {
            assert!(other < from || to <= other);
        }
        let batch = |number| StagedBatch {
            token: 7,
            number,
            parts: 1,
            changes: 1,
            sha256: String::new(),
        };
        let (from, to) = layout.parts(&batch(1));
        assert!((&from..&to).contains(&&layout.part(7, 1, 0)));
        assert!(!(&from..&to).contains(&&layout.part(7, 16, 0)));
        assert!(!(&from..&to).contains(&&layout.part(7, 17, 0)));
    }

    #[test]
    fn a_records_key_comes_back() {
        let layout = Layout::below("/a/b");
        for key in [b"run".as_slice(), b"step/\0\xff", b""] {
            assert_eq!(layout.key_of_record(&layout.record(key)), key);
        }
    }
}
