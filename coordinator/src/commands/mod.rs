//! What a person asks: of a running coordinator, or of the state that it keeps.

mod audit;
mod backup;
mod events;
mod restore;
mod status;
mod steps;

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use cli::{Exit, Failure, OrExit as _, Refused};
use client::{Address, Addresses, ConnectOptions, Connection};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use audit::audit;
pub use backup::backup;
pub use events::events;
pub use restore::restore;
pub use status::status;
pub use steps::steps;

use crate::args::SubjectArgs;
use crate::packed::PackedPages;
use crate::plan::open_store;
use crate::state_dir::StateDir;
use crate::store::{Etcd, RunStore, StoreError};

/// Does work until it is done or a signal comes: then the command has failed, for
/// whoever started it shall not take what there is for the whole. `before_what`
/// says how far it had not come.
///
/// Only for work that may be broken off anywhere; a signal is not waited with.
async fn unless_interrupted<T>(
    shutdown: &CancellationToken,
    before_what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match shutdown.run_until_cancelled(work).await {
        Some(done) => done,
        None => Err(Failure::new(
            Exit::Interrupted,
            anyhow::anyhow!("interrupted {before_what}"),
        )),
    }
}

/// Does what blocks on a thread of its own, for which the process does not wait
/// when a signal ends it (as it would for one of the runtime's).
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(move || {
            // Nobody is left to tell when the command was interrupted.
            let _ = answer.send(panic::catch_unwind(AssertUnwindSafe(work)));
        })
        .or_exit(Exit::Failure)?;
    match answered.await.or_exit(Exit::Failure)? {
        Ok(done) => Ok(done),
        Err(panicked) => panic::resume_unwind(panicked),
    }
}

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

/// A store's failure, told apart from a store that is out of reach.
fn store_failed(error: impl Into<anyhow::Error>) -> Failure {
    let error: anyhow::Error = error.into();
    let is_out_of_reach = error.chain().any(|cause| {
        let unanswered = cause.downcast_ref::<etcd::Error>();
        let uncertain = cause.downcast_ref::<StoreError>();
        unanswered.is_some_and(etcd::Error::is_unanswered)
            || matches!(uncertain, Some(StoreError::Uncertain { .. }))
    });
    match is_out_of_reach {
        true => Failure::new(Exit::Unreachable, error),
        false => error.into(),
    }
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
        let reading = store.clone();
        let record = aside(move || reading.run()).await?.map_err(store_failed)?;
        let record = record.ok_or_else(|| no_run(&place))?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backup::{Backup, BackupError};
    use crate::store::{Batch, Keyspace, Pair};

    /// An etcd that goes away in the middle of a scan, or says no.
    struct Failing(etcd::Error);

    impl Keyspace for Failing {
        fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            Err(self.0.clone().into())
        }

        fn scan(&self, _from: &[u8], _to: &[u8]) -> Result<Vec<Pair>, StoreError> {
            Err(self.0.clone().into())
        }

        fn commit(&self, _batch: Batch) -> Result<(), StoreError> {
            Err(self.0.clone().into())
        }
    }

    fn unanswered() -> etcd::Error {
        etcd::Error::Unanswered {
            endpoints: "h:1".to_owned(),
            waited: Duration::from_secs(1),
            reason: "connection reset".to_owned(),
        }
    }

    fn denied() -> etcd::Error {
        etcd::Error::Refused {
            code: tonic::Code::PermissionDenied,
            message: "permission denied".to_owned(),
        }
    }

    #[test]
    fn a_store_out_of_reach_is_told_from_one_that_refuses() {
        let backed_up = |error| {
            let failed = Backup::of(&Failing(error)).unwrap_err();
            super::backup::backup_failed(failed).exit()
        };
        assert_eq!(backed_up(unanswered()), Exit::Unreachable);
        assert_eq!(backed_up(denied()), Exit::Failure);
        let nothing = super::backup::backup_failed(BackupError::NoRun);
        assert_eq!(nothing.exit(), Exit::Refused);

        let read = |error| store_failed(RunStore::new(Failing(error)).run().unwrap_err()).exit();
        assert_eq!(read(unanswered()), Exit::Unreachable);
        assert_eq!(read(denied()), Exit::Failure);
    }

    #[tokio::test]
    async fn an_interrupted_command_has_not_succeeded_and_says_how_far_it_came() {
        let shutdown = CancellationToken::new();
        let done = unless_interrupted(&shutdown, "before", aside(|| 7)).await;
        assert_eq!(done.unwrap(), 7);
        shutdown.cancel();
        let never = std::future::pending::<Result<(), Failure>>();
        let ended = unless_interrupted(&shutdown, "before it began", never).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit(), Exit::Interrupted);
        assert_eq!(failure.to_string(), "error: interrupted before it began");
    }
}
