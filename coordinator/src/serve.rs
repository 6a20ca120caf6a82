//! A coordinator's life: planned, serving, gone. Of one that has its store to
//! itself; where several share one, see [`crate::standby`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli::{Exit, Failure, Refused};
use tokio_util::sync::CancellationToken;

use crate::args::LeadArgs;
use crate::election::ByEtcd;
use crate::lead::Lead;
use crate::loading;
use crate::machine::Outcome;
use crate::mirror::{Elsewhere, Holdings};
use crate::plan::{Checked, Plan, open_store};
use crate::server::{Roles, Server, Tenure, listen};
use crate::services::{Coordinating, Standbys};
use crate::standby;
use crate::state_dir::StateDir;
use crate::store::{Etcd, EtcdConfig, StoreError};

/// The pause before etcd is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// A coordinator that accepts connections.
pub struct Coordinator {
    server: Server,
    lead: Lead,
}

/// Leads a run until it is complete or `shutdown` is cancelled.
///
/// # Errors
/// Refused if flags, files or folders cannot be used; otherwise whatever made
/// it impossible to go on.
pub async fn run(args: LeadArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    if let Some(config) = args.store.etcd_config()? {
        let lease = args.election.lease();
        let connected = shutdown.run_until_cancelled(connect(&config)).await;
        return match connected.transpose()? {
            Some(etcd) => standby::run(args, ByEtcd { etcd, lease }, shutdown).await,
            None => Ok(()),
        };
    }
    // In a task, for parts of it block, and a signal ends it wherever it is: no
    // run is led yet, and what is on disk is what a start that was killed leaves,
    // which the next one goes on from.
    let starting = args.clone();
    let starting = tokio::spawn(async move { Coordinator::start(&starting).await });
    let Some(started) = shutdown.run_until_cancelled(starting).await else {
        tracing::info!("stopped before the run was led");
        return Ok(());
    };
    let coordinator = match started {
        Ok(started) => started?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let address_file = match &args.address_file {
        Some(path) => Some(AddressFile::write(path, coordinator.address())?),
        None => None,
    };
    let outcome = coordinator.serve(shutdown).await;
    drop(address_file);
    conclusion(outcome?)
}

/// Waits for an etcd that is not there yet.
async fn connect(config: &EtcdConfig) -> Result<Etcd, StoreError> {
    loop {
        match Etcd::connect(config).await {
            Err(error) if error.may_pass() => {
                tracing::warn!("cannot reach etcd: {error}; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// What the process ends with.
pub(crate) fn conclusion(outcome: Outcome) -> Result<(), Failure> {
    match outcome {
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
        let run_exists = run_exists(&StateDir(&args.state_dir))?;
        let args = &with_loaded_model(args, run_exists).await?;
        let checked = Checked::new(args, run_exists)?;
        let listener = listen(args.listen).await?;
        let plan = checked.plan(args).await?;
        // A loaded model is checkpoint zero by now.
        loading::discard(&args.state_dir);
        let roles = Roles::standby();
        let holdings = Holdings::alone(&args.state_dir);
        let standbys = Standbys::default();
        let coordinating = Coordinating {
            roles: roles.clone(),
            holdings: holdings.clone(),
            standbys: standbys.clone(),
            address: String::new(),
        };
        let server = Server::start(listener, roles, coordinating).await?;
        announce(&plan);
        let elsewhere = Elsewhere::new(standbys, holdings);
        let address = server.address().to_string();
        let tenure = Tenure::for_life();
        let lead = Lead::begin(args, plan, &address, None, tenure, elsewhere)?;
        server.lead(lead.leading()).await;
        Ok(Coordinator { server, lead })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Leads until the run is complete and nobody needs the coordinator any
    /// more, or until `shutdown` is cancelled and the workers have been told.
    ///
    /// # Errors
    /// If something could not be made durable, or the server failed.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<Outcome, Failure> {
        let Coordinator {
            mut server,
            mut lead,
        } = self;
        let mut asked = false;
        let outcome = loop {
            tokio::select! {
                outcome = lead.ended() => break outcome.map_err(anyhow::Error::from)?,
                failure = server.failed() => return Err(failure),
                () = shutdown.cancelled(), if !asked => {
                    asked = true;
                    lead.ask_to_stop().await;
                }
            }
        };
        server.stop().await;
        lead.conclude().await?;
        Ok(outcome?)
    }
}

/// Whether a state directory has a run, and not only the store that a first start
/// made before it was cut short.
fn run_exists(state_dir: &StateDir<'_>) -> Result<bool, Failure> {
    if !state_dir.store().exists() {
        return Ok(false);
    }
    let run = open_store(state_dir)?.run().map_err(Refused::because)?;
    Ok(run.is_some())
}

/// The flags with `--load_uid` and `--load_best` turned into a folder. A run that
/// is there has its initial weights already, whatever has been committed since.
pub(crate) async fn with_loaded_model(
    args: &LeadArgs,
    run_exists: bool,
) -> Result<LeadArgs, Failure> {
    let mut args = args.clone();
    if run_exists {
        if loading::is_asked(&args) {
            tracing::info!("--load_uid and --load_best chose the model when the run began");
        }
    } else if let Some(directory) = loading::fetch(&args).await? {
        args.load.load_model_dir = Some(directory);
    }
    Ok(args)
}

/// What the run is; that it began or goes on is an event.
pub(crate) fn announce(plan: &Plan) {
    let config = &plan.config;
    tracing::info!(
        parameters = layout::parameter_count(&config.model),
        data = %config.data.source,
        pages = config.data.pages(),
        "run {}",
        config.run_id
    );
}

/// A file with the bound address, for as long as it is true.
pub(crate) struct AddressFile(PathBuf);

impl AddressFile {
    pub(crate) fn write(path: &Path, address: SocketAddr) -> Result<AddressFile, Refused> {
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
