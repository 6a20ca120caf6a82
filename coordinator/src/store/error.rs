//! Why the store could not be opened, read or written.

use std::path::PathBuf;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error(
        "{} is in use by another coordinator: stop that one first, or give this one another \
         --state-dir", path.display()
    )]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The database failed.
    #[error("{}: {source}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What it said.
        source: Box<redb::Error>,
    },
    /// A record cannot be understood.
    #[error("the stored {what} cannot be understood: {reason}")]
    Corrupt {
        /// Which kind of record.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The records were written by a later version.
    #[error(
        "the state was written in format {found}, and this version knows {known}: use the newer \
         version, or another --state-dir"
    )]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
}

impl StoreError {
    /// Whether another attempt may succeed without anybody's help.
    pub(crate) fn may_pass(&self) -> bool {
        false
    }

    pub(super) fn corrupt(what: &'static str, reason: impl ToString) -> StoreError {
        StoreError::Corrupt {
            what,
            reason: reason.to_string(),
        }
    }
}
