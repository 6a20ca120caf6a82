//! A checkpoint on its way here, to be restored from.
//!
//! The others wait for it in a generation that forms, and a generation does not
//! form for ever. So the end of the generation stops the download, and what has
//! arrived by then is kept: the next generation's goes on from there. Otherwise
//! a checkpoint that takes longer than a generation may form would never be
//! restored.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use client::{Connection, Download, RetryPolicy};
use proto::v1;
use tokio_util::sync::CancellationToken;

use crate::scratch::{Scratch, ScratchFolder};

/// How often the log says how far a download is.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Brings checkpoints, one at a time, and keeps what there is of the last one.
#[derive(Debug)]
pub(crate) struct Arriving {
    scratch: Scratch,
    kept: RefCell<Option<Kept>>,
}

/// What there is of a checkpoint.
#[derive(Debug)]
struct Kept {
    checkpoint: String,
    folder: ScratchFolder,
}

/// Where a checkpoint's files are, until they are forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) model: PathBuf,
    /// The training state, where the checkpoint has one.
    pub(crate) state: Option<PathBuf>,
}

impl Arriving {
    pub(crate) fn new(scratch: Scratch) -> Self {
        Self {
            scratch,
            kept: RefCell::new(None),
        }
    }

    /// Downloads what is not here yet of a checkpoint; `None` if it was
    /// cancelled before it was whole. `on_more`: called when it begins, and
    /// whenever more has come.
    ///
    /// # Errors
    /// [`client::Error`], or that of making a folder.
    pub(crate) async fn bring(
        &self,
        checkpoint: &str,
        connection: &Connection,
        context: impl Fn() -> v1::Context,
        mut on_more: impl FnMut() + Send,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Option<Arrived>> {
        on_more();
        let folder = self
            .folder_for(checkpoint)
            .context("making a folder in --cache-dir")?;
        let downloading = download(checkpoint, folder, connection, context, on_more);
        let Some(arrived) = cancelled.run_until_cancelled(downloading).await else {
            tracing::info!(
                checkpoint,
                "the generation ended; what has arrived is kept for the next"
            );
            return Ok(None);
        };
        Ok(Some(arrived?))
    }

    /// Removes what there is: this worker has a state.
    pub(crate) fn forget(&self) {
        drop(self.kept.take());
    }

    /// The folder of this checkpoint; that of any other is removed.
    fn folder_for(&self, checkpoint: &str) -> std::io::Result<PathBuf> {
        let mut kept = self.kept.borrow_mut();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.checkpoint == checkpoint) {
            return Ok(kept.folder.path().to_owned());
        }
        // Before another folder is made: the disk may not have room for both.
        *kept = None;
        let folder = self.scratch.folder()?;
        let path = folder.path().to_owned();
        *kept = Some(Kept {
            checkpoint: checkpoint.to_owned(),
            folder,
        });
        Ok(path)
    }
}

async fn download(
    checkpoint: &str,
    folder: PathBuf,
    connection: &Connection,
    context: impl Fn() -> v1::Context,
    mut on_more: impl FnMut() + Send,
) -> Result<Arrived, client::Error> {
    let asking = || async {
        let request = v1::GetCheckpointRequest {
            // Made anew, for the term may change while nobody answers.
            context: Some(context()),
            checkpoint_id: checkpoint.to_owned(),
        };
        match connection.checkpoints().get(request).await {
            Ok(manifest) => Ok(manifest.into_inner()),
            Err(status) => Err(client::Error::call("Get", status)),
        }
    };
    let manifest = connection
        .retry("asking for a checkpoint", &RetryPolicy::PATIENT, asking)
        .await?;
    let has_state = manifest
        .files
        .iter()
        .any(|file| file.kind() == v1::FileKind::State);
    let model = folder.join("model");
    let state = has_state.then(|| folder.join("state"));
    let parts = [
        (v1::FileKind::Model, Some(&model)),
        (v1::FileKind::State, state.as_ref()),
    ];
    for (kind, folder) in parts {
        let Some(folder) = folder else { continue };
        let mut told = Instant::now();
        Download::new(connection, &manifest)
            .context(context())
            .only(kind)
            .on_progress(|progress| {
                on_more();
                if told.elapsed() >= TOLD_EVERY {
                    told = Instant::now();
                    tracing::info!(
                        checkpoint,
                        "{} MB of {} MB of the {} have arrived",
                        progress.received / 1_000_000,
                        progress.size / 1_000_000,
                        match kind {
                            v1::FileKind::State => "training state",
                            _ => "model",
                        },
                    );
                }
            })
            .into_dir(folder)
            .await?;
    }
    Ok(Arrived { model, state })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use client::{Address, ConnectOptions};
    use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
    use sha2::{Digest as _, Sha256};
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tokio_stream::{Stream, StreamExt as _};
    use tonic::{Request, Response, Status};

    use super::*;

    const CHUNK: usize = 1000;
    const WEIGHTS: &str = "model/model.safetensors";
    /// How long anything may take; only a defect reaches it.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Checkpoint, file and offset.
    type Read = (String, String, u64);

    /// Serves the same files as any checkpoint that is asked for.
    #[derive(Clone, Default)]
    struct Served {
        reads: Arc<Mutex<Vec<Read>>>,
        /// A read of the weights sends so many chunks, and nothing after them.
        silent_after: Arc<Mutex<Option<usize>>>,
    }

    fn files() -> [(&'static str, v1::FileKind, Vec<u8>); 3] {
        let weights = (0..5 * CHUNK + 17).map(|index| (index % 251) as u8);
        [
            ("model/config.json", v1::FileKind::Model, b"{}".to_vec()),
            (WEIGHTS, v1::FileKind::Model, weights.collect()),
            (
                "state/optimizer.safetensors",
                v1::FileKind::State,
                vec![7; CHUNK],
            ),
        ]
    }

    type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

    #[tonic::async_trait]
    impl Checkpoints for Served {
        type WatchStream = Answer<v1::CheckpointState>;
        type ReadStream = Answer<v1::ReadChunk>;

        async fn watch(
            &self,
            _: Request<v1::WatchRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented("not part of these tests"))
        }

        async fn get(
            &self,
            request: Request<v1::GetCheckpointRequest>,
        ) -> Result<Response<v1::CheckpointManifest>, Status> {
            let files = files().map(|(name, kind, content)| v1::CheckpointFile {
                name: name.to_owned(),
                kind: kind.into(),
                size: content.len() as u64,
                sha256: Sha256::digest(&content).to_vec().into(),
            });
            Ok(Response::new(v1::CheckpointManifest {
                checkpoint_id: request.into_inner().checkpoint_id,
                files: files.into(),
                ..Default::default()
            }))
        }

        async fn read(
            &self,
            request: Request<v1::ReadRequest>,
        ) -> Result<Response<Self::ReadStream>, Status> {
            let asked = request.into_inner();
            let read = (asked.checkpoint_id, asked.name.clone(), asked.offset);
            self.reads.lock().unwrap().push(read);
            let mut files = files().into_iter();
            let (_, _, content) = files.find(|(name, ..)| *name == asked.name).unwrap();
            let mut chunks: Vec<Result<v1::ReadChunk, Status>> = content[asked.offset as usize..]
                .chunks(CHUNK)
                .map(|data| {
                    Ok(v1::ReadChunk {
                        data: data.to_vec().into(),
                        sha256: Sha256::digest(data).to_vec().into(),
                    })
                })
                .collect();
            let silent_after = *self.silent_after.lock().unwrap();
            if let (WEIGHTS, Some(count)) = (asked.name.as_str(), silent_after) {
                chunks.truncate(count);
                let answer = tokio_stream::iter(chunks).chain(tokio_stream::pending());
                return Ok(Response::new(Box::pin(answer)));
            }
            Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
        }
    }

    impl Served {
        fn fall_silent_after(&self, chunks: Option<usize>) {
            *self.silent_after.lock().unwrap() = chunks;
        }

        fn reads_of(&self, checkpoint: &str, name: &str) -> Vec<u64> {
            let reads = self.reads.lock().unwrap();
            let of = |(of, read, _): &&Read| of == checkpoint && read == name;
            reads
                .iter()
                .filter(of)
                .map(|(.., offset)| *offset)
                .collect()
        }

        async fn connection(&self) -> Connection {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Address::from(listener.local_addr().unwrap());
            let server = tonic::transport::Server::builder()
                .add_service(CheckpointsServer::new(self.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(server);
            client::connect(&address, &ConnectOptions::default())
                .await
                .unwrap()
        }
    }

    /// A worker's `--cache-dir`, and what it brings there.
    struct Worker {
        cache: tempfile::TempDir,
        arriving: Arriving,
        connection: Connection,
        /// How often it heard that more has come.
        told: AtomicUsize,
    }

    impl Worker {
        async fn of(served: &Served) -> Worker {
            let cache = tempfile::tempdir().unwrap();
            Worker {
                arriving: Arriving::new(Scratch::new(cache.path().to_owned())),
                cache,
                connection: served.connection().await,
                told: AtomicUsize::new(0),
            }
        }

        async fn bring(
            &self,
            checkpoint: &str,
            cancelled: &CancellationToken,
        ) -> anyhow::Result<Option<Arrived>> {
            let told = &self.told;
            let bringing = self.arriving.bring(
                checkpoint,
                &self.connection,
                v1::Context::default,
                || {
                    told.fetch_add(1, Ordering::Relaxed);
                },
                cancelled,
            );
            // Far below the silence that a download bears.
            tokio::time::timeout(LIMIT, bringing)
                .await
                .expect("it arrives or is cancelled")
        }

        fn folders(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.cache.path()).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }

        /// Brings a checkpoint until so many bytes of its weights are on the
        /// disk, when its generation ends.
        async fn bring_until(&self, checkpoint: &str, bytes: u64) {
            let cancelled = CancellationToken::new();
            let ending = async {
                let has_arrived = |folder: &PathBuf| {
                    let partial = folder.join("model/model.safetensors.partial");
                    fs::metadata(partial).is_ok_and(|found| found.len() == bytes)
                };
                while !self.folders().iter().any(has_arrived) {
                    tokio::task::yield_now().await;
                }
                cancelled.cancel();
            };
            let (brought, ()) = tokio::join!(self.bring(checkpoint, &cancelled), ending);
            assert_eq!(brought.unwrap(), None);
        }
    }

    fn assert_whole(arrived: &Arrived) {
        let of = |folder: &Path, name| fs::read(folder.join(name)).unwrap();
        let [config, weights, optimizer] = files().map(|(_, _, content)| content);
        let state = arrived.state.as_ref().unwrap();
        assert!(of(&arrived.model, "config.json") == config);
        assert!(of(&arrived.model, "model.safetensors") == weights);
        assert!(of(state, "optimizer.safetensors") == optimizer);
    }

    #[tokio::test]
    async fn an_ended_generation_stops_a_download_and_the_next_one_goes_on_with_it() {
        let served = Served::default();
        let worker = Worker::of(&served).await;
        served.fall_silent_after(Some(2));
        worker.bring_until("c1", 2 * CHUNK as u64).await;
        worker.bring_until("c1", 4 * CHUNK as u64).await;
        // Each time that it began, and for every chunk.
        let told = || worker.told.load(Ordering::Relaxed);
        assert!(told() >= 2 + 4, "{}", told());
        served.fall_silent_after(None);
        let arrived = worker.bring("c1", &CancellationToken::new()).await;
        assert_whole(&arrived.unwrap().unwrap());

        let chunk = CHUNK as u64;
        assert_eq!(served.reads_of("c1", WEIGHTS), [0, 2 * chunk, 4 * chunk]);
        assert_eq!(served.reads_of("c1", "model/config.json"), [0]);
        assert_eq!(worker.folders().len(), 1);
        worker.arriving.forget();
        assert_eq!(worker.folders(), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_checkpoint_that_is_no_longer_wanted() {
        let served = Served::default();
        let worker = Worker::of(&served).await;
        served.fall_silent_after(Some(3));
        worker.bring_until("c1", 3 * CHUNK as u64).await;
        let first = worker.folders();
        served.fall_silent_after(None);
        let arrived = worker.bring("c2", &CancellationToken::new()).await;
        assert_whole(&arrived.unwrap().unwrap());

        assert_eq!(served.reads_of("c2", WEIGHTS), [0]);
        assert_eq!(worker.folders().len(), 1);
        assert_ne!(worker.folders(), first);
        // As at the worker's exit.
        drop(worker.arriving);
        assert_eq!(fs::read_dir(worker.cache.path()).unwrap().count(), 0);
    }
}
