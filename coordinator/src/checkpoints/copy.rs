//! Checkpoints that come from another coordinator's disk.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CheckpointError, CheckpointFolder, PARTIAL, remove_folder};
use crate::records::{Checkpoint, CheckpointId};

impl CheckpointFolder {
    /// Where a checkpoint is put together that is copied from elsewhere.
    pub(crate) fn partial(&self, id: &CheckpointId) -> PathBuf {
        self.root.join(format!("{PARTIAL}copy-{id}"))
    }

    /// Looks whether every file of a checkpoint is here with its size: as much
    /// as can be seen at once. Files get their names only when they are whole.
    ///
    /// # Errors
    /// The first file that is missing or of another size.
    pub fn present(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        for file in &checkpoint.files {
            let path = self.file_path(&checkpoint.id, file.kind, &file.name);
            let found = fs::metadata(&path).map_err(|e| CheckpointError::io(&path, e))?;
            if found.len() != file.size {
                return Err(CheckpointError::Damaged {
                    path,
                    problem: format!("it has {} bytes instead of {}", found.len(), file.size),
                });
            }
        }
        Ok(())
    }

    /// Gives a complete copy its place, instead of whatever is there that is
    /// not whole.
    pub(crate) fn adopt(
        &self,
        complete: &Path,
        checkpoint: &Checkpoint,
    ) -> Result<(), CheckpointError> {
        let place = self.path(&checkpoint.id);
        if place.exists() && self.present(checkpoint).is_err() {
            remove_folder(&place)?;
        }
        if !self.place(complete, checkpoint)? {
            remove_folder(complete)?;
        }
        Ok(())
    }
}
