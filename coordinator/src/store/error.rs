//! Why the store could not be opened, read or written.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    /// etcd refused, or did not answer. Nothing was written.
    #[error("{source}")]
    Etcd {
        /// What it said.
        source: etcd::Error,
    },
    /// Another coordinator may lead, so this one must not write. Nothing was.
    #[error("this coordinator leads no longer: {why}")]
    Deposed {
        /// How it is known.
        why: String,
    },
    /// etcd did not say whether it has written a batch.
    #[error(
        "after {waited:.1?} it is not known whether a batch was written ({reason}): nothing more \
         is written until the coordinator starts again and reads what there is"
    )]
    Uncertain {
        /// How long it was asked.
        waited: Duration,
        /// What was heard last.
        reason: String,
    },
    /// A record is larger than etcd's transactions may be.
    #[error("the record {key:?} has {bytes} bytes, and etcd takes {limit}: use --store redb")]
    TooLarge {
        /// The record's key.
        key: String,
        /// Its size.
        bytes: usize,
        /// The largest possible.
        limit: usize,
    },
    /// It was opened for reading.
    #[error("the store was opened for reading; only the coordinator that leads writes it")]
    ReadOnly,
    /// A file that is needed for the store cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that speaks to etcd cannot be had.
    #[error("the thread that speaks to etcd: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

impl From<etcd::Error> for StoreError {
    fn from(source: etcd::Error) -> StoreError {
        StoreError::Etcd { source }
    }
}

impl StoreError {
    pub(super) fn thread(source: io::Error) -> StoreError {
        StoreError::Thread { source }
    }

    /// Whether another attempt may succeed without anybody's help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            StoreError::Etcd { source } => source.is_unanswered(),
            StoreError::Deposed { .. } | StoreError::Uncertain { .. } => true,
            _ => false,
        }
    }

    /// The same, of something that nobody will ever read, whether it was written
    /// or not.
    pub(super) fn without_effect(self) -> StoreError {
        match self {
            StoreError::Uncertain { waited, reason } => StoreError::Etcd {
                source: etcd::Error::Unanswered {
                    endpoints: "every endpoint".to_owned(),
                    waited,
                    reason,
                },
            },
            other => other,
        }
    }

    pub(super) fn corrupt(what: &'static str, reason: impl ToString) -> StoreError {
        StoreError::Corrupt {
            what,
            reason: reason.to_string(),
        }
    }
}
