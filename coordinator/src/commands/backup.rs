//! `coordinator backup`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cli::{Exit, Failure, OrExit as _, Refused};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{aside, no_run, store_failed, unless_interrupted};
use crate::args::BackupArgs;
use crate::backup::{Backup, BackupError, Copied, Placing, Purpose, Tree};
use crate::plan::open_embedded;
use crate::state_dir::StateDir;
use crate::store::{Embedded, Etcd, EtcdConfig, RunStore, StoreError};

/// The records' file in a folder.
const RECORDS: &str = "records.backup";

/// Writes a backup of a run.
///
/// # Errors
/// Refused if the store is in use or has no run; if something cannot be read or
/// written; if a signal came before it was whole. Then what there was in its place
/// is there still.
pub async fn backup(args: BackupArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let etcd = args.store.etcd_config()?;
    let state_dir = args.state_dir.as_deref().map(StateDir);
    let (backup, held) = match (etcd, &state_dir) {
        (Some(config), _) => {
            let what = "before there was a backup";
            (
                unless_interrupted(&shutdown, what, scan(config)).await?,
                None,
            )
        }
        (None, Some(state_dir)) => {
            if !state_dir.store().exists() {
                let place = format!("--state-dir {}", state_dir.0.display());
                return Err(no_run(&place).into());
            }
            let held = open_embedded(state_dir)?;
            (Backup::of(&held).map_err(backup_failed)?, Some(held))
        }
        (None, None) => return Err(Refused::new("--store redb: add its --state-dir").into()),
    };
    let about = backup.about.clone();
    let json = args.json;
    // Waited for also when a signal comes: it takes back what it has begun.
    let made = aside(move || write(&backup, &args, held, &shutdown)).await??;
    let Made {
        records,
        packed,
        checkpoints,
    } = made;
    let report = json!({
        "run_id": about.run_id,
        "records": about.records,
        "path": records,
        "packed": packed,
        "checkpoints": checkpoints,
    });
    cli::print(|out| {
        if json {
            return writeln!(out, "{report}");
        }
        writeln!(
            out,
            "{} records of {} are in {}",
            about.records,
            about.run_id,
            records.display()
        )?;
        show(out, "packed pages", packed)?;
        show(out, "checkpoints", checkpoints)
    })?;
    Ok(())
}

async fn scan(config: EtcdConfig) -> Result<Backup, Failure> {
    let etcd = Etcd::connect(&config).await.or_exit(Exit::Unreachable)?;
    let read = aside(move || Backup::of(&etcd.reader())).await?;
    read.map_err(backup_failed)
}

/// What was written.
struct Made {
    records: PathBuf,
    packed: Option<Copied>,
    checkpoints: Option<Copied>,
}

/// Writes records, and what belongs to them. A store that is `held` is so until
/// everything is copied: a coordinator that started before would remove
/// checkpoints.
fn write(
    backup: &Backup,
    args: &BackupArgs,
    held: Option<Embedded>,
    stop: &CancellationToken,
) -> Result<Made, Failure> {
    let is_folder = args.packed || args.checkpoints || args.to.is_dir();
    let records = match is_folder {
        true => records_in(&args.to)?,
        false => args.to.clone(),
    };
    let mut trees = Vec::new();
    if let Some(state_dir) = args.state_dir.as_deref().map(StateDir) {
        let inside = StateDir(&args.to);
        if args.packed {
            let tree = Tree::of(&state_dir.packed(), &inside.packed());
            trees.push(tree.map_err(backup_failed)?);
        }
        if args.checkpoints {
            let kept = RunStore::new(backup.records.clone()).checkpoints()?;
            let (from, to) = (state_dir.checkpoints(), inside.checkpoints());
            trees.push(Tree::of_checkpoints(&from, &to, &kept).map_err(backup_failed)?);
        }
    }
    let carry = || -> Result<Vec<Copied>, BackupError> {
        let (mut placing, copied) = Placing::prepare(&trees, Purpose::Backup, stop)?;
        placing.place()?;
        // Last, so that a folder with records has all that they need.
        backup.write(&records)?;
        placing.keep();
        Ok(copied)
    };
    let copied = carry().map_err(backup_failed)?;
    drop(held);
    let mut copied = copied.into_iter();
    Ok(Made {
        packed: args.packed.then(|| copied.next()).flatten(),
        checkpoints: args.checkpoints.then(|| copied.next()).flatten(),
        records,
    })
}

/// Why there is no backup, or nothing was restored, with the code to leave with.
pub(super) fn backup_failed(error: BackupError) -> Failure {
    match error {
        BackupError::Interrupted => Failure::new(Exit::Interrupted, error),
        BackupError::NoRun
        | BackupError::NotEmpty { .. }
        | BackupError::InTheWay { .. }
        | BackupError::Incomplete { .. }
        | BackupError::Broken { .. }
        | BackupError::Store(StoreError::NewerFormat { .. }) => Refused::because(error).into(),
        error => store_failed(error),
    }
}

fn records_in(folder: &Path) -> Result<PathBuf, Refused> {
    fs::create_dir_all(folder)
        .map_err(|error| Refused::new(format!("--to {}: {error}", folder.display())))?;
    Ok(folder.join(RECORDS))
}

/// The file that `--from` means.
pub(super) fn records_of(from: &Path) -> PathBuf {
    match from.is_dir() {
        true => from.join(RECORDS),
        false => from.to_owned(),
    }
}

pub(super) fn show(out: &mut dyn Write, what: &str, copied: Option<Copied>) -> io::Result<()> {
    match copied {
        Some(copied) => writeln!(
            out,
            "{what}: {} files, {} bytes, {} by link",
            copied.files, copied.bytes, copied.linked
        ),
        None => Ok(()),
    }
}
