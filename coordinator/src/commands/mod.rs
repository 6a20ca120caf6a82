//! What a person asks: of a running coordinator, or of the state that it keeps.

mod audit;
mod backup;
mod events;
mod restore;
mod status;
mod steps;

use cli::{Exit, Failure, OrExit as _, Refused};
use client::{Address, Addresses, ConnectOptions, Connection};

pub use audit::audit;
pub use backup::backup;
pub use events::events;
pub use restore::restore;
pub use status::status;
pub use steps::steps;

use crate::args::SubjectArgs;
use crate::packed::PackedPages;
use crate::plan::{StateDir, open_store};
use crate::store::{Etcd, RunStore};

/// Connects to the one of several coordinators that leads, or to whichever
/// answers.
async fn connect(addresses: &[Address]) -> Result<Connection, Failure> {
    let addresses = Addresses::of(addresses.iter().cloned())
        .ok_or_else(|| Refused::new("--coordinator: give HOST:PORT"))?;
    client::connect(addresses, &ConnectOptions::default())
        .await
        .or_exit(Exit::Unreachable)
}

/// A call's failure, told apart from a coordinator that is not there.
fn call_failed(status: tonic::Status) -> Failure {
    let exit = match status.code() {
        tonic::Code::Unavailable => Exit::Unreachable,
        _ => Exit::Failure,
    };
    Failure::new(exit, anyhow::anyhow!("{}", status.message()))
}

/// A run whose records are read where they are kept.
struct StoredRun {
    store: RunStore,
    /// `None` where no `--state-dir` says where they are.
    packed: Option<PackedPages>,
    config: run::RunConfig,
}

impl StoredRun {
    /// The run that the flags name; `None` if they name a running coordinator.
    async fn open(subject: &SubjectArgs) -> Result<Option<StoredRun>, Failure> {
        let etcd = subject.store.etcd_config()?;
        let state_dir = subject.state_dir.as_deref().map(StateDir);
        let (store, place) = match (etcd, &state_dir) {
            (Some(config), _) => {
                let etcd = Etcd::connect(&config).await.or_exit(Exit::Unreachable)?;
                (RunStore::new(etcd.reader()), "--store".to_owned())
            }
            (None, Some(state_dir)) => {
                let place = format!("--state-dir {}", state_dir.0.display());
                if !state_dir.store().exists() {
                    return Err(no_run(&place).into());
                }
                (open_store(state_dir)?, place)
            }
            (None, None) if subject.store.store.is_some() => {
                return Err(Refused::new("--store redb: add its --state-dir").into());
            }
            (None, None) => return Ok(None),
        };
        let record = store.run()?.ok_or_else(|| no_run(&place))?;
        // A coordinator may be at work there.
        let packed = state_dir.map(|state_dir| PackedPages::at(&state_dir.packed()));
        Ok(Some(StoredRun {
            store,
            packed,
            config: record.config,
        }))
    }
}

fn no_run(place: &str) -> Refused {
    Refused::new(format!("{place}: there is no run"))
}
