//! A sorted map of bytes with atomic, durable batches.

use std::sync::Arc;

use super::StoreError;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a store must be able to do. Calls may block; async callers wrap them.
pub trait Keyspace: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// If it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every pair with `from <= key < to`, in key order, as of one moment: of a
    /// batch that is committed meanwhile all is in it or nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError>;

    /// Applies a batch, all or none, and returns when it is durable.
    ///
    /// # Errors
    /// If it is not; then nothing of it is visible, unless the error is
    /// [`StoreError::Uncertain`].
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;
}

impl<K: Keyspace + ?Sized> Keyspace for Arc<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        (**self).scan(from, to)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        (**self).commit(batch)
    }
}

/// Changes that belong together; a later one of the same key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(super) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push((key, Some(value)));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.push((key, None));
    }

    /// The changes in order: what a keyspace applies. `None` removes a key.
    pub fn into_changes(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.changes
    }
}
