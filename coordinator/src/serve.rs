//! A coordinator's life: planned, serving, gone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cli::{Exit, Failure, Refused};
use proto::v1;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::args::LeadArgs;
use crate::audit::order_of;
use crate::checkpoints::CheckpointFolder;
use crate::driver::{Driver, Handle};
use crate::events::EventLog;
use crate::loading;
use crate::machine::{Event, Machine, Outcome, Settings, Status, Straggling};
use crate::plan::{Checked, Plan, StateDir, workers};
use crate::progress::duration;
use crate::services::{Hotkeys, RunContext, Shared};
use crate::store::StoreError;

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long open calls may take to end once the coordinator has nothing more
/// to say.
const PATIENCE_WITH_CALLS: Duration = Duration::from_secs(5);

/// A coordinator that accepts connections.
pub struct Coordinator {
    address: SocketAddr,
    handle: Handle,
    checkpoints: CheckpointFolder,
    driver: JoinHandle<Result<Outcome, StoreError>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    stop_server: CancellationToken,
}

/// Leads a run until it is complete or `shutdown` is cancelled.
///
/// # Errors
/// Refused if flags, files or folders cannot be used; otherwise whatever made
/// it impossible to go on.
pub async fn run(args: LeadArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let coordinator = Coordinator::start(&args).await?;
    let address_file = match &args.address_file {
        Some(path) => Some(AddressFile::write(path, coordinator.address())?),
        None => None,
    };
    let outcome = coordinator.serve(shutdown).await;
    drop(address_file);
    match outcome? {
        Outcome::Complete | Outcome::Stopped => Ok(()),
        Outcome::Failed(reason) => {
            let error = anyhow::anyhow!("the run cannot go on: {reason}");
            Err(Failure::new(Exit::Diverged, error))
        }
    }
}

impl Coordinator {
    /// Plans the run and begins to accept connections.
    ///
    /// # Errors
    /// Refused if flags, files or folders cannot be used.
    pub async fn start(args: &LeadArgs) -> Result<Coordinator, Failure> {
        let args = &with_loaded_model(args).await?;
        let checked = Checked::new(args)?;
        let listener = listen(args.listen).await?;
        let address = listener
            .local_addr()
            .context("asking for the bound address")?;
        let plan = checked.plan(args).await?;
        // A loaded model is checkpoint zero by now.
        loading::discard(&args.state_dir);
        announce(&plan);
        let notices = plan.notices(address)?;
        let Plan {
            config,
            store,
            history,
            packed,
            checkpoints,
            ..
        } = plan;
        let event_log = EventLog::new(store.event_bounds()?, args.keep_events);
        let settings = settings(args, &config)?;
        let order = order_of(&config).map_err(Refused::because)?;
        let started = Machine::start(settings, order, history, 0);
        let (driver, handle) = Driver::new(
            started,
            store.clone(),
            checkpoints.clone(),
            &config,
            (event_log, notices),
        );
        let shared = Shared {
            handle: handle.clone(),
            run: Arc::new(RunContext {
                config_json: config.to_json(),
                config,
                limits: limits(args),
            }),
            store,
            packed,
            checkpoints: checkpoints.clone(),
            hotkeys: Hotkeys::default(),
        };
        let stop_server = CancellationToken::new();
        let server = tokio::spawn(serve_until(listener, shared, stop_server.clone())?);
        Ok(Coordinator {
            address,
            handle,
            checkpoints,
            driver: tokio::spawn(driver.run()),
            server,
            stop_server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads until the run is complete and nobody needs the coordinator any
    /// more, or until `shutdown` is cancelled and the workers have been told.
    ///
    /// # Errors
    /// If something could not be made durable, or the server failed.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<Outcome, Failure> {
        let Coordinator {
            handle,
            checkpoints,
            mut driver,
            mut server,
            stop_server,
            ..
        } = self;
        let asking = tokio::spawn({
            let handle = handle.clone();
            async move {
                shutdown.cancelled().await;
                // A driver that has ended needs no asking.
                let _ = handle.tell(Event::ShutdownAsked).await;
            }
        });
        let outcome = tokio::select! {
            outcome = &mut driver => outcome.context("the driver stopped")?,
            served = &mut server => {
                asking.abort();
                driver.abort();
                served.context("the server stopped")?.context("serving")?;
                return Err(anyhow::anyhow!("the server stopped").into());
            }
        };
        asking.abort();
        stop_server.cancel();
        if tokio::time::timeout(PATIENCE_WITH_CALLS, &mut server)
            .await
            .is_err()
        {
            server.abort();
        }
        tokio::task::spawn_blocking(move || checkpoints.sweep(true))
            .await
            .context("removing checkpoints")?;
        summarize(&handle.status());
        Ok(outcome?)
    }
}

/// The flags with `--load_uid` and `--load_best` turned into a folder. A run that
/// is there has its initial weights already, whatever has been committed since.
async fn with_loaded_model(args: &LeadArgs) -> Result<LeadArgs, Failure> {
    let mut args = args.clone();
    if StateDir(&args.state_dir).store().exists() {
        if loading::is_asked(&args) {
            tracing::info!("--load_uid and --load_best chose the model when the run began");
        }
    } else if let Some(directory) = loading::fetch(&args).await? {
        args.load.load_model_dir = Some(directory);
    }
    Ok(args)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|error| {
        Refused::new(format!(
            "--listen {address}: {error}; stop the program that uses the port, or give another \
             (port 0 lets the system choose)"
        ))
    })
}

/// The server, ready to be polled.
fn serve_until(
    listener: TcpListener,
    shared: Shared,
    stop: CancellationToken,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static, Failure> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("building gRPC reflection")?;
    let (health, health_service) = tonic_health::server::health_reporter();
    let (cluster, checkpoints) = (shared.cluster(), shared.checkpoints());
    let (operator, publishing) = (shared.operator(), shared.publishing());
    Ok(async move {
        health
            .set_serving::<v1::cluster_server::ClusterServer<Shared>>()
            .await;
        health
            .set_serving::<v1::checkpoints_server::CheckpointsServer<Shared>>()
            .await;
        health
            .set_serving::<v1::operator_server::OperatorServer<Shared>>()
            .await;
        health
            .set_serving::<v1::publishing_server::PublishingServer<Shared>>()
            .await;
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(health_service)
            .add_service(reflection)
            .add_service(cluster)
            .add_service(checkpoints)
            .add_service(operator)
            .add_service(publishing)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.cancelled_owned(),
            )
            .await
    })
}

fn settings(args: &LeadArgs, config: &run::RunConfig) -> Result<Settings, Refused> {
    let global_batch = std::num::NonZeroU32::new(config.global_batch)
        .ok_or_else(|| Refused::new("--global-batch 0: a step has at least one sequence"))?;
    let defaults = Settings::new(workers(args)?, global_batch, config.num_epochs);
    let heartbeat_ms = args.times.heartbeat_ms;
    Ok(Settings {
        min_workers: args.min_workers,
        max_workers: args.max_workers.unwrap_or(defaults.max_workers),
        straggling: Straggling {
            // What is known of a worker is as old as its last heartbeat.
            floor_ms: heartbeat_ms.saturating_mul(3),
            silence_ms: heartbeat_ms.saturating_mul(5) / 2,
            ..defaults.straggling
        },
        lease_ms: args.times.lease_ms,
        collective_ms: args.times.collective_ms,
        // A step may take as long as its slowest collective.
        pause_ms: args.times.collective_ms.max(defaults.pause_ms),
        page_lease_ms: args.times.page_lease_ms,
        rows_ahead_ms: args.times.rows_ahead_ms,
        keep_checkpoints: args.checkpoints.keep,
        keep_serving: args.keep_serving,
        ..defaults
    })
}

fn limits(args: &LeadArgs) -> v1::Limits {
    v1::Limits {
        heartbeat_ms: args.times.heartbeat_ms,
        lease_ms: args.times.lease_ms,
        collective_ms: args.times.collective_ms,
        rows_ahead_ms: args.times.rows_ahead_ms,
        checkpoint_steps: args.checkpoints.every_steps,
        checkpoint_ms: args.checkpoints.every_ms.0,
    }
}

/// What the run is; that it began or goes on is an event.
fn announce(plan: &Plan) {
    let config = &plan.config;
    tracing::info!(
        parameters = layout::parameter_count(&config.model),
        data = %config.data.source,
        pages = config.data.pages(),
        "run {}",
        config.run_id
    );
}

fn summarize(status: &Status) {
    let best = match &status.best {
        Some(checkpoint) => match checkpoint.evaluation {
            Some(evaluation) => format!("best loss {:.4} at {}", evaluation.loss, checkpoint.id),
            None => format!("checkpoint {}", checkpoint.id),
        },
        None => "no checkpoint".to_owned(),
    };
    tracing::info!(
        steps = status.cursor.step,
        sequences = status.cursor.position,
        pages = status.pages_packed,
        skipped = status.pages_skipped,
        "{} after {}: {best}",
        status.state,
        duration(status.uptime)
    );
}

/// A file with the bound address, for as long as it is true.
struct AddressFile(PathBuf);

impl AddressFile {
    fn write(path: &Path, address: SocketAddr) -> Result<AddressFile, Refused> {
        // Those who read it connect to this machine.
        let reachable = match address.ip().is_unspecified() {
            true => SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port()),
            false => address,
        };
        layout::replace_file(path, |file| writeln!(file, "{reachable}"))
            .map_err(|error| Refused::new(format!("--address-file: {error}")))?;
        Ok(AddressFile(path.to_owned()))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // Someone may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}
