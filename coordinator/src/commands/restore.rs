//! `coordinator restore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cli::{Exit, Failure, OrExit as _, Refused};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::backup::{backup_failed, records_of, show};
use super::{aside, unless_interrupted};
use crate::args::RestoreArgs;
use crate::backup::{Backup, BackupError, Copied, Tree};
use crate::plan::open_embedded;
use crate::state_dir::{StateDir, StoreKind};
use crate::store::{Embedded, Etcd, EtcdConfig, Keyspace, Leadership, RunStore};

/// How long after a restore was killed another leader can be elected.
const LEASE: Duration = Duration::from_secs(10);

/// Puts a backup into a store, and the files that came with it into their places.
///
/// # Errors
/// Refused if the backup is damaged, the store is in use, or it holds something
/// and `--force` is not given; if something cannot be read or written; if a signal
/// came before the records were being written. Then everything is as it was,
/// unless the error says otherwise.
pub async fn restore(args: RestoreArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let etcd = args.store.etcd_config()?;
    let kind = match etcd {
        Some(_) => StoreKind::Etcd,
        None => StoreKind::Redb,
    };
    let backup = Backup::read(&records_of(&args.from)).map_err(Refused::because)?;
    if let Some(state_dir) = args.state_dir.as_deref().map(StateDir)
        && !args.force
    {
        state_dir.check_run(&backup.about.run_id)?;
    }
    let is_new = args.state_dir.as_ref().is_some_and(|dir| !dir.exists());
    if let Some(state_dir) = &args.state_dir {
        cli::writable_directory("--state-dir", state_dir)?;
    }
    let about = backup.about.clone();
    let restored = holding_the_store(etcd, backup, &args, &shutdown).await;
    if let (Err(_), true, Some(state_dir)) = (&restored, is_new, &args.state_dir) {
        // Made for this alone; one that holds something stays.
        let _ = fs::remove_dir(state_dir);
    }
    let Restored {
        replaced,
        packed,
        checkpoints,
    } = restored?;
    if let Some(state_dir) = args.state_dir.as_deref().map(StateDir) {
        state_dir.set_owner(&about.run_id, kind)?;
    }
    let report = json!({
        "run_id": about.run_id,
        "records": about.records,
        "replaced": replaced,
        "packed": packed,
        "checkpoints": checkpoints,
    });
    cli::print(|out| {
        if args.json {
            return writeln!(out, "{report}");
        }
        writeln!(
            out,
            "{} records of {} are restored",
            about.records, about.run_id
        )?;
        if replaced > 0 {
            writeln!(out, "{replaced} records that were there are replaced")?;
        }
        show(out, "packed pages", packed)?;
        show(out, "checkpoints", checkpoints)
    })?;
    Ok(())
}

async fn holding_the_store(
    etcd: Option<EtcdConfig>,
    backup: Backup,
    args: &RestoreArgs,
    shutdown: &CancellationToken,
) -> Result<Restored, Failure> {
    let held = Held::of(etcd, args.state_dir.as_deref(), shutdown).await?;
    let restored = {
        let (keyspace, args, stop) = (held.keyspace(), args.clone(), shutdown.clone());
        // Waited for also when a signal comes: it takes back what it has begun.
        aside(move || put(&backup, &keyspace, &args, &stop)).await
    };
    let restored = restored.and_then(|restored| restored.map_err(restore_failed));
    held.give_up(restored.is_ok()).await;
    restored
}

/// What there is now.
struct Restored {
    replaced: usize,
    packed: Option<Copied>,
    checkpoints: Option<Copied>,
}

/// Restores into a store that is held.
fn put(
    backup: &Backup,
    keyspace: &Arc<dyn Keyspace>,
    args: &RestoreArgs,
    stop: &CancellationToken,
) -> Result<Restored, BackupError> {
    put_all(backup, keyspace, args, stop).map_err(|error| match error {
        BackupError::NoCheckpoint { id, folder } => BackupError::Incomplete {
            id,
            folder,
            records: records_of(&args.from),
        },
        error => error,
    })
}

fn put_all(
    backup: &Backup,
    keyspace: &Arc<dyn Keyspace>,
    args: &RestoreArgs,
    stop: &CancellationToken,
) -> Result<Restored, BackupError> {
    let inside = StateDir(&args.from);
    let (mut packed, mut checkpoints) = (None, None);
    match args.state_dir.as_deref().map(StateDir) {
        Some(state_dir) => {
            if inside.packed().is_dir() {
                packed = Some(Tree::of(&inside.packed(), &state_dir.packed())?);
            }
            if inside.checkpoints().is_dir() {
                let on_record = RunStore::new(backup.records.clone()).checkpoints()?;
                let (from, to) = (inside.checkpoints(), state_dir.checkpoints());
                checkpoints = Some(Tree::of_checkpoints(&from, &to, &on_record)?);
            }
        }
        None if inside.packed().is_dir() || inside.checkpoints().is_dir() => {
            tracing::warn!(
                "packed pages and checkpoints stay in the backup: restore again with --state-dir \
                 for them"
            );
        }
        None => {}
    }
    let trees: Vec<Tree> = [&packed, &checkpoints]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let (copied, replaced) = backup.restore(&trees, keyspace, args.force, stop)?;
    let mut copied = copied.into_iter();
    Ok(Restored {
        replaced,
        packed: packed.and_then(|_| copied.next()),
        checkpoints: checkpoints.and_then(|_| copied.next()),
    })
}

fn restore_failed(error: BackupError) -> Failure {
    match error {
        BackupError::Uncertain { .. } => backup_failed(error),
        error => {
            backup_failed(error).context("nothing was restored, and what was there is as it was")
        }
    }
}

/// The store, for as long as nobody else may write it.
enum Held {
    Embedded {
        keyspace: Arc<Embedded>,
        /// Its file, if there was none before.
        made: Option<PathBuf>,
    },
    /// As the leader.
    Etcd(Box<Leadership>),
}

impl Held {
    async fn of(
        etcd: Option<EtcdConfig>,
        state_dir: Option<&Path>,
        shutdown: &CancellationToken,
    ) -> Result<Held, Failure> {
        match (etcd, state_dir.map(StateDir)) {
            (Some(config), _) => {
                let what = "before anything was restored";
                let leading = unless_interrupted(shutdown, what, lead(&config)).await?;
                Ok(Held::Etcd(Box::new(leading)))
            }
            (None, Some(state_dir)) => {
                let path = state_dir.store();
                let is_new = !path.exists();
                Ok(Held::Embedded {
                    keyspace: Arc::new(open_embedded(&state_dir)?),
                    made: is_new.then_some(path),
                })
            }
            (None, None) => Err(Refused::new("--store redb: add its --state-dir").into()),
        }
    }

    fn keyspace(&self) -> Arc<dyn Keyspace> {
        match self {
            Held::Embedded { keyspace, .. } => keyspace.clone(),
            Held::Etcd(leadership) => Arc::new(leadership.keyspace()),
        }
    }

    /// Lets others have it; if nothing was restored, as it was.
    async fn give_up(self, is_restored: bool) {
        match self {
            Held::Embedded {
                made: Some(path), ..
            } if !is_restored => {
                // While it is locked, so that nobody else's is removed.
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!("{}: {error}; it is empty", path.display());
                }
            }
            Held::Embedded { .. } => {}
            Held::Etcd(leadership) => {
                if let Err(error) = leadership.resign().await {
                    // Nothing is lost but time: the lease expires.
                    tracing::warn!("{error}");
                }
            }
        }
    }
}

/// Leads, so that no coordinator writes meanwhile.
async fn lead(config: &EtcdConfig) -> Result<Leadership, Failure> {
    let etcd = Etcd::connect(config).await.or_exit(Exit::Unreachable)?;
    let leading = etcd.try_to_lead("coordinator restore", LEASE).await;
    if let Some(leadership) = leading.map_err(super::store_failed)? {
        return Ok(leadership);
    }
    let leader = etcd.leader().await.map_err(super::store_failed)?;
    let address = leader.map_or_else(String::new, |leader| format!(" at {}", leader.address));
    Err(Refused::new(format!(
        "a coordinator{address} leads on this store: stop it first, and its standbys"
    ))
    .into())
}
