//! A keyspace as it was at one moment.

use std::sync::Arc;

use super::keyspace::Pair;
use super::{Batch, Keyspace, StoreError};

/// Every pair of a keyspace, as of one moment; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// In key order.
    pairs: Arc<[Pair]>,
}

impl Frozen {
    /// After every key of a keyspace: keys begin with a letter.
    const END: &[u8] = b"\xff";

    /// Everything in `keyspace`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(keyspace: &impl Keyspace) -> Result<Frozen, StoreError> {
        Ok(Frozen::from(keyspace.scan(b"", Frozen::END)?))
    }

    /// The pairs, in key order.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    fn place(&self, key: &[u8]) -> usize {
        self.pairs
            .partition_point(|(other, _)| other.as_slice() < key)
    }
}

impl From<Vec<Pair>> for Frozen {
    fn from(mut pairs: Vec<Pair>) -> Frozen {
        pairs.sort();
        Frozen {
            pairs: pairs.into(),
        }
    }
}

impl Keyspace for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.pairs.get(self.place(key));
        Ok(found
            .filter(|(other, _)| other == key)
            .map(|(_, value)| value.clone()))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        let range = self.place(from)..self.place(to);
        Ok(self.pairs.get(range).unwrap_or_default().to_vec())
    }

    fn commit(&self, _batch: Batch) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }
}
