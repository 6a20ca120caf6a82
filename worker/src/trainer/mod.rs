//! The training thread: it blocks in libtorch, so it is not a task.
//!
//! It waits to be put into a generation, works in it until the run ends or the
//! generation does, says what it has applied, and waits again. Weights and
//! optimizer state survive from one generation to the next; everything else (store,
//! group, reducer, feeder) belongs to one and is made anew.

mod end_of_epoch;
mod epoch_loss;
mod generation;
mod metrics;
mod replica;
mod step;
mod throughput;

pub(crate) use epoch_loss::{EPOCH_LOSS_FILE, EpochLoss};

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use cli::Exit;
use client::Connection;
use ledger::Cursor;
use proto::v1;
use proto::v1::worker_message::Body;
use run::RunConfig;
use tch::Device;

use crate::arriving::Arriving;
use crate::book::Book;
use crate::checkpoint::Writer;
use crate::control::{Command, Control};
use crate::identity::Identity;
use crate::page_store::PageStore;
use crate::warming;
use crate::watchdog::Watchdog;
use generation::Outcome;
use replica::Replica;

/// What the training thread works with for the whole run.
pub(crate) struct Trainer {
    pub(crate) run: RunConfig,
    /// The run's, as the ledger takes it.
    pub(crate) bs: NonZeroU32,
    pub(crate) limits: v1::Limits,
    pub(crate) device: Device,
    pub(crate) precision: model::Precision,
    pub(crate) advertised_host: String,
    pub(crate) store_port: u16,
    /// Brings the checkpoints to restore from.
    pub(crate) arriving: Arriving,
    pub(crate) connection: Connection,
    pub(crate) identity: Arc<Identity>,
    pub(crate) control: Arc<Control>,
    pub(crate) book: Arc<Book>,
    pub(crate) pages: PageStore,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// The process cannot go on training.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// What is left of a collective cannot be ended in this process.
    #[error("a collective could not be aborted; this process must be started again")]
    Hung,
    #[error(transparent)]
    Model(#[from] model::ModelError),
    #[error("cannot restore the run's state: {0}")]
    Restore(#[source] anyhow::Error),
}

impl Fatal {
    /// The code to leave with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Hung => Exit::Restart,
            Self::Model(_) | Self::Restore(_) => Exit::Failure,
        }
    }
}

/// Where a worker stands between generations.
struct Standing {
    generation: u64,
    member: bool,
    /// Whether it has not been ready yet.
    warming: bool,
}

impl Trainer {
    /// Works until it is told to stop.
    pub(crate) fn run(self) -> Result<(), Fatal> {
        let mut replica = Replica::new(&self.run, self.device)?;
        let mut writer = Writer::start(
            self.connection.clone(),
            Arc::clone(&self.identity),
            &self.limits,
            &self.runtime,
        );
        // Before it interrupts anyone.
        replica.warm_up(self.bs, self.run.sl, self.precision, self.device)?;
        self.warm_pages();
        // The generation that this worker was last in, and whether the
        // coordinator still counts it as a member.
        let mut standing = Standing {
            generation: 0,
            member: false,
            warming: true,
        };
        while let Ok(command) = self.commands.recv() {
            let (generation, form) = match command {
                Command::Form { generation, form } => (generation, form),
                Command::Stop => break,
                Command::Warm => {
                    if standing.warming {
                        standing.warming = false;
                        self.ready(0, None);
                    }
                    continue;
                }
                // Of a generation that this thread has left or never entered.
                Command::Rendezvous { .. } => continue,
                Command::Abort { generation } => {
                    let stale = generation <= standing.generation && !standing.member;
                    if generation >= standing.generation && !stale {
                        standing.generation = generation;
                        standing.member = false;
                        standing.warming = false;
                        self.left(generation, &replica, String::new());
                        self.ready(replica.applied_in, replica.applied);
                    }
                    continue;
                }
            };
            let outcome = self.generation(generation, &form, &mut replica, &mut writer)?;
            self.control.exit(generation);
            standing.generation = generation;
            standing.warming = false;
            standing.member = !matches!(outcome, Outcome::Left(_));
            match outcome {
                Outcome::Finished(cursor) => {
                    let finished = v1::Finished {
                        cursor: Some(cursor.into()),
                    };
                    self.control
                        .stand(generation, v1::Phase::Finished, Body::Finished(finished));
                }
                Outcome::Left(reason) => {
                    self.left(generation, &replica, reason);
                    self.ready(replica.applied_in, replica.applied);
                }
                Outcome::RunFailed(reason) => {
                    let failed = v1::RunFailed {
                        cursor: replica.applied.map(Into::into),
                        reason,
                    };
                    self.control
                        .stand(generation, v1::Phase::Finished, Body::RunFailed(failed));
                }
            }
        }
        Ok(())
    }

    /// Has the next pages fetched, and hears of it as a command: until then it can
    /// be told to stop.
    fn warm_pages(&self) {
        let (connection, identity) = (self.connection.clone(), Arc::clone(&self.identity));
        let (pages, control) = (self.pages.clone(), Arc::clone(&self.control));
        let sl = self.run.sl;
        // Longer than that, a network is no better for having been waited for.
        let patience = Duration::from_millis(self.limits.lease_ms);
        self.runtime.spawn(async move {
            warming::warm(&connection, &identity, &pages, sl, patience).await;
            control.command(Command::Warm);
        });
    }

    fn ready(&self, applied_generation: u64, applied: Option<Cursor>) {
        let ready = v1::Ready {
            applied: applied.map(Into::into),
            applied_generation,
        };
        let generation = self.control.progress().generation;
        self.control
            .stand(generation, v1::Phase::Ready, Body::Ready(ready));
    }

    fn left(&self, generation: u64, replica: &Replica, reason: String) {
        if reason.is_empty() {
            tracing::info!(generation, "left the generation");
        } else {
            tracing::warn!(generation, reason, "left the generation");
        }
        let left = v1::Left {
            applied: replica.applied.map(Into::into),
            reports: self.control.unacknowledged(),
            reason,
        };
        self.control.send(generation, Body::Left(left));
    }
}
