//! A coordinator that says what a test wants, and the worker that listens to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use ledger::{Order, OrderConfig, PackedPage, Slot};
use proto::v1;
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::cluster_server::{Cluster, ClusterServer};
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const CHUNK: usize = 1000;
const WEIGHTS: &str = "model/model.safetensors";
/// What a read brings before the network stands still.
pub(crate) const CHUNKS_PER_READ: usize = 2;
/// How long anything may take; only a defect reaches it.
const LIMIT: Duration = Duration::from_secs(120);
/// In milliseconds: longer than any test, which answers no heartbeat.
pub(crate) const LONG: u64 = 3_600_000;

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Directives = mpsc::UnboundedReceiver<Result<v1::CoordinatorMessage, Status>>;

/// What the coordinator is asked and told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    ComingPages,
    /// Answered, if it is.
    GetPage(Slot),
    Ready,
}

/// What the coordinator has besides a run.
#[derive(Default)]
pub(crate) struct Having {
    /// The pages that training needs next.
    pub(crate) pages: Vec<(Slot, PackedPage)>,
    /// Of them, the pages that it never answers with.
    pub(crate) withheld: Vec<Slot>,
    /// The lease that it grants, if not a long one.
    pub(crate) lease_ms: Option<u64>,
}

/// Says to its only worker what the test says.
#[derive(Clone)]
struct Coordinator {
    run: Arc<run::RunConfig>,
    /// For the session.
    directives: Arc<Mutex<Option<Directives>>>,
    heard: mpsc::UnboundedSender<v1::WorkerMessage>,
    /// The offsets at which the weights were read.
    reads: Arc<Mutex<Vec<u64>>>,
    calls: Arc<watch::Sender<Vec<Call>>>,
    having: Arc<Having>,
}

fn context(generation: u64) -> v1::Context {
    v1::Context {
        run_id: "run".to_owned(),
        term: 1,
        generation,
        worker_id: "slow".to_owned(),
    }
}

fn note(calls: &watch::Sender<Vec<Call>>, call: Call) {
    calls.send_modify(|calls| calls.push(call));
}

fn weights() -> Vec<u8> {
    (0..10 * CHUNK).map(|index| (index % 251) as u8).collect()
}

#[tonic::async_trait]
impl Cluster for Coordinator {
    type SessionStream = Answer<v1::CoordinatorMessage>;

    async fn join(
        &self,
        _: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        Ok(Response::new(v1::JoinResponse {
            context: Some(context(0)),
            run_config: self.run.to_json(),
            limits: Some(v1::Limits {
                heartbeat_ms: LONG,
                lease_ms: self.having.lease_ms.unwrap_or(LONG),
                collective_ms: LONG,
                ..Default::default()
            }),
            total_pages: self.run.data.pages(),
            ..Default::default()
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let Some(mut directives) = self.directives.lock().unwrap().take() else {
            return Err(Status::permission_denied("there was a session"));
        };
        let mut messages = request.into_inner();
        let (heard, calls) = (self.heard.clone(), Arc::clone(&self.calls));
        let (say, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = messages.message() => {
                        // Who hangs up is hung up on.
                        let Ok(Some(message)) = message else { return };
                        if matches!(message.body, Some(Body::Ready(_))) {
                            note(&calls, Call::Ready);
                        }
                        let _ = heard.send(message);
                    }
                    Some(directive) = directives.recv() => {
                        let _ = say.send(directive);
                    }
                }
            }
        });
        let answer = UnboundedReceiverStream::new(said);
        Ok(Response::new(Box::pin(answer)))
    }

    async fn put_page(
        &self,
        _: Request<v1::PutPageRequest>,
    ) -> Result<Response<v1::PutPageResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn get_page(
        &self,
        request: Request<v1::GetPageRequest>,
    ) -> Result<Response<v1::GetPageResponse>, Status> {
        let slot = request.into_inner().slot.unwrap();
        let slot = Slot::try_from(slot).unwrap();
        if self.having.withheld.contains(&slot) {
            return std::future::pending().await;
        }
        let (_, page) = self
            .having
            .pages
            .iter()
            .find(|(of, _)| *of == slot)
            .ok_or_else(|| Status::not_found("not part of this test"))?;
        note(&self.calls, Call::GetPage(slot));
        let packed = page.encode().into();
        Ok(Response::new(v1::GetPageResponse { packed }))
    }

    async fn coming_pages(
        &self,
        _: Request<v1::ComingPagesRequest>,
    ) -> Result<Response<v1::ComingPagesResponse>, Status> {
        note(&self.calls, Call::ComingPages);
        let rows = self.having.rows();
        Ok(Response::new(v1::ComingPagesResponse { rows }))
    }

    async fn put_checkpoint(
        &self,
        _: Request<Streaming<v1::PutCheckpointRequest>>,
    ) -> Result<Response<v1::PutCheckpointResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }
}

#[tonic::async_trait]
impl Checkpoints for Coordinator {
    type WatchStream = Answer<v1::CheckpointState>;
    type ReadStream = Answer<v1::ReadChunk>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn get(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::CheckpointManifest>, Status> {
        let content = weights();
        Ok(Response::new(v1::CheckpointManifest {
            checkpoint_id: request.into_inner().checkpoint_id,
            run_id: "run".to_owned(),
            files: vec![v1::CheckpointFile {
                name: WEIGHTS.to_owned(),
                kind: v1::FileKind::Model.into(),
                size: content.len() as u64,
                sha256: Sha256::digest(&content).to_vec().into(),
            }],
            ..Default::default()
        }))
    }

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let offset = request.into_inner().offset;
        self.reads.lock().unwrap().push(offset);
        let chunks: Vec<Result<v1::ReadChunk, Status>> = weights()[offset as usize..]
            .chunks(CHUNK)
            .take(CHUNKS_PER_READ)
            .map(|data| {
                Ok(v1::ReadChunk {
                    data: data.to_vec().into(),
                    sha256: Sha256::digest(data).to_vec().into(),
                })
            })
            .collect();
        let answer = tokio_stream::iter(chunks).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(answer)))
    }
}

#[derive(clap::Parser)]
struct RunFlags {
    #[command(flatten)]
    run: run::RunArgs,
}

impl Having {
    pub(crate) fn rows(&self) -> Vec<v1::PageRow> {
        let rows = self.pages.iter().map(|(slot, page)| (*slot, page.row()));
        rows.map(|(slot, row)| (slot, &row).into()).collect()
    }
}

/// A run of the smallest model on ten pages in `folder`.
fn run_on(folder: &Path) -> run::RunConfig {
    let path = folder.join("text.jsonl");
    fs::write(
        &path,
        "{\"content\": \"of one text or another\"}\n".repeat(1000),
    )
    .unwrap();
    let source = pages::LocalFiles::open(&path, "content").unwrap();
    let tokenizer = pages::Tokenizer::gpt2().unwrap();
    let info = source.info();
    let dataset = run::Dataset {
        source: run::Source::Files {
            path: path.display().to_string(),
            column: "content".to_owned(),
            revision: info.revision.clone(),
        },
        rows: info.rows,
        tokenizer: tokenizer.identity().to_owned(),
        vocabulary: tokenizer.vocabulary_size(),
    };
    let flags = "run --preset gpt2-nano --sl 32 --bs 2 --global-batch 4 --pages_per_epoch 3 \
                 --eval_pages 2";
    let flags = RunFlags::parse_from(flags.split_whitespace()).run;
    let settings = flags.settings(1, None).unwrap();
    settings.with_data("run", dataset).unwrap()
}

/// The coordinator as the test sees it, and its worker.
pub(crate) struct Conversation {
    say: mpsc::UnboundedSender<Result<v1::CoordinatorMessage, Status>>,
    heard: mpsc::UnboundedReceiver<v1::WorkerMessage>,
    reads: Arc<Mutex<Vec<u64>>>,
    calls: Arc<watch::Sender<Vec<Call>>>,
    having: Arc<Having>,
    worker: Child,
    folder: tempfile::TempDir,
}

impl Conversation {
    pub(crate) async fn begin(having: impl FnOnce(&Order) -> Having) -> Conversation {
        let folder = tempfile::tempdir().unwrap();
        let run = run_on(folder.path());
        let order = Order::new(OrderConfig {
            seed: run.seed,
            total_pages: run.data.pages(),
            evaluation_pages: run.eval_pages.try_into().unwrap(),
            pages_per_epoch: run.pages_per_epoch,
        });
        let having = Arc::new(having(&order.unwrap()));
        let (say, directives) = mpsc::unbounded_channel();
        let (hear, heard) = mpsc::unbounded_channel();
        let coordinator = Coordinator {
            run: Arc::new(run),
            directives: Arc::new(Mutex::new(Some(directives))),
            heard: hear,
            reads: Arc::default(),
            calls: Arc::default(),
            having: Arc::clone(&having),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let reads = Arc::clone(&coordinator.reads);
        let calls = Arc::clone(&coordinator.calls);
        let server = tonic::transport::Server::builder()
            .add_service(ClusterServer::new(coordinator.clone()))
            .add_service(CheckpointsServer::new(coordinator))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let log = fs::File::create(folder.path().join("worker.log")).unwrap();
        let worker = Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(["--coordinator", &address, "--name", "slow"])
            .args(["--device", "cpu", "--threads", "1"])
            .arg("--cache-dir")
            .arg(folder.path().join("cache"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Conversation {
            say,
            heard,
            reads,
            calls,
            having,
            worker,
            folder,
        }
    }

    pub(crate) fn say(&self, generation: u64, body: Directive) {
        let message = v1::CoordinatorMessage {
            context: Some(context(generation)),
            body: Some(body),
        };
        self.say.send(Ok(message)).unwrap();
    }

    /// Puts the worker alone into a generation, with the rows of all pages.
    pub(crate) fn form(&self, generation: u64, origin: v1::form::Origin) {
        let form = v1::Form {
            base: Some(ledger::Cursor::start().into()),
            rank: 0,
            world_size: 1,
            origin: Some(origin),
            ..Default::default()
        };
        self.say(generation, Directive::Form(form));
        let rows = self.having.rows();
        self.say(generation, Directive::PageRows(v1::PageRows { rows }));
    }

    pub(crate) async fn hear(&mut self, what: &str, is_it: impl Fn(&v1::WorkerMessage) -> bool) {
        let hearing = async {
            while let Some(message) = self.heard.recv().await {
                if is_it(&message) {
                    return;
                }
            }
            panic!("the session ended");
        };
        let heard = tokio::time::timeout(LIMIT, hearing).await;
        assert!(heard.is_ok(), "{what} was not heard\n{}", self.log());
    }

    pub(crate) async fn hear_ready(&mut self) {
        let is_ready = |message: &v1::WorkerMessage| matches!(&message.body, Some(Body::Ready(_)));
        self.hear("that the worker is ready", is_ready).await;
    }

    /// Waits until so much of the weights is on the worker's disk.
    pub(crate) async fn wait_for_bytes(&self, bytes: u64) {
        let waiting = async {
            let has_arrived = |folder: &PathBuf| {
                let partial = folder.join("model/model.safetensors.partial");
                fs::metadata(partial).is_ok_and(|found| found.len() == bytes)
            };
            while !self.restoring().iter().any(has_arrived) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let arrived = tokio::time::timeout(LIMIT, waiting).await;
        assert!(arrived.is_ok(), "{bytes} bytes do not come\n{}", self.log());
    }

    /// The folders that the worker restores from.
    pub(crate) fn restoring(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("cache"));
        let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("restore-")
        };
        paths.filter(is_ours).collect()
    }

    pub(crate) fn reads(&self) -> Vec<u64> {
        self.reads.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// Waits until the calls so far are what the test waits for.
    pub(crate) async fn wait_for_calls(&self, are_they: impl Fn(&[Call]) -> bool) {
        let mut calls = self.calls.subscribe();
        let waiting = calls.wait_for(|calls| are_they(calls));
        let came = tokio::time::timeout(LIMIT, waiting).await;
        assert!(came.is_ok(), "{:?}\n{}", self.calls(), self.log());
    }

    /// Ends the run, and with it the worker.
    pub(crate) async fn stop(&mut self, generation: u64) {
        let stop = v1::Stop {
            reason: v1::stop::Reason::Complete.into(),
            message: String::new(),
        };
        self.say(generation, Directive::Stop(stop));
        self.expect_end().await;
    }

    /// Waits until the worker exits, as it should.
    pub(crate) async fn expect_end(&mut self) {
        let ended = tokio::time::timeout(LIMIT, self.worker.wait()).await;
        let Ok(ended) = ended else {
            panic!("the worker does not end\n{}", self.log());
        };
        assert_eq!(ended.unwrap().code(), Some(0), "{}", self.log());
    }

    /// Asks the worker to leave, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let process = self.worker.id().and_then(|id| i32::try_from(id).ok());
        let process = process.and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("worker.log")).unwrap_or_default()
    }
}
