//! The content store behind the Hub.
//!
//! The server is xet-client's own (`LocalServer`), the one that the Xet clients
//! are tested against; its storage is on disk. The Hub finds a file's content
//! by the SHA-256 that the uploading client recorded in the shard, as the real
//! one does, and, like it, does not take the client's word: it rebuilds the file
//! and hashes it before a commit may name it.
//!
//! Not modelled: garbage collection, deduplication across accounts' permissions,
//! expiry of download addresses.

mod proxy;
mod token;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use xet_client::cas_client::{
    Client as _, DeletionControlableClient, DirectAccessClient, LocalClient, LocalServer,
};
use xet_client::cas_types::HexMerkleHash;
use xet_runtime::core::XetContext;

pub(crate) use proxy::Proxy;
pub(crate) use token::{Access, issue};

/// The bytes of one piece of a body.
const PIECE: usize = 1024 * 1024;

/// Why the content store did not do as it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the content store failed: {0}")]
pub struct CasError(String);

impl CasError {
    fn new(error: impl std::fmt::Display) -> CasError {
        CasError(error.to_string())
    }
}

/// A file that the store has.
#[derive(Debug, Clone)]
pub(crate) struct XetFile {
    /// The store's name of its content.
    pub(crate) hash: String,
    pub(crate) bytes: u64,
}

/// The content store.
#[derive(Clone)]
pub(crate) struct Cas {
    client: Arc<LocalClient>,
    /// Files by SHA-256 that were rebuilt and hashed.
    verified: Arc<Mutex<HashMap<String, XetFile>>>,
    address: SocketAddr,
    /// Ends the server when the last clone is dropped.
    _stop: Arc<oneshot::Sender<()>>,
}

impl Cas {
    /// Starts the server on a free port of the loopback interface.
    pub(crate) async fn start(dir: &Path) -> Result<Cas, CasError> {
        let context = XetContext::default().map_err(CasError::new)?;
        let client = LocalClient::new(context, dir)
            .await
            .map_err(CasError::new)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(CasError::new)?;
        let address = listener.local_addr().map_err(CasError::new)?;
        let server = LocalServer::from_client(
            client.clone(),
            Some(client.clone() as Arc<dyn DeletionControlableClient>),
            address.ip().to_string(),
            address.port(),
        );
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(error) = server.serve_until_stopped(listener, stopped).await {
                tracing::error!(%error, "the CAS server ended");
            }
        });
        Ok(Cas {
            client,
            verified: Arc::default(),
            address,
            _stop: Arc::new(stop),
        })
    }

    /// Starts the address that clients use, through which faults are applied.
    pub(crate) async fn open_proxy(&self, ip: IpAddr) -> Result<(TcpListener, Proxy), CasError> {
        let listener = TcpListener::bind((ip, 0)).await.map_err(CasError::new)?;
        Ok((listener, Proxy::new(self.address)))
    }

    /// The file with this SHA-256, if the store has it: found by what its
    /// uploader said, rebuilt, and hashed.
    pub(crate) async fn find(&self, sha256: &str) -> Result<Option<XetFile>, CasError> {
        if let Some(known) = self.verified().get(sha256) {
            return Ok(Some(known.clone()));
        }
        let cas = self.clone();
        let wanted = sha256.to_owned();
        let found = blocking(async move { cas.look_for(&wanted).await }).await?;
        if let Some(file) = &found {
            self.verified().insert(sha256.to_owned(), file.clone());
        }
        Ok(found)
    }

    async fn look_for(&self, sha256: &str) -> Result<Option<XetFile>, CasError> {
        for (hash, _) in self
            .client
            .list_file_shard_entries()
            .await
            .map_err(CasError::new)?
        {
            let Some((info, _)) = self
                .client
                .get_file_reconstruction_info(&hash)
                .await
                .map_err(CasError::new)?
            else {
                continue;
            };
            if info
                .metadata_ext
                .as_ref()
                .is_none_or(|recorded| recorded.sha256.hex() != sha256)
            {
                continue;
            }
            let mut hasher = Sha256::new();
            for segment in &info.segments {
                for bytes in self
                    .client
                    .get_xorb_ranges(
                        &segment.xorb_hash,
                        vec![(segment.chunk_index_start, segment.chunk_index_end)],
                    )
                    .await
                    .map_err(CasError::new)?
                {
                    hasher.update(&bytes);
                }
            }
            if hex::encode(hasher.finalize()) == sha256 {
                return Ok(Some(XetFile {
                    hash: hash.hex(),
                    bytes: info.file_size(),
                }));
            }
            tracing::warn!(
                sha256,
                xet_hash = hash.hex(),
                "the content is not what its uploader said"
            );
        }
        Ok(None)
    }

    /// The bytes `from..to` of a file, in pieces, rebuilt as they are taken.
    pub(crate) fn read(
        &self,
        hash: &str,
        from: u64,
        to: u64,
    ) -> mpsc::Receiver<Result<Bytes, CasError>> {
        let (sender, receiver) = mpsc::channel(1);
        let cas = self.clone();
        let hash = hash.to_owned();
        tokio::spawn(async move {
            let failures = sender.clone();
            if let Err(error) =
                blocking(async move { cas.send(&hash, from, to, &sender).await }).await
            {
                let _ = failures.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn send(
        &self,
        hash: &str,
        from: u64,
        to: u64,
        sender: &mpsc::Sender<Result<Bytes, CasError>>,
    ) -> Result<(), CasError> {
        let HexMerkleHash(hash) = serde_json::from_value(hash.into()).map_err(CasError::new)?;
        let (info, _) = self
            .client
            .get_file_reconstruction_info(&hash)
            .await
            .map_err(CasError::new)?
            .ok_or_else(|| CasError(format!("there is no file {}", hash.hex())))?;
        let mut position = 0;
        for segment in &info.segments {
            let end = position + u64::from(segment.unpacked_segment_bytes);
            let (first, last) = (from.max(position), to.min(end));
            if first < last {
                let mut bytes = self
                    .client
                    .get_xorb_ranges(
                        &segment.xorb_hash,
                        vec![(segment.chunk_index_start, segment.chunk_index_end)],
                    )
                    .await
                    .map_err(CasError::new)?
                    .pop()
                    .unwrap_or_default()
                    .slice(in_memory(first - position)..in_memory(last - position));
                while !bytes.is_empty() {
                    let piece = bytes.split_to(PIECE.min(bytes.len()));
                    if sender.send(Ok(piece)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            position = end;
        }
        Ok(())
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<String, XetFile>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A distance within a segment, which is in memory whole.
fn in_memory(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

/// Runs what reads and hashes files, async by signature only, beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl Future<Output = Result<T, CasError>> + Send + 'static,
) -> Result<T, CasError> {
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(work))
        .await
        .map_err(CasError::new)?
}
