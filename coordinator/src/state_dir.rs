//! A state directory: where things are in it, and which run's they are.
//!
//! Architecture invariant: nothing is removed from a directory before it is known
//! to be of the run at hand. Pages and checkpoints lie beside the records, which
//! may be elsewhere; whoever starts with the wrong store or the wrong directory is
//! refused.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cli::Refused;
use serde::{Deserialize, Serialize};

/// Where things are inside a state directory.
pub(crate) struct StateDir<'a>(pub(crate) &'a Path);

impl StateDir<'_> {
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("ledger.redb")
    }

    pub(crate) fn packed(&self) -> PathBuf {
        self.0.join("packed")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Where complete checkpoints go that the records do not know.
    pub(crate) fn unrecorded(&self) -> PathBuf {
        self.0.join("unrecorded")
    }

    fn owner(&self) -> PathBuf {
        self.0.join("owner.json")
    }

    /// Checks that this directory is of the run `run_id`, or nobody's.
    ///
    /// # Errors
    /// Refused if it is another's, or cannot be read.
    pub(crate) fn check_run(&self, run_id: &str) -> Result<(), Refused> {
        match self.read_owner()? {
            Some(Owner { run_id: of, .. }) if of != run_id => Err(Refused::new(format!(
                "--state-dir {} holds the pages and checkpoints of run {of}, and the records \
                 are of run {run_id}: give the directory of the same run, or another",
                self.0.display(),
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that this directory is of the run `run_id` with its records in
    /// `store`, or nobody's.
    ///
    /// # Errors
    /// Refused if it is another's, or cannot be read.
    pub(crate) fn check_owner(&self, run_id: &str, store: StoreKind) -> Result<(), Refused> {
        self.check_run(run_id)?;
        let Some(owner) = self.read_owner()? else {
            return Ok(());
        };
        let directory = self.0.display();
        let of = &owner.run_id;
        if owner.store == StoreKind::Etcd && store == StoreKind::Redb {
            return Err(Refused::new(format!(
                "--state-dir {directory}: the records of run {of} are kept in etcd since they \
                 were moved there, and what its ledger.redb says is of before: give --store \
                 etcd://…, or bring them back with coordinator backup and restore"
            )));
        }
        Ok(())
    }

    /// Checks that a new run can begin here.
    ///
    /// # Errors
    /// Refused if there is a run's bulk, whose records are not in `store`.
    pub(crate) fn check_unowned(&self, store: StoreKind) -> Result<(), Refused> {
        let Some(owner) = self.read_owner()? else {
            return Ok(());
        };
        let directory = self.0.display();
        let what = format!(
            "--state-dir {directory} holds the pages and checkpoints of run {}, which is not in \
             {}",
            owner.run_id,
            store.name(),
        );
        let way = match (owner.store, store) {
            (StoreKind::Etcd, StoreKind::Redb) => "its records are in etcd: give --store etcd://…",
            (StoreKind::Redb, StoreKind::Etcd) => {
                "its records are in the directory itself: leave --store out, or move them with \
                 coordinator backup and restore"
            }
            _ => "bring its records back with coordinator restore",
        };
        Err(Refused::new(format!(
            "{what}: {way}; for a new run give another --state-dir"
        )))
    }

    /// Writes down whose this directory is.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(crate) fn set_owner(&self, run_id: &str, store: StoreKind) -> Result<(), Refused> {
        let owner = Owner {
            run_id: run_id.to_owned(),
            store,
        };
        if self.read_owner()?.as_ref() == Some(&owner) {
            return Ok(());
        }
        self.write_owner(&owner).map_err(|error| {
            Refused::new(format!("--state-dir {}: {error}", self.owner().display()))
        })
    }

    fn read_owner(&self) -> Result<Option<Owner>, Refused> {
        let path = self.owner();
        let refuse =
            |problem: String| Refused::new(format!("--state-dir {}: {problem}", path.display()));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refuse(error.to_string())),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            refuse(format!(
                "does not say whose directory this is: {error}; remove the file if you know"
            ))
        })
    }

    fn write_owner(&self, owner: &Owner) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.0)?;
        serde_json::to_writer(&mut file, owner)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(self.owner()).map_err(|error| error.error)?;
        fs::File::open(self.0)?.sync_all()
    }
}

/// Where the records of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// In the state directory.
    Redb,
    /// In etcd.
    Etcd,
}

impl StoreKind {
    fn name(self) -> &'static str {
        match self {
            StoreKind::Redb => "its ledger.redb",
            StoreKind::Etcd => "the store",
        }
    }
}

/// Whose a state directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    run_id: String,
    store: StoreKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_of_one_run_in_one_store() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir(folder.path());
        state_dir.check_unowned(StoreKind::Redb).unwrap();
        state_dir.check_owner("one", StoreKind::Redb).unwrap();
        state_dir.set_owner("one", StoreKind::Redb).unwrap();
        state_dir.check_owner("one", StoreKind::Redb).unwrap();
        let other = state_dir.check_owner("other", StoreKind::Redb);
        let other = other.unwrap_err().to_string();
        assert!(other.contains("of run one") && other.contains("run other"));
        state_dir.check_run("other").unwrap_err();
        let new = state_dir.check_unowned(StoreKind::Etcd).unwrap_err();
        assert!(new.to_string().contains("leave --store out"));
    }

    #[test]
    fn records_that_moved_to_etcd_are_not_read_from_where_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir(folder.path());
        state_dir.set_owner("one", StoreKind::Redb).unwrap();
        state_dir.check_owner("one", StoreKind::Etcd).unwrap();
        state_dir.set_owner("one", StoreKind::Etcd).unwrap();
        let stale = state_dir.check_owner("one", StoreKind::Redb).unwrap_err();
        assert!(stale.to_string().contains("--store"));
        let new = state_dir.check_unowned(StoreKind::Redb).unwrap_err();
        assert!(new.to_string().contains("--store etcd://"));
    }

    #[test]
    fn an_owner_that_cannot_be_read_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir(folder.path());
        fs::write(state_dir.owner(), "{").unwrap();
        let refused = state_dir.check_owner("one", StoreKind::Redb).unwrap_err();
        assert!(refused.to_string().contains("owner.json"));
        state_dir.check_unowned(StoreKind::Redb).unwrap_err();
    }
}
