//! Room for one more checkpoint: of the disk, and of the budget.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{CheckpointError, CheckpointFolder, PARTIAL, State};
use crate::records::CheckpointId;

/// Space that checkpoints must leave free, for the ledger and for packed pages.
const RESERVE: u64 = 64 << 20;

/// What is missing for a checkpoint.
#[derive(Debug)]
pub struct Lack {
    /// Bytes.
    pub bytes: u64,
    /// What is full, and what to do about it.
    pub error: CheckpointError,
}

impl CheckpointFolder {
    /// What is missing for a checkpoint of `needed` bytes, if anything is.
    ///
    /// # Errors
    /// If the disk cannot be asked.
    pub fn lack_for(&self, needed: u64) -> Result<Option<Lack>, CheckpointError> {
        self.lack(&self.lock(), needed)
    }

    pub(super) fn lack(&self, state: &State, needed: u64) -> Result<Option<Lack>, CheckpointError> {
        let failed = |source| CheckpointError::io(&self.root, source);
        let taken = self.taken(state).map_err(failed)?;
        let available = fs4::available_space(&self.root).map_err(failed)?;
        let free = available.saturating_sub(RESERVE + taken.promised);
        if needed > free {
            let error = CheckpointError::NoSpace { needed, free };
            let bytes = needed - free;
            return Ok(Some(Lack { bytes, error }));
        }
        let used = taken.whole + taken.uploading;
        let Some(budget) = self.budget.filter(|budget| used + needed > *budget) else {
            return Ok(None);
        };
        Ok(Some(Lack {
            bytes: used + needed - budget,
            error: CheckpointError::OverBudget {
                needed,
                used,
                budget,
            },
        }))
    }

    /// Checkpoints that somebody reads, or has read of late and may read on.
    pub fn in_use(&self) -> BTreeSet<CheckpointId> {
        let state = self.lock();
        let readers = state.readers.iter();
        let in_use = readers.filter(|(_, r)| r.active > 0 || r.were_there_lately());
        in_use.map(|(id, _)| id.clone()).collect()
    }

    fn taken(&self, state: &State) -> io::Result<Taken> {
        let mut taken = Taken::default();
        let mut arrived = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let bytes = bytes_below(&entry.path())?;
            match entry.file_name().to_string_lossy().strip_prefix(PARTIAL) {
                None => taken.whole += bytes,
                Some(id) if state.uploading.contains_key(&CheckpointId(id.to_owned())) => {
                    arrived += bytes;
                }
                // On its way out.
                Some(_) => {}
            }
        }
        taken.uploading = state.uploading.values().sum();
        taken.promised = taken.uploading.saturating_sub(arrived);
        Ok(taken)
    }
}

/// Bytes that checkpoints take.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// By those in their place.
    whole: u64,
    /// By those on their way in, once they are there.
    uploading: u64,
    /// Of that, what is not on the disk yet.
    promised: u64,
}

/// Bytes of all files below a path. What vanishes meanwhile has none.
fn bytes_below(path: &Path) -> io::Result<u64> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return gone(error),
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    let mut bytes = 0;
    for entry in entries {
        bytes += bytes_below(&entry?.path())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ledger::Cursor;

    use super::*;
    use crate::checkpoints::{Begin, Upload};
    use crate::records::FileKind;

    fn folder(root: &Path, budget: u64) -> CheckpointFolder {
        let model = layout::Gpt2Config::default();
        let folder = CheckpointFolder::open(root, &model, &[]).unwrap();
        folder.with_budget(Some(budget))
    }

    fn begin(folder: &CheckpointFolder, step: u64, bytes: u64) -> Result<Upload, CheckpointError> {
        let begin = Begin {
            generation: 1,
            cursor: Cursor {
                step,
                ..Cursor::start()
            },
            evaluation: None,
            training_loss: 1.0,
            total_bytes: bytes,
        };
        Upload::begin(folder, begin)
    }

    #[test]
    fn what_is_there_and_what_is_coming_count_towards_the_budget() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path(), 1000);
        let there = root.path().join("step-00000001-g1/model");
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join("model.safetensors"), [0; 300]).unwrap();
        assert!(folder.lack_for(700).unwrap().is_none());
        assert_eq!(folder.lack_for(701).unwrap().unwrap().bytes, 1);

        let upload = begin(&folder, 2, 400).unwrap();
        let lack = folder.lack_for(400).unwrap().unwrap();
        assert_eq!(lack.bytes, 100);
        let words = lack.error.to_string();
        assert!(words.contains("--checkpoint-disk-gib"), "{words}");
        assert!(begin(&folder, 3, 400).is_err());
        drop(upload);
        assert!(folder.lack_for(700).unwrap().is_none(), "it left nothing");
    }

    #[test]
    fn bytes_that_have_arrived_are_not_counted_twice() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path(), 1000);
        let mut upload = begin(&folder, 2, 600).unwrap();
        upload
            .begin_file("model.safetensors", FileKind::Model, 600)
            .unwrap();
        let data = [7; 500];
        let sha256 = <sha2::Sha256 as sha2::Digest>::digest(data).into();
        upload.chunk(&data, sha256).unwrap();
        let state = folder.lock();
        let taken = folder.taken(&state).unwrap();
        assert_eq!((taken.uploading, taken.promised), (600, 100));
    }

    #[test]
    fn a_disk_that_is_too_small_is_named_before_the_budget() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path(), 1000);
        let lack = folder.lack_for(1 << 62).unwrap().unwrap();
        let words = lack.error.to_string();
        assert!(words.contains("--state-dir"), "{words}");
    }
}
