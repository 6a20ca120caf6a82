//! Watching and reading checkpoints.

use std::sync::Arc;

use proto::v1;
use proto::v1::checkpoints_server::Checkpoints;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as RpcStatus};

use super::{Answers, Shared, blocking, internal};
use crate::checkpoints::CheckpointError;
use crate::machine::{Event, Status};
use crate::records::{Checkpoint, CheckpointId};
use crate::wire;

/// Bytes of a file in one message.
const CHUNK: usize = 1 << 20;
/// Chunks that wait for a reader.
const CHUNKS_AHEAD: usize = 4;

#[tonic::async_trait]
impl Checkpoints for Shared {
    type WatchStream = Answers<v1::CheckpointState>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, RpcStatus> {
        let watch = request.into_inner();
        self.run.check_reader(watch.context.as_ref())?;
        let (sender, states) = mpsc::channel(1);
        let shared = self.clone();
        tracing::debug!(watcher = watch.watcher, "a watcher has come");
        tokio::spawn(async move {
            shared.show_states(sender).await;
            tracing::debug!(watcher = watch.watcher, "a watcher has gone");
        });
        Ok(Response::new(ReceiverStream::new(states)))
    }

    async fn get(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::CheckpointManifest>, RpcStatus> {
        let get = request.into_inner();
        self.run.check_reader(get.context.as_ref())?;
        let checkpoint = self.find(CheckpointId(get.checkpoint_id)).await?;
        Ok(Response::new(wire::manifest(self.run.id(), &checkpoint)))
    }

    type ReadStream = Answers<v1::ReadChunk>;

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, RpcStatus> {
        let read = request.into_inner();
        self.run.check_reader(read.context.as_ref())?;
        let checkpoint = self.find(CheckpointId(read.checkpoint_id)).await?;
        let checkpoints = self.checkpoints.clone();
        let id = checkpoint.id.clone();
        let opened =
            blocking(move || Ok(checkpoints.open_file(&checkpoint, &read.name, read.offset)));
        let mut file = match opened.await? {
            Ok(file) => file,
            Err(error) => {
                self.doubt(id, &error).await;
                return Err(error.into());
            }
        };
        let shared = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let watching = self.handle.watching();
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::task::spawn_blocking(move || {
            let _watching = watching;
            loop {
                let chunk = match file.read(CHUNK) {
                    Ok(data) if data.is_empty() => return,
                    Ok(data) => Ok(v1::ReadChunk {
                        sha256: Sha256::digest(&data).to_vec().into(),
                        data: data.into(),
                    }),
                    Err(error) => {
                        runtime.block_on(shared.doubt(id.clone(), &error));
                        Err(error.into())
                    }
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

impl Shared {
    /// A checkpoint that is kept, or at least still there.
    async fn find(&self, id: CheckpointId) -> Result<Checkpoint, RpcStatus> {
        if self.elsewhere.is_awaited(&id) {
            return Err(RpcStatus::unavailable(format!(
                "checkpoint {id} is not on this coordinator's disk until another hands it over"
            )));
        }
        if let Some(checkpoint) = self.checkpoints.condemned(&id) {
            return Ok(checkpoint);
        }
        let store = self.store.clone();
        let kept = blocking(move || store.checkpoints().map_err(internal)).await?;
        let found = kept.into_iter().find(|checkpoint| checkpoint.id == id);
        found.ok_or_else(|| {
            RpcStatus::not_found(format!(
                "there is no checkpoint {id} (any more): only the newest and the best are kept"
            ))
        })
    }

    /// Has a checkpoint looked at whose files are not what they should be.
    async fn doubt(&self, id: CheckpointId, error: &CheckpointError) {
        if error.is_damage() {
            let reason = error.to_string();
            // A driver that has ended keeps nothing any more.
            let _ = self
                .handle
                .tell(Event::CheckpointDoubted { id, reason })
                .await;
        }
    }

    /// Sends each state that differs from the one before, until the watcher
    /// leaves or the coordinator does.
    async fn show_states(&self, sender: mpsc::Sender<Result<v1::CheckpointState, RpcStatus>>) {
        let _watching = self.handle.watching();
        let mut statuses = self.handle.statuses();
        let mut shown = None;
        loop {
            let status: Arc<Status> = statuses.borrow_and_update().clone();
            let state = self.state(&status);
            // The context moves with generations; that is no news here.
            let news = (state.latest.clone(), state.best.clone(), state.run_complete);
            if shown.as_ref() != Some(&news) {
                shown = Some(news);
                if sender.send(Ok(state)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() {
                    return;
                },
                () = sender.closed() => return,
            }
        }
    }

    fn state(&self, status: &Status) -> v1::CheckpointState {
        let manifest = |checkpoint: &Checkpoint| wire::manifest(self.run.id(), checkpoint);
        v1::CheckpointState {
            context: Some(wire::context(self.run.id(), status.world)),
            latest: status.latest.as_ref().map(manifest),
            best: status.best.as_ref().map(manifest),
            run_complete: status.complete,
        }
    }
}
