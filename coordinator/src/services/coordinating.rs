//! What coordinators are to each other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::PageDigest;
use proto::v1;
use proto::v1::coordinators_server::Coordinators;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as RpcStatus};

use super::{Answers, blocking, internal};
use crate::mirror::Holdings;
use crate::server::Roles;
use crate::wire;

/// Bytes of a file in one message.
const CHUNK: usize = 1 << 20;
/// Chunks that wait for a reader.
const CHUNKS_AHEAD: usize = 4;
/// How long a standby counts as there after it has asked the last time. It asks
/// every second.
const PRESENT: Duration = Duration::from_secs(4);
/// Standbys that are remembered.
const MOST_STANDBYS: usize = 64;

/// The standbys that ask this coordinator, by the addresses at which they would
/// lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standbys(Arc<Mutex<HashMap<String, Instant>>>);

impl Standbys {
    /// Those that have asked lately.
    pub(crate) fn present(&self) -> Vec<String> {
        let mut standbys = self.lock();
        standbys.retain(|_, asked| asked.elapsed() < PRESENT);
        standbys.keys().cloned().collect()
    }

    fn seen(&self, address: String) {
        let mut standbys = self.lock();
        standbys.retain(|_, asked| asked.elapsed() < PRESENT);
        if standbys.len() < MOST_STANDBYS {
            standbys.insert(address, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers other coordinators, and those who look for the leader.
#[derive(Clone)]
pub(crate) struct Coordinating {
    pub(crate) roles: Roles,
    pub(crate) holdings: Holdings,
    pub(crate) standbys: Standbys,
    /// Where this coordinator is reached.
    pub(crate) address: String,
}

#[tonic::async_trait]
impl Coordinators for Coordinating {
    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, RpcStatus> {
        let standby = request.into_inner().standby;
        if !standby.is_empty() && standby != self.address {
            self.standbys.seen(standby);
        }
        let state_dir = self.holdings.id().to_owned();
        Ok(Response::new(match self.roles.leading() {
            Some(leading) => v1::DescribeResponse {
                context: Some(wire::context(
                    leading.run.id(),
                    leading.handle.status().world,
                )),
                leads: true,
                leader: self.address.clone(),
                state_dir,
            },
            None => v1::DescribeResponse {
                context: None,
                leads: false,
                leader: self.roles.as_standby().leader.unwrap_or_default(),
                state_dir,
            },
        }))
    }

    async fn read_page(
        &self,
        request: Request<v1::ReadPageRequest>,
    ) -> Result<Response<v1::ReadPageResponse>, RpcStatus> {
        let digest = PageDigest(wire::sha256(&request.into_inner().digest)?);
        let packed = self.holdings.packed().clone();
        let read = blocking(move || match packed.read_bytes(digest) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                if !error.is_absent() {
                    tracing::warn!("{error}; it is not handed over");
                }
                // A broken page is as good as none: whoever asks looks elsewhere.
                Err(RpcStatus::not_found(error.to_string()))
            }
        });
        Ok(Response::new(v1::ReadPageResponse {
            packed: read.await?.into(),
        }))
    }

    type ReadFileStream = Answers<v1::ReadChunk>;

    async fn read_file(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadFileStream>, RpcStatus> {
        let v1::ReadRequest {
            checkpoint_id,
            name,
            offset,
            ..
        } = request.into_inner();
        let path = self.holdings.checkpoint_file(&checkpoint_id, &name);
        let path = path.ok_or_else(|| {
            RpcStatus::not_found(format!(
                "there is no file {name:?} of checkpoint {checkpoint_id} here"
            ))
        })?;
        let opened = blocking(move || {
            let mut file = File::open(path).map_err(internal)?;
            file.seek(SeekFrom::Start(offset)).map_err(internal)?;
            Ok(file)
        });
        let mut file = opened.await?;
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut data = Vec::with_capacity(CHUNK);
                let chunk = match (&mut file).take(CHUNK as u64).read_to_end(&mut data) {
                    Ok(0) => return,
                    Ok(_) => Ok(v1::ReadChunk {
                        sha256: Sha256::digest(&data).to_vec().into(),
                        data: data.into(),
                    }),
                    Err(error) => Err(internal(error)),
                };
                let is_last = chunk.is_err();
                // The reader may have hung up.
                if sender.blocking_send(chunk).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(chunks)))
    }
}
