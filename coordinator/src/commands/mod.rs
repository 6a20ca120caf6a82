//! What a person asks: of a running coordinator, or of the state of one that
//! has stopped.

mod audit;
mod events;
mod status;
mod steps;

use std::path::Path;

use cli::{Exit, Failure, OrExit as _, Refused};
use client::{Address, ConnectOptions, Connection};

pub use audit::audit;
pub use events::events;
pub use status::status;
pub use steps::steps;

use crate::packed::PackedPages;
use crate::plan::{StateDir, open_store};
use crate::store::RunStore;

async fn connect(address: &Address) -> Result<Connection, Failure> {
    client::connect(address, &ConnectOptions::default())
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

/// The state of a coordinator that has stopped.
struct StoppedRun {
    store: RunStore,
    packed: PackedPages,
    config: run::RunConfig,
}

impl StoppedRun {
    fn open(directory: &Path) -> Result<StoppedRun, Failure> {
        let state_dir = StateDir(directory);
        let nothing = || {
            Refused::new(format!(
                "--state-dir {}: there is no run",
                directory.display()
            ))
        };
        if !state_dir.store().exists() {
            return Err(nothing().into());
        }
        let store = open_store(&state_dir)?;
        let record = store.run()?.ok_or_else(nothing)?;
        Ok(StoppedRun {
            store,
            packed: PackedPages::open(&state_dir.packed())?,
            config: record.config,
        })
    }
}
