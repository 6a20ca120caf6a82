//! Writes checkpoints in the background while training goes on.
//!
//! The trainer copies weights and optimizer state and hands the copy over; one
//! task streams it to the coordinator and tries again until the coordinator
//! has it or refuses it.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{CheckpointUpload, Connection, RetryPolicy, UploadFile};
use model::{ModelError, OPTIMIZER_FILE, OptimizerState, Snapshot};
use proto::v1;
use tokio::sync::{mpsc, watch};

use crate::identity::Identity;

/// Copies that may wait behind the one in flight; the trainer waits beyond
/// that, so that at most two copies take memory.
const WAITING: usize = 1;

/// One checkpoint to be.
pub(crate) struct Job {
    pub(crate) generation: u64,
    pub(crate) cursor: v1::Cursor,
    pub(crate) evaluation: Option<v1::Evaluation>,
    pub(crate) training_loss: f64,
    pub(crate) weights: Snapshot,
    pub(crate) optimizer: OptimizerState,
}

/// How the background writing stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Standing {
    finished: u64,
    /// What the coordinator said to the last checkpoint, if it refused it.
    refused: Option<String>,
}

/// The trainer's end.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    submitted: u64,
    standing: watch::Receiver<Standing>,
}

/// The last checkpoint is not with the coordinator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("the coordinator refused the checkpoint: {0}")]
    Refused(String),
    #[error("the checkpoint was not stored within {0:?}; what came after the last one is lost")]
    InTime(Duration),
}

impl Writer {
    /// Starts the background task.
    pub(crate) fn start(
        connection: Connection,
        identity: Arc<Identity>,
        runtime: &tokio::runtime::Handle,
    ) -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING);
        let (announce, standing) = watch::channel(Standing::default());
        runtime.spawn(async move {
            while let Some(job) = queue.recv().await {
                let refused = write(&connection, &identity, job).await.err();
                announce.send_modify(|standing| {
                    standing.finished += 1;
                    standing.refused = refused.map(|error| error.to_string());
                });
            }
        });
        Self {
            jobs,
            submitted: 0,
            standing,
        }
    }

    /// Hands a copy over. Blocks only while two others are under way.
    pub(crate) fn submit(&mut self, job: Job) {
        if self.jobs.blocking_send(job).is_ok() {
            self.submitted += 1;
        }
    }

    /// Waits until every copy handed over is durable, or the last was refused.
    pub(crate) fn finish(&mut self, runtime: &tokio::runtime::Handle) -> Result<(), NotStored> {
        runtime.block_on(self.all_stored())
    }

    /// Waits the same way, but not for ever: the coordinator may be gone.
    pub(crate) fn finish_within(
        &mut self,
        patience: Duration,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(), NotStored> {
        let waited =
            runtime.block_on(async { tokio::time::timeout(patience, self.all_stored()).await });
        waited.unwrap_or(Err(NotStored::InTime(patience)))
    }

    async fn all_stored(&mut self) -> Result<(), NotStored> {
        let submitted = self.submitted;
        let refused = match self
            .standing
            .wait_for(|standing| standing.finished >= submitted)
            .await
        {
            Ok(standing) => standing.refused.clone(),
            Err(_) => Some("the worker is shutting down".into()),
        };
        refused.map_or(Ok(()), |why| Err(NotStored::Refused(why)))
    }
}

async fn write(
    connection: &Connection,
    identity: &Identity,
    job: Job,
) -> Result<(), client::Error> {
    let started = std::time::Instant::now();
    let checkpoint = CheckpointUpload {
        context: identity.context(job.generation),
        cursor: job.cursor,
        evaluation: job.evaluation,
        training_loss: job.training_loss,
    };
    // Tensors may be sent to another thread but not shared with it.
    let job = Mutex::new(job);
    let attempt = || async {
        let files = files(&job.lock().unwrap_or_else(PoisonError::into_inner));
        let files = files.map_err(|error| client::Error::Content {
            file: OPTIMIZER_FILE.to_owned(),
            reason: error.to_string(),
        })?;
        client::upload_checkpoint(connection, checkpoint.clone(), files).await
    };
    let stored = connection
        .retry("storing a checkpoint", &RetryPolicy::PATIENT, attempt)
        .await;
    match &stored {
        Ok(id) => tracing::info!(
            checkpoint = id,
            seconds = started.elapsed().as_secs_f64(),
            "checkpoint stored"
        ),
        Err(error) => tracing::error!("the checkpoint was refused: {error}"),
    }
    stored.map(|_| ())
}

/// What transformers reads, and apart from it what only training needs.
fn files(job: &Job) -> Result<Vec<UploadFile>, ModelError> {
    let config = job.weights.config();
    let weights = job.weights.model_file();
    let optimizer = job.optimizer.file()?;
    let text = |name: &str, bytes: Vec<u8>| UploadFile {
        name: name.to_owned(),
        kind: v1::FileKind::Model,
        size: bytes.len() as u64,
        content: Box::new(Cursor::new(bytes)),
    };
    Ok(vec![
        text(layout::CONFIG_FILE, config.to_json()),
        text(layout::GENERATION_CONFIG_FILE, config.generation_json()),
        UploadFile {
            name: layout::MODEL_FILE.to_owned(),
            kind: v1::FileKind::Model,
            size: weights.total_bytes(),
            content: Box::new(weights),
        },
        UploadFile {
            name: OPTIMIZER_FILE.to_owned(),
            kind: v1::FileKind::State,
            size: optimizer.total_bytes(),
            content: Box::new(optimizer),
        },
    ])
}
