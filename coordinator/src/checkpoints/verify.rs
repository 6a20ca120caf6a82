//! Whether a checkpoint on disk is what its manifest says.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{CheckpointError, CheckpointFolder};
use crate::records::{Checkpoint, CheckpointFile, FileKind};

/// Bytes of a file in memory at a time.
const CHUNK: usize = 1 << 20;

impl CheckpointFolder {
    /// Reads every file of a checkpoint and compares it with the manifest.
    ///
    /// # Errors
    /// The first file that is missing or different.
    pub fn verify(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        for file in &checkpoint.files {
            let path = self.file_path(&checkpoint.id, file.kind, &file.name);
            let found = describe(&path, file.kind)?;
            if found.size != file.size || found.sha256 != file.sha256 {
                return Err(CheckpointError::Corrupt {
                    what: path.display().to_string(),
                });
            }
        }
        Ok(())
    }
}

/// A file's entry in a manifest.
pub(super) fn describe(path: &Path, kind: FileKind) -> Result<CheckpointFile, CheckpointError> {
    let failed = |source| CheckpointError::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let mut part = (&mut file).take(CHUNK as u64);
        let read = part.read_to_end(&mut chunk).map_err(failed)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hasher.update(&chunk);
    }
    let name = path.file_name().unwrap_or_default();
    Ok(CheckpointFile {
        name: name.to_string_lossy().into_owned(),
        kind,
        size,
        sha256: hasher.finalize().into(),
    })
}
