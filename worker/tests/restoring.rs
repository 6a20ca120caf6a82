//! A worker that restores from a checkpoint over a slow network: the real
//! process, with a coordinator in this one that ends the generation before the
//! checkpoint is there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use proto::v1;
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::cluster_server::{Cluster, ClusterServer};
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

const CHUNK: usize = 1000;
const WEIGHTS: &str = "model/model.safetensors";
/// What a read brings before the network stands still.
const CHUNKS_PER_READ: usize = 2;
/// How long anything may take; only a defect reaches it.
const LIMIT: Duration = Duration::from_secs(120);
/// In milliseconds: longer than the test, which answers no heartbeat.
const LEASE: u64 = 3_600_000;

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Directives = mpsc::UnboundedReceiver<Result<v1::CoordinatorMessage, Status>>;

/// Says to its only worker what the test says.
#[derive(Clone)]
struct Coordinator {
    run: Arc<run::RunConfig>,
    /// For the session.
    directives: Arc<Mutex<Option<Directives>>>,
    heard: mpsc::UnboundedSender<v1::WorkerMessage>,
    /// The offsets at which the weights were read.
    reads: Arc<Mutex<Vec<u64>>>,
}

fn context(generation: u64) -> v1::Context {
    v1::Context {
        run_id: "run".to_owned(),
        term: 1,
        generation,
        worker_id: "slow".to_owned(),
    }
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
                heartbeat_ms: LEASE,
                lease_ms: LEASE,
                collective_ms: LEASE,
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
        let Some(directives) = self.directives.lock().unwrap().take() else {
            return Err(Status::permission_denied("there was a session"));
        };
        let mut messages = request.into_inner();
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let _ = heard.send(message);
            }
        });
        let answer = UnboundedReceiverStream::new(directives);
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
        _: Request<v1::GetPageRequest>,
    ) -> Result<Response<v1::GetPageResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
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
struct Conversation {
    say: mpsc::UnboundedSender<Result<v1::CoordinatorMessage, Status>>,
    heard: mpsc::UnboundedReceiver<v1::WorkerMessage>,
    reads: Arc<Mutex<Vec<u64>>>,
    worker: Child,
    folder: tempfile::TempDir,
}

impl Conversation {
    async fn begin() -> Conversation {
        let folder = tempfile::tempdir().unwrap();
        let (say, directives) = mpsc::unbounded_channel();
        let (hear, heard) = mpsc::unbounded_channel();
        let coordinator = Coordinator {
            run: Arc::new(run_on(folder.path())),
            directives: Arc::new(Mutex::new(Some(directives))),
            heard: hear,
            reads: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let reads = Arc::clone(&coordinator.reads);
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
            worker,
            folder,
        }
    }

    fn say(&self, generation: u64, body: Directive) {
        let message = v1::CoordinatorMessage {
            context: Some(context(generation)),
            body: Some(body),
        };
        self.say.send(Ok(message)).unwrap();
    }

    /// Puts the worker into a generation that begins at a checkpoint.
    fn form(&self, generation: u64) {
        let form = v1::Form {
            base: Some(ledger::Cursor::start().into()),
            rank: 0,
            world_size: 1,
            origin: Some(v1::form::Origin::Checkpoint("c1".to_owned())),
            ..Default::default()
        };
        self.say(generation, Directive::Form(form));
    }

    async fn hear(&mut self, what: &str, is_it: impl Fn(&v1::WorkerMessage) -> bool) {
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

    async fn hear_ready(&mut self) {
        let is_ready = |message: &v1::WorkerMessage| matches!(&message.body, Some(Body::Ready(_)));
        self.hear("that the worker is ready", is_ready).await;
    }

    /// Waits until so much of the weights is on the worker's disk.
    async fn wait_for_bytes(&self, bytes: u64) {
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
    fn restoring(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("cache"));
        let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("restore-")
        };
        paths.filter(is_ours).collect()
    }

    fn reads(&self) -> Vec<u64> {
        self.reads.lock().unwrap().clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("worker.log")).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_interrupted_goes_on_in_the_next_generation() {
    let per_read = (CHUNK * CHUNKS_PER_READ) as u64;
    let mut conversation = Conversation::begin().await;
    conversation.hear_ready().await;
    for generation in 1..=3 {
        conversation.form(generation);
        conversation.wait_for_bytes(generation * per_read).await;
        let reason = "it forms for too long".to_owned();
        conversation.say(generation, Directive::Abort(v1::Abort { reason }));
        let is_out = |message: &v1::WorkerMessage| {
            let of = message.context.as_ref().map(|context| context.generation);
            matches!(&message.body, Some(Body::Left(_))) && of == Some(generation)
        };
        conversation.hear("that the worker left", is_out).await;
        conversation.hear_ready().await;
    }
    assert_eq!(conversation.reads(), [0, per_read, 2 * per_read]);
    assert_eq!(conversation.restoring().len(), 1);

    // The end of the run interrupts a restore as well, and nothing of it stays.
    conversation.form(4);
    conversation.wait_for_bytes(4 * per_read).await;
    let stop = v1::Stop {
        reason: v1::stop::Reason::Complete.into(),
        message: String::new(),
    };
    conversation.say(4, Directive::Stop(stop));
    let ended = tokio::time::timeout(LIMIT, conversation.worker.wait()).await;
    let Ok(ended) = ended else {
        panic!("the worker does not end\n{}", conversation.log());
    };
    assert_eq!(ended.unwrap().code(), Some(0), "{}", conversation.log());
    assert_eq!(conversation.restoring(), Vec::<PathBuf>::new());
}
