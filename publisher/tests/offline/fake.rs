//! A coordinator that announces and serves checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Address, RetryPolicy};
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::{
    CheckpointManifest, CheckpointState, Context, GetCheckpointRequest, ReadChunk, ReadRequest,
    WatchRequest,
};
use publisher::{Chain, Config, Error, Network, Summary, Wallet};
use sha2::{Digest as _, Sha256};
use subnet::Criteria;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::checkpoints::Checkpoint;

const CHUNK: usize = 64 << 10;

#[derive(Clone)]
pub(crate) struct FakeCoordinator {
    announced: watch::Sender<CheckpointState>,
    shared: Arc<Mutex<Shared>>,
    /// Told when a read has stalled.
    pub(crate) stalled: Arc<Notify>,
    /// Told to let a stalled read go on.
    pub(crate) go_on: Arc<Notify>,
    pub(crate) address: Address,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<(String, String), Vec<u8>>,
    /// (checkpoint, file, offset), in order.
    reads: Vec<(String, String, u64)>,
    /// Reads of this file stall after its first chunk.
    stall: Option<(String, String)>,
}

impl FakeCoordinator {
    pub(crate) async fn start() -> FakeCoordinator {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let coordinator = FakeCoordinator {
            announced: watch::Sender::new(CheckpointState::default()),
            shared: Arc::default(),
            stalled: Arc::default(),
            go_on: Arc::default(),
            address: Address::from(listener.local_addr().unwrap()),
        };
        let server = tonic::transport::Server::builder()
            .add_service(CheckpointsServer::new(coordinator.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        coordinator
    }

    /// A coordinator whose run has ended with this checkpoint as its best.
    pub(crate) async fn with_finished_run(best: &Checkpoint) -> FakeCoordinator {
        let coordinator = FakeCoordinator::start().await;
        coordinator.announce(best, true);
        coordinator
    }

    pub(crate) fn announce(&self, best: &Checkpoint, run_complete: bool) {
        let id = &best.manifest.checkpoint_id;
        for (name, content) in &best.contents {
            let key = (id.clone(), name.clone());
            self.shared
                .lock()
                .unwrap()
                .files
                .insert(key, content.clone());
        }
        self.announced.send_replace(CheckpointState {
            context: Some(Context {
                run_id: best.manifest.run_id.clone(),
                ..Context::default()
            }),
            latest: Some(best.manifest.clone()),
            best: Some(best.manifest.clone()),
            run_complete,
        });
    }

    pub(crate) fn end_without_checkpoint(&self) {
        self.announced
            .send_modify(|state| state.run_complete = true);
    }

    pub(crate) fn serve_instead(&self, checkpoint: &Checkpoint, name: &str, content: Vec<u8>) {
        let key = (checkpoint.manifest.checkpoint_id.clone(), name.to_owned());
        self.shared.lock().unwrap().files.insert(key, content);
    }

    pub(crate) fn forget_files(&self) {
        self.shared.lock().unwrap().files.clear();
    }

    pub(crate) fn stall(&self, checkpoint: &Checkpoint, name: &str) {
        let id = checkpoint.manifest.checkpoint_id.clone();
        self.shared.lock().unwrap().stall = Some((id, name.to_owned()));
    }

    pub(crate) fn no_stall(&self) {
        self.shared.lock().unwrap().stall = None;
    }

    /// (checkpoint, file, offset) of every read since the last call.
    pub(crate) fn take_reads(&self) -> Vec<(String, String, u64)> {
        std::mem::take(&mut self.shared.lock().unwrap().reads)
    }

    /// Settings with which a good checkpoint is published.
    pub(crate) fn config(&self, state_dir: &Path) -> Config {
        Config {
            coordinators: self.address.clone().into(),
            repo: "falconry/peregrine".parse().unwrap(),
            loss_threshold: 5.0,
            criteria: Criteria::at_block(0),
            state_dir: state_dir.to_owned(),
            chain: Chain {
                network: Network::Finney,
                netuid: 9,
            },
            wallet: Wallet {
                path: "wallets".into(),
                name: "miner".to_owned(),
                hotkey: "first".to_owned(),
            },
            patience: RetryPolicy {
                first_wait: Duration::from_millis(1),
                longest_wait: Duration::from_millis(10),
                give_up_after: None,
            },
            online: None,
        }
    }

    /// Publishes until the run's end.
    pub(crate) async fn publish(&self, state_dir: &Path) -> Result<Summary, Error> {
        publisher::run(self.config(state_dir), CancellationToken::new()).await
    }
}

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Checkpoints for FakeCoordinator {
    type WatchStream = Answer<CheckpointState>;
    type ReadStream = Answer<ReadChunk>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = request.into_inner().watcher;
        assert_eq!(watcher, "publisher of falconry/peregrine");
        let states = WatchStream::new(self.announced.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(states)))
    }

    async fn get(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<CheckpointManifest>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let key = (request.checkpoint_id, request.name);
        let mut shared = self.shared.lock().unwrap();
        shared
            .reads
            .push((key.0.clone(), key.1.clone(), request.offset));
        let Some(content) = shared.files.get(&key) else {
            return Err(Status::not_found("no such file"));
        };
        let chunks: Vec<_> = content[request.offset as usize..]
            .chunks(CHUNK)
            .map(|data| {
                Ok(ReadChunk {
                    data: data.to_vec().into(),
                    sha256: Sha256::digest(data).to_vec().into(),
                })
            })
            .collect();
        if shared.stall.as_ref() == Some(&key) {
            let (sender, answer) = mpsc::channel(1);
            let FakeCoordinator { stalled, go_on, .. } = self.clone();
            tokio::spawn(async move {
                for (index, chunk) in chunks.into_iter().enumerate() {
                    if index == 1 {
                        stalled.notify_one();
                        go_on.notified().await;
                    }
                    // The publisher may have gone away.
                    let _ = sender.send(chunk).await;
                }
            });
            return Ok(Response::new(Box::pin(ReceiverStream::new(answer))));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}
