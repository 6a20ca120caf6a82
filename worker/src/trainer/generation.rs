//! One generation: forming its process group, agreeing on the state, stepping.

use std::num::NonZeroU32;
use std::time::Duration;

use c10d::{AbortHandle, Group, GroupOptions, Member, Network, Reducer, ReducerOptions, Store};
use ledger::Cursor;
use proto::v1;
use proto::v1::worker_message::Body;
use tch::Device;
use tokio_util::sync::CancellationToken;

use super::replica::Replica;
use super::step::Skips;
use super::throughput::Throughput;
use super::{Fatal, Trainer};
use crate::checkpoint::Writer;
use crate::control::Command;
use crate::feeder::{self, Fed, FeedError, Feeding};
use crate::store_port;

/// How long a pause may take to store its checkpoint.
const PAUSE_PATIENCE: Duration = Duration::from_secs(60);

/// How a generation ended for this worker.
pub(super) enum Outcome {
    /// The run's epochs are over and its last checkpoint is durable.
    Finished(Cursor),
    /// The generation is over; why, unless this worker was asked to leave.
    Left(String),
    /// No generation could do better.
    RunFailed(String),
}

/// Why a generation stops before the run does.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Told to leave: nothing went wrong here.
    #[error("told to leave")]
    Aborted,
    #[error(transparent)]
    Collective(c10d::Error),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Metrics(#[from] super::metrics::MetricsError),
    /// Nobody can restore from it as it arrives; the coordinator looks at it.
    #[error("checkpoint {id} cannot be restored: {problem}")]
    Checkpoint { id: String, problem: String },
    #[error("{0}")]
    Protocol(String),
    /// Every rank comes to the same conclusion.
    #[error("{0}")]
    Run(String),
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl From<c10d::Error> for Broken {
    fn from(error: c10d::Error) -> Self {
        match error {
            c10d::Error::Aborted(_) => Self::Aborted,
            c10d::Error::AbortHung(_) => Self::Fatal(Fatal::Hung),
            other => Self::Collective(other),
        }
    }
}

impl From<model::ModelError> for Broken {
    fn from(error: model::ModelError) -> Self {
        Self::Fatal(Fatal::Model(error))
    }
}

/// What belongs to one generation.
pub(super) struct World {
    pub(super) generation: u64,
    pub(super) rank: u32,
    pub(super) size: NonZeroU32,
    pub(super) group: Group,
    pub(super) reducer: Reducer,
    /// Cancelled when the generation is over.
    pub(super) cancelled: CancellationToken,
}

impl Trainer {
    /// Takes part in a generation until it ends. Only an error that no other
    /// generation of this process could avoid is an error here.
    pub(super) fn generation(
        &self,
        generation: u64,
        form: &v1::Form,
        replica: &mut Replica,
        writer: &mut Writer,
    ) -> Result<Outcome, Fatal> {
        let abort = AbortHandle::new();
        let Some(data) = self.control.enter(generation, abort.clone()) else {
            return Ok(Outcome::Left(String::new()));
        };
        self.watchdog.enter(&abort);
        let worked = self.work(generation, form, replica, writer, &abort, &data);
        self.watchdog.leave();
        // Whatever else waits on this generation must not outlive it.
        data.cancel();
        match worked {
            Ok(outcome) => Ok(outcome),
            Err(Broken::Fatal(fatal)) => Err(fatal),
            Err(Broken::Run(reason)) => Ok(Outcome::RunFailed(reason)),
            Err(Broken::Aborted) => Ok(Outcome::Left(String::new())),
            // What breaks while an abort is under way is its consequence.
            Err(_) if self.control.is_aborted(generation) => Ok(Outcome::Left(String::new())),
            Err(broken) => Ok(Outcome::Left(broken.to_string())),
        }
    }

    fn work(
        &self,
        generation: u64,
        form: &v1::Form,
        replica: &mut Replica,
        writer: &mut Writer,
        abort: &AbortHandle,
        data: &CancellationToken,
    ) -> Result<Outcome, Broken> {
        let base = form
            .base
            .map(Cursor::try_from)
            .and_then(Result::ok)
            .ok_or_else(|| Broken::Protocol("the new generation has no base".into()))?;
        let mut world = self.form(generation, form, base, replica, abort, data)?;
        self.agree_on_state(&world, form, base, replica)?;
        tracing::info!(
            generation,
            rank = world.rank,
            world = world.size,
            "generation formed at {base}"
        );

        let mut shares = feeder::start(
            Feeding {
                book: self.book.clone(),
                pages: self.pages.clone(),
                base,
                rank: world.rank,
                world: world.size,
                bs: self.bs,
                epochs: self.run.num_epochs,
            },
            data.clone(),
            &self.runtime,
        );
        writer.begin_at(base);
        let mut best = form.best.map(|best| best.loss);
        let mut skips = Skips::default();
        let mut throughput = Throughput::start();
        // Copying for a checkpoint comes after the step's report, and is counted
        // with the next one.
        let mut checkpointed = Duration::ZERO;
        loop {
            self.control.set_phase(v1::Phase::WaitingForData);
            let waiting = std::time::Instant::now();
            let fed = shares.blocking_recv().ok_or(Broken::Aborted)??;
            let waited = waiting.elapsed();
            let (step, share) = match fed {
                Fed::Step { step, share } => (step, share),
                Fed::End(cursor) => {
                    self.control.set_phase(v1::Phase::Checkpointing);
                    return Ok(match writer.finish(&self.runtime) {
                        Ok(()) => Outcome::Finished(cursor),
                        Err(error) => Outcome::RunFailed(error.to_string()),
                    });
                }
            };
            self.control.set_phase(v1::Phase::Training);
            let mut done = self.step(&mut world, replica, &step, &share)?;
            self.watchdog
                .stepped(Duration::from_secs_f64(done.times.total));
            done.times.data = waited.as_secs_f64();
            done.times.total += waited.as_secs_f64();
            done.times.checkpoint = std::mem::take(&mut checkpointed).as_secs_f64();
            replica.trained.add(&done.metrics);
            // Before anything that can be interrupted: it is applied, and a state
            // whose steps nobody reports is lost.
            self.report(&world, &done);
            throughput.note(&world, &done);
            skips.note(done.report.applied)?;
            if step.last_of_epoch {
                checkpointed = self.end_epoch(&mut world, replica, writer, &mut best)?;
            } else if world.rank == 0 && done.metrics.pausing == 0 && writer.is_due(step.after()) {
                checkpointed =
                    self.keep_checkpoint(&world, replica, writer, None, &replica.trained)?;
            }
            if done.metrics.pausing > 0 {
                tracing::info!(generation, "paused after {step}");
                if done.metrics.checkpointing > 0 && world.rank == 0 && !step.last_of_epoch {
                    self.keep_checkpoint(&world, replica, writer, None, &replica.trained)?;
                }
                // What is under way would be lost with this process, or was
                // asked for; otherwise nobody waits for it.
                self.control.set_phase(v1::Phase::Checkpointing);
                let asked = self.control.is_checkpointing();
                if asked && let Err(error) = writer.finish_within(PAUSE_PATIENCE, &self.runtime) {
                    tracing::error!("{error}");
                }
                return Ok(Outcome::Left(String::new()));
            }
        }
    }

    /// Meets the other members.
    fn form(
        &self,
        generation: u64,
        form: &v1::Form,
        base: Cursor,
        replica: &mut Replica,
        abort: &AbortHandle,
        cancelled: &CancellationToken,
    ) -> Result<World, Broken> {
        let (rank, world) = (form.rank, form.world_size);
        if rank >= world {
            return Err(Broken::Protocol(format!(
                "this worker is given rank {rank} of a generation of {world}"
            )));
        }
        let size = NonZeroU32::new(world).unwrap_or(NonZeroU32::MIN);
        if rank == 0 {
            // Before anyone waits in a collective.
            self.take_up_origin(form, base, replica, cancelled)?;
        }
        let timeout = Duration::from_millis(self.limits.collective_ms.max(1));
        let group = if world == 1 {
            self.announce_store(generation, String::new());
            Group::alone(self.device, abort)?
        } else {
            // Kept until the rendezvous has happened: rank 0's is the server.
            let mut served = None;
            if rank == 0 {
                let listener =
                    store_port::listen(self.store_port, timeout, || cancelled.is_cancelled())
                        .map_err(|error| {
                            Broken::Protocol(format!(
                                "cannot listen on --store-port {}: {error}",
                                self.store_port
                            ))
                        })?;
                let store = Store::serve(listener, timeout, abort)?;
                let address = format!("{}:{}", self.advertised_host, store.port());
                self.announce_store(generation, address);
                served = Some(store);
            }
            let address = self.rendezvous(generation)?;
            let store = match served {
                Some(store) => store,
                None => {
                    let (host, port) = split(&address)?;
                    Store::connect(host, port, timeout, abort)?
                }
            };
            let member = Member {
                rank: rank as usize,
                world: world as usize,
            };
            let options = GroupOptions {
                timeout,
                name: format!("generation-{generation}"),
                ..GroupOptions::default()
            };
            match self.device {
                Device::Cuda(index) => Group::nccl(&store, member, index, &options)?,
                _ => {
                    let network = Network::Address(self.advertised_host.clone());
                    Group::gloo(&store, member, &network, &options)?
                }
            }
        };
        let parameters: Vec<tch::Tensor> = replica
            .model
            .parameters()
            .iter()
            .map(|(_, parameter)| parameter.shallow_clone())
            .collect();
        let reducer = Reducer::new(&group, &parameters, ReducerOptions::default())?;
        Ok(World {
            generation,
            rank,
            size,
            group,
            reducer,
            cancelled: cancelled.clone(),
        })
    }

    fn announce_store(&self, generation: u64, address: String) {
        let listening = v1::StoreListening { address };
        self.control.stand(
            generation,
            v1::Phase::Forming,
            Body::StoreListening(listening),
        );
    }

    /// Waits to hear where rank 0's store listens.
    fn rendezvous(&self, generation: u64) -> Result<String, Broken> {
        loop {
            match self.commands.recv() {
                Ok(Command::Rendezvous {
                    generation: of,
                    address,
                }) if of == generation => return Ok(address),
                Ok(Command::Abort { generation: of }) if of >= generation => {
                    return Err(Broken::Aborted);
                }
                // The session is gone, or says good-bye; the trainer's loop
                // will find the channel closed.
                Ok(Command::Stop) | Err(_) => return Err(Broken::Aborted),
                Ok(Command::Form { generation: of, .. }) => {
                    tracing::error!(generation, "asked to form generation {of} while forming");
                }
                // Of an earlier generation.
                Ok(Command::Rendezvous { .. } | Command::Abort { .. } | Command::Warm) => {}
            }
        }
    }
}

fn split(address: &str) -> Result<(&str, u16), Broken> {
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| Broken::Protocol(format!("`{address}` is no rendezvous address")))
}
