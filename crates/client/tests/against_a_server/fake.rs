//! A coordinator that serves checkpoints and misbehaves on order.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Address, ConnectOptions, Connection, RetryPolicy};
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::{
    CheckpointFile, CheckpointManifest, CheckpointState, FileKind, GetCheckpointRequest, ReadChunk,
    ReadRequest, WatchRequest,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// Small, so that a short file has many chunks.
pub(crate) const CHUNK: usize = 1000;

/// Waits that do not slow a test down.
pub(crate) const QUICK: RetryPolicy = RetryPolicy {
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(5),
    give_up_after: None,
};

/// What one read does instead of serving the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Answers with a status at once.
    Refuse(tonic::Code),
    /// Breaks off with `Unavailable` after so many chunks.
    CutAfter(usize),
    /// Ends as if all were well after so many chunks.
    EndAfter(usize),
    /// Sends so many chunks and then nothing, for ever.
    SilentAfter(usize),
    /// Changes a byte of the chunk with this number, not its hash.
    WrongChunk(usize),
    /// Changes a byte of the first chunk and its hash with it.
    WrongContent,
    /// Sends the file twice.
    TooMuch,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// One per read; none left: serve.
    pub(crate) faults: VecDeque<Fault>,
    /// The offsets that were asked for, in order.
    pub(crate) reads: Vec<(String, u64)>,
    /// One list of states per watch; `Err` cuts the stream.
    pub(crate) watches: VecDeque<Vec<Result<CheckpointState, tonic::Code>>>,
    pub(crate) watchers: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeCoordinator {
    pub(crate) state: Arc<Mutex<State>>,
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
        let mut state = self.state.lock().unwrap();
        state.watchers.push(request.into_inner().watcher);
        let states = state
            .watches
            .pop_front()
            .ok_or_else(|| Status::permission_denied("no more watches"))?;
        let states = states
            .into_iter()
            .map(|item| item.map_err(|code| Status::new(code, "cut")));
        Ok(Response::new(Box::pin(tokio_stream::iter(states))))
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
        let mut state = self.state.lock().unwrap();
        state.reads.push((request.name.clone(), request.offset));
        let fault = state.faults.pop_front();
        let Some(content) = state.files.get(&request.name) else {
            return Err(Status::not_found("no such file"));
        };
        let rest = &content[request.offset as usize..];
        let mut chunks: Vec<Result<ReadChunk, Status>> =
            rest.chunks(CHUNK).map(|data| Ok(chunk(data))).collect();
        match fault {
            None => {}
            Some(Fault::Refuse(code)) => return Err(Status::new(code, "refused by the test")),
            Some(Fault::CutAfter(count)) => {
                chunks.truncate(count);
                chunks.push(Err(Status::unavailable("cut by the test")));
            }
            Some(Fault::EndAfter(count)) => chunks.truncate(count),
            Some(Fault::SilentAfter(count)) => {
                chunks.truncate(count);
                let silence = tokio_stream::pending();
                let answer = tokio_stream::iter(chunks).chain(silence);
                return Ok(Response::new(Box::pin(answer)));
            }
            Some(Fault::WrongChunk(number)) => {
                let right = chunks[number].as_ref().unwrap();
                let mut data = right.data.to_vec();
                data[0] ^= 1;
                chunks[number] = Ok(ReadChunk {
                    data: data.into(),
                    sha256: right.sha256.clone(),
                });
            }
            Some(Fault::WrongContent) => {
                let mut data = chunks[0].as_ref().unwrap().data.to_vec();
                data[0] ^= 1;
                chunks[0] = Ok(chunk(&data));
            }
            Some(Fault::TooMuch) => chunks.extend(chunks.clone()),
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

fn chunk(data: &[u8]) -> ReadChunk {
    ReadChunk {
        data: data.to_vec().into(),
        sha256: Sha256::digest(data).to_vec().into(),
    }
}

impl FakeCoordinator {
    /// A coordinator with one checkpoint of a weights file and a config.
    pub(crate) fn with_checkpoint() -> (FakeCoordinator, CheckpointManifest) {
        let weights: Vec<u8> = (0..5 * CHUNK + 17)
            .map(|index| (index % 251) as u8)
            .collect();
        let files = [
            ("model/config.json", FileKind::Model, b"{}".to_vec()),
            ("model/model.safetensors", FileKind::Model, weights),
            (
                "state/optimizer.safetensors",
                FileKind::State,
                vec![7; CHUNK],
            ),
        ];
        let coordinator = FakeCoordinator::default();
        let mut manifest = CheckpointManifest {
            checkpoint_id: "c1".to_owned(),
            run_id: "run".to_owned(),
            ..CheckpointManifest::default()
        };
        for (name, kind, content) in files {
            manifest.files.push(CheckpointFile {
                name: name.to_owned(),
                kind: kind.into(),
                size: content.len() as u64,
                sha256: Sha256::digest(&content).to_vec().into(),
            });
            let mut state = coordinator.state.lock().unwrap();
            state.files.insert(name.to_owned(), content);
        }
        (coordinator, manifest)
    }

    pub(crate) fn fail_with(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    pub(crate) fn reads_of(&self, name: &str) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let reads = state.reads.iter().filter(|(read, _)| read == name);
        reads.map(|(_, offset)| *offset).collect()
    }

    pub(crate) fn content_of(&self, name: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[name].clone()
    }

    /// Serves until the test's runtime ends.
    pub(crate) async fn serve(&self) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(CheckpointsServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        connect_to(address).await
    }
}

pub(crate) async fn connect_to(address: SocketAddr) -> Connection {
    client::connect(&Address::from(address), &ConnectOptions::default())
        .await
        .unwrap()
}
