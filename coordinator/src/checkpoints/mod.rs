//! Checkpoints on the coordinator's disk: complete or absent.
//!
//! The mental model: a checkpoint is a folder, `step-00000042-g3`, with the
//! model's files as transformers reads them in `model/`, the training state in
//! `state/`, and a `manifest.json` for people. It is received into a hidden
//! folder beside it ([`Upload`]), where every chunk and file is compared with
//! its hash, and renamed when all of it is flushed. It *is* a checkpoint once
//! its manifest is in the store; folders without one are removed at start, but
//! for those of steps that the store does not know, which are set aside.
//!
//! Architecture invariant: which checkpoints are kept is the state machine's
//! decision. This module carries it out, once nobody reads a file any more.

mod copy;
mod error;
mod import;
mod policy;
mod read;
mod room;
mod unrecorded;
mod upload;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use layout::Gpt2Config;

pub use error::CheckpointError;
pub use import::InitialWeights;
pub use policy::CheckpointArgs;
pub use read::FileReader;
pub use room::Lack;
pub use upload::{Begin, Installed, Upload};

use crate::records::{Checkpoint, CheckpointId, FileKind};

/// Folders with this prefix are incomplete.
const PARTIAL: &str = ".partial-";
/// How long a checkpoint that is no longer kept stays for someone who has read
/// one of its files and is about to ask for the next.
const READERS_GRACE: Duration = Duration::from_secs(60);

/// The folder of checkpoints.
#[derive(Clone)]
pub struct CheckpointFolder {
    root: PathBuf,
    /// The model that every checkpoint must be of.
    model: Arc<Gpt2Config>,
    /// Bytes that all checkpoints together may take.
    budget: Option<u64>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Uploads under way, with the bytes that each announced.
    uploading: BTreeMap<CheckpointId, u64>,
    readers: BTreeMap<CheckpointId, Readers>,
    /// No longer kept, and still on disk.
    condemned: BTreeMap<CheckpointId, Checkpoint>,
}

#[derive(Default)]
struct Readers {
    active: usize,
    last: Option<Instant>,
}

impl Readers {
    fn were_there_lately(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < READERS_GRACE)
    }
}

impl CheckpointFolder {
    /// The checkpoints in `root`, which is created if need be. Whatever is
    /// there and is not in `kept` is removed: it was never complete, or is no
    /// longer wanted.
    ///
    /// # Errors
    /// If the folder cannot be created, read or cleaned.
    pub fn open(
        root: &Path,
        model: &Gpt2Config,
        kept: &[Checkpoint],
    ) -> Result<CheckpointFolder, CheckpointError> {
        let folder = CheckpointFolder::at(root, model);
        folder.remove_all_but(kept)?;
        Ok(folder)
    }

    /// The checkpoints in `root`, whoever may be writing there: nothing is
    /// created or removed.
    pub fn at(root: &Path, model: &Gpt2Config) -> CheckpointFolder {
        CheckpointFolder {
            root: root.to_owned(),
            model: Arc::new(model.clone()),
            budget: None,
            state: Arc::default(),
        }
    }

    /// Removes whatever is there and is not in `kept`. What has come of one that
    /// is kept stays.
    pub(crate) fn remove_all_but(&self, kept: &[Checkpoint]) -> Result<(), CheckpointError> {
        let root = &self.root;
        let failed = |source| CheckpointError::io(root, source);
        fs::create_dir_all(root).map_err(failed)?;
        for entry in fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let is_kept = kept.iter().any(|c| {
                let of_it = [self.path(&c.id), self.partial(&c.id)];
                of_it.contains(&entry.path())
            });
            let is_ours = name.to_str().is_some_and(|name| {
                name.starts_with(PARTIAL) || CheckpointId(name.to_owned()).is_well_formed()
            });
            if !is_kept && is_ours && entry.path().is_dir() {
                tracing::info!(path = %entry.path().display(), "removing an incomplete checkpoint");
                remove_folder(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The same folder, with at most `budget` bytes for all checkpoints.
    #[must_use]
    pub fn with_budget(self, budget: Option<u64>) -> CheckpointFolder {
        CheckpointFolder { budget, ..self }
    }

    /// The folder of a checkpoint.
    pub fn path(&self, id: &CheckpointId) -> PathBuf {
        self.root.join(&id.0)
    }

    fn file_path(&self, id: &CheckpointId, kind: FileKind, name: &str) -> PathBuf {
        self.path(id).join(kind.folder()).join(name)
    }

    /// Removes a checkpoint once nobody reads it; see
    /// [`CheckpointFolder::sweep`].
    pub fn condemn(&self, checkpoint: Checkpoint) {
        let mut state = self.lock();
        state.condemned.insert(checkpoint.id.clone(), checkpoint);
    }

    /// A checkpoint that is no longer kept but can still be read.
    pub fn condemned(&self, id: &CheckpointId) -> Option<Checkpoint> {
        self.lock().condemned.get(id).cloned()
    }

    /// Removes condemned checkpoints that nobody reads and nobody has read of
    /// late; with `at_once`, those that nobody reads.
    pub fn sweep(&self, at_once: bool) {
        // Removed outside of the lock, which those who read checkpoints take: a
        // disk may need seconds for gigabytes.
        for id in self.take_unread(at_once) {
            if let Err(error) = remove_folder(&self.path(&id)) {
                tracing::warn!(%error, "a checkpoint that is no longer kept stays on disk");
            }
        }
    }

    fn take_unread(&self, at_once: bool) -> Vec<CheckpointId> {
        let mut state = self.lock();
        let state = &mut *state;
        let readers = &mut state.readers;
        let mut unread = Vec::new();
        state.condemned.retain(|id, _| {
            let readers_of = readers.get(id);
            if readers_of.is_some_and(|r| r.active > 0 || (r.were_there_lately() && !at_once)) {
                return true;
            }
            readers.remove(id);
            unread.push(id.clone());
            false
        });
        unread
    }

    /// Removes a checkpoint that was stored but not committed.
    pub fn discard(&self, id: &CheckpointId) {
        if let Err(error) = remove_folder(&self.path(id)) {
            tracing::warn!(%error, "a checkpoint that was not committed stays on disk");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic leaves nothing half
        // done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a folder so that a crash midway leaves it marked as incomplete.
fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    let failed = |source| CheckpointError::io(path, source);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with(PARTIAL) {
        return fs::remove_dir_all(path).map_err(failed);
    }
    let doomed = path.with_file_name(format!("{PARTIAL}removed-{name}"));
    fs::rename(path, &doomed).map_err(failed)?;
    fs::remove_dir_all(&doomed).map_err(failed)
}

/// Makes a folder's entries durable.
fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    let failed = |source| CheckpointError::io(path, source);
    fs::File::open(path)
        .map_err(failed)?
        .sync_all()
        .map_err(failed)
}
