//! What the transfer library keeps on disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::{HubConfig, HubError, LocalFile, blocking};

/// Caches of publications that never came to an end are removed after a week.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the transfer library keeps on disk between two attempts at one
/// publication.
#[derive(Clone, Debug)]
pub(crate) struct TransferCache {
    root: PathBuf,
    dir: PathBuf,
    is_leftover: bool,
}

impl TransferCache {
    /// The cache for these files on this Hub.
    pub(crate) fn of(config: &HubConfig, files: &[LocalFile]) -> Self {
        let mut name = Sha256::new();
        name.update(&config.endpoint);
        for file in files {
            name.update(file.sha256);
        }
        let root = config.cache_dir.join("xet");
        let dir = root.join(hex::encode(&name.finalize()[..8]));
        Self {
            is_leftover: dir.exists(),
            root,
            dir,
        }
    }

    /// Whether an earlier process left it, so that nobody here knows whether
    /// what it claims was ever true.
    pub(crate) fn is_leftover(&self) -> bool {
        self.is_leftover
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Forgets everything.
    pub(crate) async fn clear(&self) -> Result<(), HubError> {
        let cache = self.clone();
        blocking::run(move || remove(&cache.dir)).await
    }

    /// Makes the folder, and removes those that others abandoned.
    pub(super) async fn prepare(&self) -> Result<(), HubError> {
        let cache = self.clone();
        blocking::run(move || {
            std::fs::create_dir_all(&cache.dir)
                .map_err(|source| HubError::file(&cache.dir, source))?;
            cache.sweep();
            Ok(())
        })
        .await
    }

    /// What cannot be looked at or removed is left to the next sweep.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.root) else {
            return;
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if entry.path() != self.dir && age.is_ok_and(|age| age > ABANDONED) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn remove(dir: &Path) -> Result<(), HubError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(HubError::file(dir, source))
        }
        _ => Ok(()),
    }
}
