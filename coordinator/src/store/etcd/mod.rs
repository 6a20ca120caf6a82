//! The keyspace in a cluster of etcd, and who may write it.
//!
//! The mental model is a shared notebook and one pen. Everybody may read
//! ([`Etcd::reader`]). Who holds the pen ([`Leadership`]) holds it on a lease, and
//! each of its writes carries the pen's number, which etcd compares in the same
//! transaction: a leader that was replaced, and has not noticed, changes nothing.
//! It notices by itself, by its own clock, before another can lead.
//!
//! Architecture invariant: no write is repeated blindly. Whatever is sent twice
//! carries comparisons by which the second one does nothing.
//!
//! Architecture invariant: clocks decide only when to stop. That a write is
//! allowed is decided by etcd, from the token.

mod config;
mod election;
mod fence;
mod io;
mod layout;
mod read;
mod staged;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::sync::Arc;

use etcd::Client;
use etcd::wire::RangeRequest;

pub use config::{EtcdConfig, EtcdUrl, StoreUrl, StoreUrlError};
pub use election::{LeaderInfo, Leadership};

use super::keyspace::Pair;
use super::{Batch, Keyspace, StoreError};
use io::Io;
use layout::{FORMAT, Layout};
use read::Reading;
use write::Writing;

/// A connection to etcd. Cloning is cheap.
#[derive(Clone)]
pub struct Etcd {
    io: Arc<Io>,
    reading: Reading,
}

impl Etcd {
    /// Connects, and makes sure that etcd lets us in and holds nothing that this
    /// version does not understand.
    ///
    /// # Errors
    /// If it does not answer, refuses, or its store has a newer format; if a file
    /// that the configuration names cannot be read.
    pub async fn connect(config: &EtcdConfig) -> Result<Etcd, StoreError> {
        if config.user.is_some() && !config.url.tls {
            tracing::warn!("the password of etcd's user travels in plain text: use etcds://");
        }
        let io = Io::start()?;
        let client = {
            let _here = io.handle().enter();
            Client::new(&config.client()?)?
        };
        let layout = Layout::below(&config.url.prefix);
        let request = RangeRequest {
            key: layout.format(),
            ..RangeRequest::default()
        };
        let answer = client.range(request).await?;
        if let Some(pair) = answer.kvs.first() {
            let text = String::from_utf8_lossy(&pair.value);
            let found: u32 = text
                .parse()
                .map_err(|_| StoreError::corrupt("format", format!("it is `{text}`")))?;
            if found > FORMAT {
                return Err(StoreError::NewerFormat {
                    found,
                    known: FORMAT,
                });
            }
        }
        Ok(Etcd {
            io: Arc::new(io),
            reading: Reading { client, layout },
        })
    }

    /// The keyspace, for reading only.
    pub fn reader(&self) -> EtcdReader {
        EtcdReader { etcd: self.clone() }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (reading, key) = (self.reading.clone(), key.to_vec());
        self.io.wait(async move { reading.get(&key).await })
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<(Vec<Pair>, i64), StoreError> {
        let (reading, from, to) = (self.reading.clone(), from.to_vec(), to.to_vec());
        self.io.wait(async move { reading.scan(&from, &to).await })
    }
}

/// The keyspace for those who do not lead.
#[derive(Clone)]
pub struct EtcdReader {
    etcd: Etcd,
}

impl Keyspace for EtcdReader {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.etcd.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        Ok(self.etcd.scan(from, to)?.0)
    }

    fn commit(&self, _batch: Batch) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }
}

/// The keyspace for the one that leads.
#[derive(Clone)]
pub struct FencedEtcd {
    etcd: Etcd,
    writing: Arc<Writing>,
}

impl Keyspace for FencedEtcd {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.etcd.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        Ok(self.etcd.scan(from, to)?.0)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let writing = self.writing.clone();
        self.etcd
            .io
            .wait(async move { writing.commit(batch).await })
    }
}
