//! The folder in which a publisher keeps everything.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use cli::Refused;

use crate::Error;

/// The folder, by its absolute path.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
}

/// While this lives, no other publisher works in the folder. The operating
/// system ends it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDir {
    /// A folder that may not exist, to look at.
    pub(crate) fn at(root: &Path) -> Result<StateDir, Error> {
        let root = std::path::absolute(root).map_err(|source| Error::file(root, source))?;
        Ok(StateDir { root })
    }

    /// The folder with its parts, made if need be, to work in.
    pub(crate) fn create(root: &Path) -> Result<StateDir, Error> {
        let state = StateDir::at(root)?;
        for dir in [state.records(), state.root.join(STAGED), state.downloads()] {
            fs::create_dir_all(&dir).map_err(|source| Error::file(&dir, source))?;
        }
        let root = fs::canonicalize(root).map_err(|source| Error::file(root, source))?;
        Ok(StateDir { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a checkpoint's directory is once it is complete and verified.
    pub(crate) fn staged(&self, checkpoint_id: &str) -> PathBuf {
        self.root.join(STAGED).join(checkpoint_id)
    }

    /// Where all downloads are.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Where a checkpoint arrives.
    pub(crate) fn download(&self, checkpoint_id: &str) -> PathBuf {
        self.downloads().join(checkpoint_id)
    }

    /// Where the journal's records are.
    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("publications")
    }

    /// A publication's record.
    pub(crate) fn record(&self, checkpoint_id: &str) -> PathBuf {
        self.records().join(format!("{checkpoint_id}.json"))
    }

    /// Where refusals are remembered.
    pub(crate) fn refused(&self) -> PathBuf {
        self.root.join("refused")
    }

    /// What is remembered of a checkpoint that was refused.
    pub(crate) fn refused_record(&self, checkpoint_id: &str) -> PathBuf {
        self.refused().join(format!("{checkpoint_id}.json"))
    }

    /// Where models that the hotkey has committed are downloaded to.
    pub(crate) fn incumbents(&self) -> PathBuf {
        self.root.join("incumbents")
    }

    /// What an interrupted upload needs to go on.
    pub(crate) fn transfers(&self) -> PathBuf {
        self.root.join("transfers")
    }

    /// What the scorer is given.
    pub(crate) fn scoring(&self) -> PathBuf {
        self.root.join("scoring")
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// Refused, with the other's process id, when another publisher has it.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = self.root.join("lock");
        let at_path = |source| Error::file(&path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at_path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message; a holder that is just starting is nameless.
                let _ = file.read_to_string(&mut holder);
                return Err(Error::Refused(Refused::new(format!(
                    "--state-dir {}: another publisher works here (process {}); stop it, or name \
                     another folder",
                    self.root.display(),
                    holder.trim()
                ))));
            }
            Err(TryLockError::Error(source)) => return Err(at_path(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(at_path)?;
        Ok(Lock { _file: file })
    }
}

const STAGED: &str = "staged";

/// Removes a folder with all it holds, if it is there.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(dir, error)),
        _ => Ok(()),
    }
}
