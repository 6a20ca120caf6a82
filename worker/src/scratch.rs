//! Folders for what a worker downloads, reads once and removes.
//!
//! Several workers may use one `--cache-dir`, and a killed one removes nothing.
//! So each folder is locked by the process that made it: one whose lock is free
//! was left behind. Such a lock is seen on its own machine alone, so a folder's
//! name begins with the machine's.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where such folders are made.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    parent: PathBuf,
    prefix: String,
}

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ScratchFolder {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes folders in `parent`, which exists, and removes what earlier
    /// processes left there.
    pub(crate) fn new(parent: PathBuf) -> Scratch {
        let machine = rustix::system::uname();
        let prefix = format!("restore-{}-", machine.nodename().to_string_lossy());
        if let Err(error) = remove_abandoned(&parent, &prefix) {
            tracing::warn!(
                "{}: cannot look for what was left behind: {error}",
                parent.display()
            );
        }
        Scratch { parent, prefix }
    }

    /// A new, empty folder.
    ///
    /// # Errors
    /// If it cannot be made or locked.
    pub(crate) fn folder(&self) -> io::Result<ScratchFolder> {
        loop {
            let folder = tempfile::Builder::new()
                .prefix(&self.prefix)
                .tempdir_in(&self.parent)?;
            // Before it is locked, another worker may take it for abandoned.
            let lock = match File::open(folder.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            lock.lock()?;
            if folder.path().try_exists()? {
                return Ok(ScratchFolder {
                    folder,
                    _lock: lock,
                });
            }
        }
    }
}

impl ScratchFolder {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned(parent: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(prefix) || !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        match remove_if_abandoned(&path) {
            Ok(true) => tracing::info!("removed {}, left by a killed worker", path.display()),
            Ok(false) => {}
            // Another worker that starts may be faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
        }
    }
    Ok(())
}

/// Whether it was.
fn remove_if_abandoned(folder: &Path) -> io::Result<bool> {
    let lock = File::open(folder)?;
    match lock.try_lock() {
        Ok(()) => fs::remove_dir_all(folder).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path().to_owned());
        let left = parent.path().join(format!("{}left", scratch.prefix));
        fs::create_dir_all(left.join("model")).unwrap();
        fs::write(left.join("model/model.safetensors"), "half").unwrap();
        let others = ["pages", "restore-elsewhere-1"].map(|name| parent.path().join(name));
        for other in &others {
            fs::create_dir(other).unwrap();
        }

        let scratch = Scratch::new(parent.path().to_owned());
        assert!(!left.exists());
        let folder = scratch.folder().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "in use").unwrap();

        Scratch::new(parent.path().to_owned());
        assert!(path.join("file").exists());
        assert!(others.iter().all(|other| other.exists()));
        drop(folder);
        assert!(!path.exists());
    }
}
