//! From flags to a worker at work, and to its exit.

use std::net::{IpAddr, ToSocketAddrs as _, UdpSocket};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use cli::{Exit, Failure, Refused};
use client::{Address, Addresses, ConnectOptions, Connection};
use ledger::{Order, OrderConfig};
use proto::v1;
use run::RunConfig;
use tch::Device;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::args::TrainArgs;
use crate::arriving::Arriving;
use crate::book::Book;
use crate::control::{Command, Control};
use crate::device::{self, DeviceChoice};
use crate::identity::Identity;
use crate::page_store::PageStore;
use crate::prepare::Preparation;
use crate::scratch::Scratch;
use crate::session::{Ended, Introduction, Session, join};
use crate::trainer::{Fatal, Trainer};
use crate::watchdog::Watchdog;
use crate::{source, store_port, supervised, supervisor};

/// Trains until the run is complete, or `shutdown` asks this worker to drain.
///
/// # Errors
/// Flags that name a device, folder, port or host that cannot be used are
/// refused before the coordinator is asked anything.
pub async fn run(args: TrainArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    if args.supervised {
        supervised::leave_with_supervisor().context("starting to watch the supervisor")?;
    }
    let coordinators: Addresses = args
        .coordinator
        .join(",")
        .parse()
        .map_err(|error| Refused::new(format!("--coordinator: {error}")))?;
    let devices = match (args.device, device::stand_ins()) {
        (DeviceChoice::AllGpus, Some(count)) => vec![Device::Cpu; count],
        (choice, _) => choice
            .resolve(device::usable_gpus())
            .map_err(Refused::because)?,
    };
    cli::writable_directory("--cache-dir", &args.cache_dir)?;
    let ports = store_port::of_each(args.store_port, devices.len())?;
    let patience = match args.supervised {
        // The supervisor found it free; refused now, its GPU would be lost.
        true => store_port::Patience::Endless,
        false => store_port::Patience::ForPredecessor,
    };
    match shutdown
        .run_until_cancelled(store_port::expect_free(&ports, patience))
        .await
    {
        Some(free) => free?,
        None => return Ok(()),
    }
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if args.device == DeviceChoice::AllGpus {
        let name = args.name.as_deref().unwrap_or(&host_name);
        return supervisor::run(&devices, &ports, name, shutdown).await;
    }
    let device = devices[0];
    let advertised_host = match &args.advertise {
        Some(host) => host.clone(),
        None => facing_any(&coordinators)
            .with_context(|| {
                format!("finding the address that faces {coordinators}; give --advertise")
            })?
            .to_string(),
    };
    if let Some(threads) = args.threads {
        tch::set_num_threads(threads.try_into().unwrap_or(i32::MAX));
    }
    let precision = args.precision.on(device);
    let device_name = device::name(device);
    let introduction = Introduction {
        name: args
            .name
            .clone()
            .unwrap_or_else(|| format!("{host_name}-{}", device_name.replace(':', ""))),
        instance: instance(),
        device: v1::Device {
            name: device_name,
            precision: precision.to_string(),
            threads: tch::get_num_threads().try_into().unwrap_or(0),
        },
        advertised_host,
    };
    let worker = Starting {
        args,
        coordinators,
        device,
        precision,
        introduction,
    };
    match shutdown.run_until_cancelled(worker.join()).await {
        Some(joined) => joined?.work_watched(shutdown.clone()).await,
        None => Ok(()),
    }
}

/// The local address of the way to the first coordinator that there is a way to.
fn facing_any(coordinators: &Addresses) -> std::io::Result<IpAddr> {
    let mut facing = coordinators.iter().map(facing);
    let first = facing
        .next()
        .unwrap_or_else(|| Err(std::io::Error::other("there is no coordinator")));
    first.or_else(|error| facing.find_map(Result::ok).ok_or(error))
}

/// The local address of the way to `address`. Sends nothing.
fn facing(address: &Address) -> std::io::Result<IpAddr> {
    let peer = (address.host(), address.port())
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let any: IpAddr = if peer.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// Tells this process from every other that ever had its name.
fn instance() -> String {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{}", std::process::id(), since_epoch.as_nanos())
}

/// A worker whose flags are in order.
struct Starting {
    args: TrainArgs,
    coordinators: Addresses,
    device: Device,
    precision: model::Precision,
    introduction: Introduction,
}

/// A worker that knows its run.
struct Joined {
    starting: Starting,
    connection: Connection,
    identity: Arc<Identity>,
    /// The coordinator's answer.
    joined: v1::Context,
    limits: v1::Limits,
    watchdog: Arc<Watchdog>,
    run: RunConfig,
    order: Order,
    preparer: Arc<pages::Preparer>,
}

impl Starting {
    async fn join(self) -> Result<Joined, Failure> {
        let connection = Connection::lazy(&self.coordinators, &ConnectOptions::default())?;
        let response = join(&connection, &self.introduction, &v1::Context::default()).await?;
        let context = response.context.unwrap_or_default();
        let run = RunConfig::from_json(&response.run_config)
            .context("the coordinator's run configuration cannot be read")?;
        tracing::info!(
            run = context.run_id,
            worker = context.worker_id,
            device = self.introduction.device.name,
            precision = self.introduction.device.precision,
            "joined"
        );
        let order = Order::new(OrderConfig {
            seed: run.seed,
            total_pages: response.total_pages,
            // Checked with the run.
            evaluation_pages: run.eval_pages.try_into().unwrap_or(u32::MAX),
            pages_per_epoch: run.pages_per_epoch,
        })
        .context("the coordinator's order of pages cannot be made")?;
        let preparer = {
            let cache = pages::CacheConfig {
                folder: self.args.cache_dir.join("pages"),
                max_bytes: self.args.cache_mib.saturating_mul(1 << 20),
            };
            source::preparer(&self.args.local, cache, &run).await?
        };
        Ok(Joined {
            identity: Arc::new(Identity::new(&context)),
            joined: context,
            watchdog: Arc::new(Watchdog::new(&response.limits.unwrap_or_default())),
            limits: response.limits.unwrap_or_default(),
            starting: self,
            connection,
            run,
            order,
            preparer: Arc::new(preparer),
        })
    }
}

impl Joined {
    /// Works, until the device no longer answers.
    async fn work_watched(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let watchdog = Arc::clone(&self.watchdog);
        tokio::select! {
            worked = self.work(shutdown) => worked,
            waited = watchdog.stuck() => Err(Failure::new(
                Exit::Restart,
                anyhow::anyhow!(
                    "the device has not answered for {:.1} s after its generation ended; this \
                     process must be started again",
                    waited.as_secs_f64()
                ),
            )),
        }
    }

    async fn work(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let (commands, trainer_commands) = std::sync::mpsc::channel();
        let lease = std::time::Duration::from_millis(self.limits.lease_ms.max(1));
        let control = Control::new(&self.joined, lease, commands.clone());
        // Validated with the run: neither is 0.
        let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let global_batch = positive(self.run.global_batch);
        let book = Arc::new(Book::new(self.order.clone(), global_batch));
        let pages = PageStore::new(self.connection.clone(), Arc::clone(&self.identity))
            .preparing_with(Arc::clone(&self.preparer));
        let (assignments, preparations) = mpsc::unbounded_channel();
        let background = CancellationToken::new();
        // However this function ends, nothing of it goes on.
        let _background = background.clone().drop_guard();

        let preparation = Preparation {
            preparer: Arc::clone(&self.preparer),
            store: pages.clone(),
            control: Arc::clone(&control),
        };
        tokio::spawn(preparation.run(preparations, background.clone()));

        let trainer = Trainer {
            bs: positive(self.run.bs),
            run: self.run.clone(),
            limits: self.limits,
            device: self.starting.device,
            precision: self.starting.precision,
            advertised_host: self.starting.introduction.advertised_host.clone(),
            store_port: self.starting.args.store_port,
            arriving: Arriving::new(Scratch::new(self.starting.args.cache_dir.clone())),
            connection: self.connection.clone(),
            identity: Arc::clone(&self.identity),
            control: Arc::clone(&control),
            book: Arc::clone(&book),
            pages,
            watchdog: Arc::clone(&self.watchdog),
            commands: trainer_commands,
            runtime: tokio::runtime::Handle::current(),
        };
        let (trained, mut trainer_ended) = oneshot::channel();
        thread::Builder::new()
            .name("trainer".into())
            .spawn(move || {
                let result = trainer.run();
                let _ = trained.send(result);
            })
            .context("starting the training thread")?;

        let closing = CancellationToken::new();
        let session = Session {
            connection: self.connection,
            introduction: Introduction {
                // Ranks follow names: it comes back under the one it was given.
                name: self.identity.worker_id().to_owned(),
                ..self.starting.introduction
            },
            identity: self.identity,
            limits: self.limits,
            control: Arc::clone(&control),
            book,
            preparer: assignments,
        };
        let mut talking = tokio::spawn(session.run(closing.clone()));

        let ended = tokio::select! {
            ended = &mut talking => ended.context("the session's task died")?,
            trained = &mut trainer_ended => {
                // It only ends by itself when it cannot go on.
                let result = trained.context("the training thread died")?;
                closing.cancel();
                let _ = talking.await;
                return finish(result);
            }
            () = shutdown.cancelled() => {
                drain(&control, &commands, &mut trainer_ended).await;
                closing.cancel();
                let _ = talking.await;
                tracing::info!("drained");
                return Ok(());
            }
        };
        control.quit("the worker is leaving");
        let _ = commands.send(Command::Stop);
        let trained = trainer_ended.await.context("the training thread died")?;
        match ended? {
            Ended::Closed => finish(trained),
            Ended::Replaced { new_name } => {
                finish(trained)?;
                Err(Failure::new(
                    Exit::Restart,
                    anyhow::anyhow!(
                        "another process works under this worker's name; started again, this one \
                         would be {new_name}. Give every worker a --name of its own"
                    ),
                ))
            }
            Ended::Stopped(reason, message) => {
                finish(trained)?;
                stopped(reason, message)
            }
        }
    }
}

/// Leaves the cluster in good order: after a step of everyone's where this
/// worker is in a generation.
async fn drain(
    control: &Control,
    commands: &std::sync::mpsc::Sender<Command>,
    trainer: &mut oneshot::Receiver<Result<(), Fatal>>,
) {
    tracing::info!("draining; a second signal leaves at once");
    // The ranks agree on the step among themselves, with the coordinator away
    // as well.
    control.drain("the worker was told to stop".to_owned());
    // The command is read once the trainer is out of its generation.
    let _ = commands.send(Command::Stop);
    let _ = trainer.await;
}

fn finish(trained: Result<(), Fatal>) -> Result<(), Failure> {
    trained.map_err(|fatal| {
        let exit = fatal.exit();
        Failure::new(exit, fatal)
    })
}

fn stopped(reason: v1::stop::Reason, message: String) -> Result<(), Failure> {
    match reason {
        v1::stop::Reason::Complete => {
            tracing::info!("the run is complete");
            Ok(())
        }
        v1::stop::Reason::Shutdown => {
            tracing::info!("the coordinator is shutting down: {message}");
            Ok(())
        }
        v1::stop::Reason::Refused => Err(Refused::new(message).into()),
        v1::stop::Reason::Failed | v1::stop::Reason::Unspecified => {
            Err(Failure::new(Exit::Diverged, anyhow::anyhow!(message)))
        }
    }
}
