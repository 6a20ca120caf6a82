//! Writes checkpoints in the background while training goes on.
//!
//! The trainer copies weights and optimizer state and hands the copy over; one
//! task streams it to the coordinator and tries again until the coordinator
//! has it or refuses it.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{CheckpointUpload, Connection, RetryPolicy, UploadFile};
use model::{ModelError, OPTIMIZER_FILE, OptimizerState, Snapshot};
use proto::v1;
use tokio::sync::{mpsc, watch};

use crate::cadence::Cadence;
use crate::identity::Identity;
use crate::trainer::{EPOCH_LOSS_FILE, EpochLoss};

/// Copies that may wait behind the one in flight; the trainer waits beyond
/// that, so that at most two copies take memory.
const WAITING: usize = 1;

/// One checkpoint to be.
pub(crate) struct Job {
    pub(crate) generation: u64,
    pub(crate) cursor: ledger::Cursor,
    pub(crate) evaluation: Option<v1::Evaluation>,
    pub(crate) training_loss: f64,
    /// What the epoch under way has cost so far.
    pub(crate) epoch_loss: EpochLoss,
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

impl Standing {
    /// Why the last checkpoint was refused, if it was and came after the first
    /// `before`. Those are of generations that are over: steps that were rolled
    /// back are refused, and that is no fault of the present one.
    fn refused_since(&self, before: u64) -> Option<String> {
        self.refused.clone().filter(|_| self.finished > before)
    }
}

/// The trainer's end.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// How many copies were handed over; what is written may have to make way.
    submitted: watch::Sender<u64>,
    standing: watch::Receiver<Standing>,
    cadence: Cadence,
    /// Generation and cursor of the last copy.
    last: Option<(u64, ledger::Cursor)>,
    /// How many copies were handed over before the present generation.
    before: u64,
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
        limits: &v1::Limits,
        runtime: &tokio::runtime::Handle,
    ) -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING);
        let (announce, standing) = watch::channel(Standing::default());
        let (submitted, handed_over) = watch::channel(0);
        runtime.spawn(async move {
            while let Some(job) = queue.recv().await {
                let number = announce.borrow().finished + 1;
                let newer = newer_than(number, handed_over.clone());
                let refused = write(&connection, &identity, job, newer).await.err();
                announce.send_modify(|standing| {
                    standing.finished += 1;
                    standing.refused = refused;
                });
            }
        });
        Self {
            jobs,
            submitted,
            standing,
            cadence: Cadence::new(
                limits.checkpoint_steps,
                limits.checkpoint_ms,
                Instant::now(),
            ),
            last: None,
            before: 0,
        }
    }

    /// A generation begins at `base`.
    pub(crate) fn begin_at(&mut self, base: ledger::Cursor) {
        self.cadence.begin_at(base.step);
        self.before = *self.submitted.borrow();
    }

    /// Whether a checkpoint should be taken at `cursor`, in the middle of an
    /// epoch.
    pub(crate) fn is_due(&self, cursor: ledger::Cursor) -> bool {
        let is_busy = self.standing.borrow().finished < *self.submitted.borrow();
        self.cadence.is_due(cursor.step, Instant::now(), is_busy)
    }

    /// Whether the last copy is of this state.
    pub(crate) fn has(&self, generation: u64, cursor: ledger::Cursor) -> bool {
        self.last == Some((generation, cursor))
    }

    /// Hands a copy over. Blocks only while two others are under way.
    pub(crate) fn submit(&mut self, job: Job) {
        self.cadence.taken(job.cursor.step, Instant::now());
        self.last = Some((job.generation, job.cursor));
        if self.jobs.blocking_send(job).is_ok() {
            self.submitted.send_modify(|submitted| *submitted += 1);
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
        let submitted = *self.submitted.borrow();
        let refused = match self
            .standing
            .wait_for(|standing| standing.finished >= submitted)
            .await
        {
            Ok(standing) => standing.refused_since(self.before),
            Err(_) => Some("the worker is shutting down".into()),
        };
        refused.map_or(Ok(()), |why| Err(NotStored::Refused(why)))
    }
}

/// Resolves when more than `number` copies were handed over.
async fn newer_than(number: u64, mut handed_over: watch::Receiver<u64>) {
    if handed_over.wait_for(|count| *count > number).await.is_err() {
        // There will be no other.
        std::future::pending::<()>().await;
    }
}

/// Writes one checkpoint, or says why not.
async fn write(
    connection: &Connection,
    identity: &Identity,
    job: Job,
    newer: impl Future<Output = ()>,
) -> Result<(), String> {
    let started = Instant::now();
    let step = job.cursor.step;
    let checkpoint = CheckpointUpload {
        context: identity.context(job.generation),
        cursor: job.cursor.into(),
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
    match store(attempt, newer).await {
        Upload::Stored(id) => {
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(checkpoint = id, seconds, "checkpoint stored");
            Ok(())
        }
        Upload::Refused(error) => {
            tracing::error!("the checkpoint was refused: {error}");
            Err(error.to_string())
        }
        Upload::MadeWay => {
            tracing::warn!(
                step,
                "the coordinator has no room for the checkpoint; a newer one takes its place"
            );
            Err("the coordinator has no room for it".to_owned())
        }
    }
}

/// How an upload ended.
#[derive(Debug)]
enum Upload {
    Stored(String),
    Refused(client::Error),
    /// There was no room for it, and then a newer one.
    MadeWay,
}

/// Attempts an upload for as long as it takes. But one for which the
/// coordinator has no room makes way for a newer one, so that training never
/// waits for the disk of another machine.
async fn store<Attempt>(
    mut attempt: impl FnMut() -> Attempt,
    newer: impl Future<Output = ()>,
) -> Upload
where
    Attempt: Future<Output = Result<String, client::Error>>,
{
    let (sender, mut has_room) = watch::channel(true);
    let room = &sender;
    let watched = || {
        room.send_replace(true);
        let attempted = attempt();
        async move {
            let stored = attempted.await;
            if stored.as_ref().is_err_and(client::Error::is_no_room) {
                room.send_replace(false);
            }
            stored
        }
    };
    let superseded = async {
        newer.await;
        // The sender lives as long as this does.
        let _ = has_room.wait_for(|room| !room).await;
    };
    tokio::select! {
        stored = client::retry("storing a checkpoint", &RetryPolicy::PATIENT, watched) => {
            match stored {
                Ok(id) => Upload::Stored(id),
                Err(error) => Upload::Refused(error),
            }
        }
        () = superseded => Upload::MadeWay,
    }
}

/// What transformers reads, and apart from it what only training needs.
fn files(job: &Job) -> Result<Vec<UploadFile>, ModelError> {
    use v1::FileKind::{Model, State};
    let config = job.weights.config();
    let weights = job.weights.model_file();
    let optimizer = job.optimizer.file()?;
    let text = |kind: v1::FileKind, name: &str, bytes: Vec<u8>| UploadFile {
        name: name.to_owned(),
        kind,
        size: bytes.len() as u64,
        content: Box::new(Cursor::new(bytes)),
    };
    let mut files = vec![
        text(Model, layout::CONFIG_FILE, config.to_json()),
        text(
            Model,
            layout::GENERATION_CONFIG_FILE,
            config.generation_json(),
        ),
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
    ];
    let epoch_loss = job.epoch_loss.to_json();
    files.extend(epoch_loss.map(|json| text(State, EPOCH_LOSS_FILE, json)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    fn no_room() -> client::Error {
        let status = tonic::Status::resource_exhausted("the disk is full");
        client::Error::call("PutCheckpoint", status)
    }

    #[test]
    fn a_refusal_concerns_the_generation_whose_copy_it_was() {
        let standing = Standing {
            finished: 3,
            refused: Some("its steps were rolled back".to_owned()),
        };
        assert_eq!(standing.refused_since(3), None);
        assert!(standing.refused_since(2).is_some());
    }

    #[tokio::test]
    async fn a_copy_for_which_there_is_no_room_makes_way_for_a_newer_one() {
        let attempt = || async { Err(no_room()) };
        assert!(matches!(store(attempt, ready(())).await, Upload::MadeWay));
    }

    #[tokio::test]
    async fn without_a_newer_one_it_waits_for_room() {
        let attempts = Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            let found = match attempts.get() {
                1 => Err(no_room()),
                _ => Ok("step-00000007-g1".to_owned()),
            };
            async move { found }
        };
        assert!(matches!(store(attempt, pending()).await, Upload::Stored(_)));
        assert_eq!(attempts.get(), 2);
    }

    #[tokio::test]
    async fn one_that_is_on_its_way_is_not_given_up_for_a_newer_one() {
        let attempt = || async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            Ok("step-00000007-g1".to_owned())
        };
        assert!(matches!(store(attempt, ready(())).await, Upload::Stored(_)));
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let attempt = || async {
            let status = tonic::Status::failed_precondition("rolled back");
            Err(client::Error::call("PutCheckpoint", status))
        };
        assert!(matches!(
            store(attempt, pending()).await,
            Upload::Refused(_)
        ));
    }
}
