//! The newer part of the page table.

use ledger::{Ordinal, PageRow, Slot};

use super::keys::{self, Key};
use super::{RunStore, StoreError, decode_row};

impl RunStore {
    /// The evaluation's rows, and those of the training order from a page on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn rows_from(&self, first: Ordinal) -> Result<Vec<(Slot, PageRow)>, StoreError> {
        let (from, to) = keys::rows();
        let training = Key::Row(Slot::Training(Ordinal(0))).encode();
        let first = Key::Row(Slot::Training(first)).encode();
        let mut rows = self.keyspace.scan(&from, &training)?;
        rows.extend(self.keyspace.scan(&first, &to)?);
        rows.iter().map(|(_, bytes)| decode_row(bytes)).collect()
    }
}
