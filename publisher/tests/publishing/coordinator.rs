//! A coordinator that announces and serves checkpoints, lends hotkeys, and knows
//! its run.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::Address;
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::operator_server::{Operator, OperatorServer};
use proto::v1::publishing_server::{Publishing, PublishingServer};
use proto::v1::{
    AuditRequest, AuditResponse, CheckpointManifest, CheckpointState, Context,
    GetCheckpointRequest, HoldRequest, HoldResponse, ReadChunk, ReadRequest, StatusRequest,
    StatusResponse, StepReport, StepsRequest, WatchRequest,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::checkpoints::Checkpoint;

/// How often a holder hears that it still holds.
const SAID_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Coordinator {
    announced: watch::Sender<CheckpointState>,
    shared: Arc<Mutex<Shared>>,
    /// Whether hotkeys are lent at all just now.
    lends: watch::Sender<bool>,
    /// Calls that were turned away while none are lent.
    turned_away: watch::Sender<u64>,
    pub(crate) address: Address,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<(String, String), Vec<u8>>,
    /// By hotkey, and by whom it is held.
    holders: BTreeMap<String, HoldRequest>,
    run_config: String,
}

impl Coordinator {
    pub(crate) async fn start() -> Coordinator {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let coordinator = Coordinator {
            announced: watch::Sender::new(CheckpointState::default()),
            shared: Arc::default(),
            lends: watch::Sender::new(true),
            turned_away: watch::Sender::new(0),
            address: Address::from(listener.local_addr().unwrap()),
        };
        let server = tonic::transport::Server::builder()
            .add_service(CheckpointsServer::new(coordinator.clone()))
            .add_service(PublishingServer::new(coordinator.clone()))
            .add_service(OperatorServer::new(coordinator.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        coordinator
    }

    pub(crate) fn announce(&self, best: &Checkpoint, run_complete: bool) {
        let id = &best.manifest.checkpoint_id;
        for (name, content) in &best.contents {
            let key = (id.clone(), name.clone());
            let mut shared = self.shared.lock().unwrap();
            shared.files.insert(key, content.clone());
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

    /// Stops or begins again to confirm that hotkeys are held.
    pub(crate) fn lend(&self, lends: bool) {
        self.lends.send_replace(lends);
    }

    /// Stops to lend, and waits until a holder has noticed: it asks again then, and
    /// is turned away.
    pub(crate) async fn take_back(&self) {
        let mut turned_away = self.turned_away.subscribe();
        let before = *turned_away.borrow_and_update();
        self.lend(false);
        // The sender lives as long as this.
        let _ = turned_away.wait_for(|&count| count > before).await;
    }

    /// Lends a hotkey to somebody else.
    pub(crate) fn lend_to_another(&self, hotkey: &str, holder: &str) {
        let request = HoldRequest {
            hotkey: hotkey.to_owned(),
            holder: holder.to_owned(),
            instance: "another".to_owned(),
            ..HoldRequest::default()
        };
        let mut shared = self.shared.lock().unwrap();
        shared.holders.insert(hotkey.to_owned(), request);
    }

    pub(crate) fn set_run_config(&self, run_config: String) {
        self.shared.lock().unwrap().run_config = run_config;
    }

    fn is_held_by(&self, request: &HoldRequest) -> bool {
        let shared = self.shared.lock().unwrap();
        shared
            .holders
            .get(&request.hotkey)
            .is_some_and(|holder| holder.instance == request.instance)
    }
}

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Publishing for Coordinator {
    type HoldStream = Answer<HoldResponse>;

    async fn hold(
        &self,
        request: Request<HoldRequest>,
    ) -> Result<Response<Self::HoldStream>, Status> {
        let request = request.into_inner();
        if !*self.lends.borrow() {
            self.turned_away.send_modify(|count| *count += 1);
            return Err(Status::unavailable("not just now"));
        }
        {
            let mut shared = self.shared.lock().unwrap();
            let holder = shared.holders.get(&request.hotkey);
            if let Some(holder) = holder.filter(|holder| holder.instance != request.instance) {
                return Err(Status::already_exists(format!(
                    "{} has hotkey {}",
                    holder.holder, request.hotkey
                )));
            }
            let hotkey = request.hotkey.clone();
            shared.holders.insert(hotkey, request.clone());
        }
        let (sender, answers) = mpsc::channel(1);
        let coordinator = self.clone();
        tokio::spawn(async move {
            let mut lends = coordinator.lends.subscribe();
            while *lends.borrow_and_update() && coordinator.is_held_by(&request) {
                let held = HoldResponse { held_unix_ms: 1 };
                if sender.send(Ok(held)).await.is_err() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(SAID_EVERY) => {}
                    () = sender.closed() => break,
                    _ = lends.changed() => {}
                }
            }
            if coordinator.is_held_by(&request) {
                let mut shared = coordinator.shared.lock().unwrap();
                shared.holders.remove(&request.hotkey);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

#[tonic::async_trait]
impl Operator for Coordinator {
    type StepsStream = Answer<StepReport>;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse {
            state: "training".to_owned(),
            detail: "step 40".to_owned(),
            run_config: self.shared.lock().unwrap().run_config.clone(),
            ..StatusResponse::default()
        }))
    }

    async fn steps(&self, _: Request<StepsRequest>) -> Result<Response<Self::StepsStream>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn audit(&self, _: Request<AuditRequest>) -> Result<Response<AuditResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

#[tonic::async_trait]
impl Checkpoints for Coordinator {
    type WatchStream = Answer<CheckpointState>;
    type ReadStream = Answer<ReadChunk>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
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
        let shared = self.shared.lock().unwrap();
        let content = shared.files.get(&key);
        let content = content.ok_or_else(|| Status::not_found("no such file"))?;
        let chunks: Vec<_> = content[request.offset as usize..]
            .chunks(64 << 10)
            .map(|data| {
                Ok(ReadChunk {
                    data: data.to_vec().into(),
                    sha256: Sha256::digest(data).to_vec().into(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}
