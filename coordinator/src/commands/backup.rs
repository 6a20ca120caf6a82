//! `coordinator backup`.

use std::fs;
use std::path::{Path, PathBuf};

use cli::{Exit, Failure, OrExit as _, Refused};
use serde_json::json;

use super::no_run;
use crate::args::BackupArgs;
use crate::backup::{Backup, Copied, link_checkpoints, link_tree};
use crate::plan::{StateDir, open_embedded};
use crate::store::{Etcd, RunStore};

/// The records' file in a folder.
const RECORDS: &str = "records.backup";

/// Writes a backup of a run.
///
/// # Errors
/// Refused if the store is in use or has no run; if something cannot be read or
/// written.
pub async fn backup(args: BackupArgs) -> Result<(), Failure> {
    let etcd = args.store.etcd_config()?;
    let state_dir = args.state_dir.as_deref().map(StateDir);
    let backup = match (etcd, &state_dir) {
        (Some(config), _) => {
            let etcd = Etcd::connect(&config).await.or_exit(Exit::Unreachable)?;
            Backup::of(&etcd.reader())
        }
        (None, Some(state_dir)) => {
            if !state_dir.store().exists() {
                let place = format!("--state-dir {}", state_dir.0.display());
                return Err(no_run(&place).into());
            }
            // Held until everything is copied.
            Backup::of(&open_embedded(state_dir)?)
        }
        (None, None) => return Err(Refused::new("--store redb: add its --state-dir").into()),
    }
    .map_err(Refused::because)?;
    let is_folder = args.packed || args.checkpoints || args.to.is_dir();
    let records = match is_folder {
        true => records_in(&args.to)?,
        false => args.to.clone(),
    };
    let (mut packed, mut checkpoints) = (None, None);
    if let Some(state_dir) = &state_dir {
        let inside = StateDir(&args.to);
        if args.packed {
            packed = Some(link_tree(&state_dir.packed(), &inside.packed())?);
        }
        if args.checkpoints {
            let kept = RunStore::new(backup.records.clone()).checkpoints()?;
            let (from, to) = (state_dir.checkpoints(), inside.checkpoints());
            checkpoints = Some(link_checkpoints(&from, &to, &kept)?);
        }
    }
    // Last, so that a folder with records has all that they need.
    backup.write(&records)?;
    let about = &backup.about;
    if args.json {
        let report = json!({
            "run_id": about.run_id,
            "records": about.records,
            "path": records,
            "packed": packed,
            "checkpoints": checkpoints,
        });
        println!("{report}");
    } else {
        println!(
            "{} records of {} are in {}",
            about.records,
            about.run_id,
            records.display()
        );
        show("packed pages", packed);
        show("checkpoints", checkpoints);
    }
    Ok(())
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

pub(super) fn show(what: &str, copied: Option<Copied>) {
    if let Some(copied) = copied {
        println!(
            "{what}: {} files, {} bytes, {} by link",
            copied.files, copied.bytes, copied.linked
        );
    }
}
