//! Reading a checkpoint's files.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Instant;

use super::{CheckpointError, CheckpointFolder};
use crate::records::{Checkpoint, CheckpointId};

/// An open file of a checkpoint. While it lives, the checkpoint stays on disk.
pub struct FileReader {
    checkpoints: CheckpointFolder,
    id: CheckpointId,
    path: PathBuf,
    file: File,
    /// Bytes that the manifest says are still to come.
    left: u64,
}

impl CheckpointFolder {
    /// Opens a file of `checkpoint` at `offset`.
    ///
    /// # Errors
    /// If it has no such file, or that has fewer bytes.
    pub fn open_file(
        &self,
        checkpoint: &Checkpoint,
        name: &str,
        offset: u64,
    ) -> Result<FileReader, CheckpointError> {
        let id = &checkpoint.id;
        let file = checkpoint.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| {
            CheckpointError::NotFound(format!("checkpoint {id} has no file {name:?}"))
        })?;
        if offset > file.size {
            return Err(CheckpointError::Protocol(format!(
                "file {name} of checkpoint {id} has {} bytes and none at {offset}",
                file.size
            )));
        }
        // From here on the sweep leaves it alone; `drop` undoes it.
        self.lock().readers.entry(id.clone()).or_default().active += 1;
        let path = self.file_path(id, file.kind, name);
        let file_size = file.size;
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(FileReader {
                checkpoints: self.clone(),
                id: id.clone(),
                path,
                left: file_size - offset,
                file,
            }),
            Err(source) => {
                self.release(id);
                Err(CheckpointError::io(&path, source))
            }
        }
    }

    fn release(&self, id: &CheckpointId) {
        if let Some(readers) = self.lock().readers.get_mut(id) {
            readers.active = readers.active.saturating_sub(1);
            readers.last = Some(Instant::now());
        }
    }
}

impl FileReader {
    /// At most `most` further bytes; none at the file's end.
    ///
    /// # Errors
    /// If they cannot be read, or the file has not its manifest's size.
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::with_capacity(most);
        let mut part = (&mut self.file).take(most as u64);
        part.read_to_end(&mut bytes)
            .map_err(|source| CheckpointError::io(&self.path, source))?;
        let read = bytes.len() as u64;
        if read > self.left || (bytes.is_empty() && self.left > 0) {
            return Err(CheckpointError::Damaged {
                path: self.path.clone(),
                problem: format!(
                    "it has another size than its manifest says, which has {} bytes from there on",
                    self.left
                ),
            });
        }
        self.left -= read;
        Ok(bytes)
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        self.checkpoints.release(&self.id);
    }
}
