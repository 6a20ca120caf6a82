//! Hotkeys that are lent.

use super::keys::{self, Key};
use super::{Batch, RunStore, StoreError};
use crate::records::Hold;

impl RunStore {
    /// Writes down that a hotkey is lent, and returns when that is durable.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn lend(&self, hold: &Hold) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(hold).map_err(|error| StoreError::corrupt("hold", error))?;
        let mut batch = Batch::default();
        batch.put(Key::Hold(&hold.hotkey).encode(), bytes);
        self.keyspace.commit(batch)
    }

    /// Writes down that a hotkey is lent no more.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn take_back(&self, hotkey: &str) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.delete(Key::Hold(hotkey).encode());
        self.keyspace.commit(batch)
    }

    /// The hotkeys that were lent when the coordinator last wrote.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let (from, to) = keys::holds();
        let stored = self.keyspace.scan(&from, &to)?;
        let decode = |bytes: &[u8]| {
            serde_json::from_slice(bytes).map_err(|error| StoreError::corrupt("hold", error))
        };
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }
}
