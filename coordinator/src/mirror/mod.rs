//! Packed pages and checkpoints on more than one coordinator's disk.
//!
//! The mental model: the records are shared, the bulk is not. A standby asks
//! the leader, once a second, what it is and says that it is there; with the
//! records at hand it sees which pages and checkpoints it lacks, fetches them
//! one by one, compares each with the digest in the record, and removes what
//! is in no record any more. So when it leads on its own disk, it has
//! everything but the last seconds' work. After that the same happens the other
//! way round: what the new leader lacks and a standby has, it fetches.
//!
//! Architecture invariant: coordinators that work in one directory copy nothing
//! and remove nothing as standbys. They know each other by a name that is drawn
//! for the directory when it is made.

mod absent;
mod checkpoints;
mod holdings;
mod pages;
mod recovery;
mod standby;

pub(crate) use absent::set_aside;
pub(crate) use holdings::Holdings;
pub(crate) use recovery::{Elsewhere, Lacking, recover};
pub(crate) use standby::keep_up;

use client::{Address, ConnectOptions, Connection};

use crate::store::StoreError;

/// Why a pass was cut short; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    /// The other coordinator.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The records.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A packed page.
    #[error(transparent)]
    Page(#[from] crate::packed::PackedPagesError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoints::CheckpointError),
    /// A page came with other content than asked for.
    #[error("packed page {digest} came with the wrong content")]
    WrongPage {
        /// The page asked for.
        digest: ledger::PageDigest,
    },
    /// The address of the other coordinator.
    #[error("the other coordinator says that it is reached at {address:?}, which is no address")]
    Address {
        /// What it said.
        address: String,
    },
    /// The state directory is of another run.
    #[error(transparent)]
    Refused(#[from] cli::Refused),
    /// A thread of ours.
    #[error(transparent)]
    Thread(#[from] tokio::task::JoinError),
}

/// A connection to one coordinator, whatever it is.
fn connect(address: &str) -> Result<Connection, MirrorError> {
    let parsed: Address = address.parse().map_err(|_| MirrorError::Address {
        address: address.to_owned(),
    })?;
    Ok(Connection::direct(&parsed, &ConnectOptions::default())?)
}

/// Runs what blocks on a thread where it may.
async fn blocking<T, E, F>(work: F) -> Result<T, MirrorError>
where
    T: Send + 'static,
    E: Into<MirrorError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}
