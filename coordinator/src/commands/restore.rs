//! `coordinator restore`.

use std::time::Duration;

use cli::{Exit, Failure, OrExit as _, Refused};
use serde_json::json;

use super::backup::{records_of, show};
use crate::args::RestoreArgs;
use crate::backup::{Backup, BackupError, link_tree};
use crate::plan::{StateDir, open_embedded};
use crate::store::{Etcd, EtcdConfig};

/// How long after a restore was killed another leader can be elected.
const LEASE: Duration = Duration::from_secs(10);

/// Puts a backup into a store.
///
/// # Errors
/// Refused if the backup is damaged, the store is in use, or it holds something
/// and `--force` is not given; if something cannot be read or written.
pub async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let etcd = args.store.etcd_config()?;
    let backup = Backup::read(&records_of(&args.from)).map_err(Refused::because)?;
    let state_dir = args.state_dir.as_deref().map(StateDir);
    if let Some(state_dir) = &state_dir {
        cli::writable_directory("--state-dir", state_dir.0)?;
    }
    let replaced = match (etcd, &state_dir) {
        (Some(config), _) => into_etcd(&config, &backup, args.force).await?,
        (None, Some(state_dir)) => {
            let embedded = open_embedded(state_dir)?;
            backup
                .restore(&embedded, args.force)
                .map_err(refused_if_in_the_way)?
        }
        (None, None) => return Err(Refused::new("--store redb: add its --state-dir").into()),
    };
    let inside = StateDir(&args.from);
    let (mut packed, mut checkpoints) = (None, None);
    match &state_dir {
        Some(state_dir) => {
            if inside.packed().is_dir() {
                packed = Some(link_tree(&inside.packed(), &state_dir.packed())?);
            }
            if inside.checkpoints().is_dir() {
                let (from, to) = (inside.checkpoints(), state_dir.checkpoints());
                checkpoints = Some(link_tree(&from, &to)?);
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
    let about = &backup.about;
    if args.json {
        let report = json!({
            "run_id": about.run_id,
            "records": about.records,
            "replaced": replaced,
            "packed": packed,
            "checkpoints": checkpoints,
        });
        println!("{report}");
    } else {
        println!("{} records of {} are restored", about.records, about.run_id);
        if replaced > 0 {
            println!("{replaced} records that were there are replaced");
        }
        show("packed pages", packed);
        show("checkpoints", checkpoints);
    }
    Ok(())
}

/// Restores as the leader, so that no coordinator writes meanwhile.
async fn into_etcd(config: &EtcdConfig, backup: &Backup, force: bool) -> Result<usize, Failure> {
    let etcd = Etcd::connect(config).await.or_exit(Exit::Unreachable)?;
    let Some(leadership) = etcd.try_to_lead("coordinator restore", LEASE).await? else {
        let leader = etcd.leader().await?;
        let address = leader.map_or_else(String::new, |leader| format!(" at {}", leader.address));
        return Err(Refused::new(format!(
            "a coordinator{address} leads on this store: stop it first, and its standbys"
        ))
        .into());
    };
    let restored = backup.restore(&leadership.keyspace(), force);
    if let Err(error) = leadership.resign().await {
        // Nothing is lost but time: the lease expires.
        tracing::warn!("{error}");
    }
    restored.map_err(refused_if_in_the_way)
}

fn refused_if_in_the_way(error: BackupError) -> Failure {
    match error {
        BackupError::NotEmpty { .. } => Refused::because(error).into(),
        error => error.into(),
    }
}
