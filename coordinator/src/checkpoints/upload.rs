//! Receiving a checkpoint.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use layout::ModelDir;
use ledger::Cursor;
use sha2::{Digest as _, Sha256};

use super::{CheckpointError, CheckpointFolder, PARTIAL, remove_folder, sync_folder};
use crate::records::{Checkpoint, CheckpointFile, CheckpointId, Evaluation, FileKind};

/// Files of a checkpoint: a model may come in shards.
const MOST_FILES: usize = 1024;
/// The longest file name.
const LONGEST_NAME: usize = 128;

/// What a checkpoint says of itself before its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// The generation that writes it.
    pub generation: u64,
    /// The point of the run whose state it holds.
    pub cursor: Cursor,
    /// The evaluation at that point, if there was one.
    pub evaluation: Option<Evaluation>,
    /// Mean training loss over the epoch so far, in nats per token.
    pub training_loss: f64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// A checkpoint on its way in. Dropped before it is installed, it leaves
/// nothing behind.
pub struct Upload {
    checkpoints: CheckpointFolder,
    id: CheckpointId,
    folder: PathBuf,
    begin: Begin,
    files: Vec<CheckpointFile>,
    open: Option<OpenFile>,
}

struct OpenFile {
    path: PathBuf,
    name: String,
    kind: FileKind,
    size: u64,
    received: u64,
    file: File,
    hasher: Sha256,
}

/// A checkpoint whose folder is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Its manifest, to be committed.
    pub checkpoint: Checkpoint,
    /// Whether its folder was not there before.
    pub is_new: bool,
}

impl Upload {
    /// Makes room for a checkpoint.
    ///
    /// # Errors
    /// If there is too little disk, or the same checkpoint is under way.
    pub fn begin(checkpoints: &CheckpointFolder, begin: Begin) -> Result<Upload, CheckpointError> {
        let root = &checkpoints.root;
        let id = CheckpointId::of(begin.cursor.step, begin.generation);
        let mut state = checkpoints.lock();
        if state.condemned.contains_key(&id) || state.uploading.contains_key(&id) {
            return Err(CheckpointError::Busy(id));
        }
        if let Some(lack) = checkpoints.lack(&state, begin.total_bytes)? {
            return Err(lack.error);
        }
        state.uploading.insert(id.clone(), begin.total_bytes);
        drop(state);
        let upload = Upload {
            folder: root.join(format!("{PARTIAL}{id}")),
            checkpoints: checkpoints.clone(),
            id,
            begin,
            files: Vec::new(),
            open: None,
        };
        if upload.folder.exists() {
            // What an earlier attempt could not remove.
            remove_folder(&upload.folder)?;
        }
        for kind in [FileKind::Model, FileKind::State] {
            let folder = upload.folder.join(kind.folder());
            fs::create_dir_all(&folder).map_err(|e| CheckpointError::io(&folder, e))?;
        }
        Ok(upload)
    }

    /// The next file.
    ///
    /// # Errors
    /// If its name is no plain file name, it is announced twice, or it exceeds
    /// what was announced.
    pub fn begin_file(
        &mut self,
        name: &str,
        kind: FileKind,
        size: u64,
    ) -> Result<(), CheckpointError> {
        if self.open.is_some() {
            return Err(protocol(format!(
                "file {name} begins before another has ended"
            )));
        }
        check_name(name)?;
        if self.files.len() >= MOST_FILES {
            return Err(protocol(format!(
                "a checkpoint has at most {MOST_FILES} files"
            )));
        }
        if self.files.iter().any(|file| file.name == name) {
            return Err(protocol(format!("file {name} comes twice")));
        }
        let announced = self.begin.total_bytes;
        let so_far: u64 = self.files.iter().map(|file| file.size).sum();
        if so_far
            .checked_add(size)
            .is_none_or(|total| total > announced)
        {
            let what =
                format!("with file {name} there are more than the announced {announced} bytes");
            return Err(protocol(what));
        }
        let path = self.folder.join(kind.folder()).join(name);
        let file = File::create_new(&path).map_err(|e| CheckpointError::io(&path, e))?;
        self.open = Some(OpenFile {
            path,
            name: name.to_owned(),
            kind,
            size,
            received: 0,
            file,
            hasher: Sha256::new(),
        });
        Ok(())
    }

    /// Bytes of the open file.
    ///
    /// # Errors
    /// If they are not what was sent, or more than was announced.
    pub fn chunk(&mut self, data: &[u8], sha256: [u8; 32]) -> Result<(), CheckpointError> {
        let Some(open) = &mut self.open else {
            return Err(protocol("a chunk comes before its file".to_owned()));
        };
        if <[u8; 32]>::from(Sha256::digest(data)) != sha256 {
            return Err(CheckpointError::Corrupt {
                what: format!("the chunk of {} at byte {}", open.name, open.received),
            });
        }
        open.received += data.len() as u64;
        if open.received > open.size {
            let what = format!(
                "file {} has more than its announced {} bytes",
                open.name, open.size
            );
            return Err(protocol(what));
        }
        open.hasher.update(data);
        open.file
            .write_all(data)
            .map_err(|source| CheckpointError::io(&open.path, source))
    }

    /// The open file is whole.
    ///
    /// # Errors
    /// If it is not, or cannot be flushed.
    pub fn end_file(&mut self, sha256: [u8; 32]) -> Result<(), CheckpointError> {
        let Some(open) = self.open.take() else {
            return Err(protocol("a file ends before it begins".to_owned()));
        };
        if open.received != open.size {
            let what = format!(
                "file {} has {} bytes instead of its announced {}",
                open.name, open.received, open.size
            );
            return Err(protocol(what));
        }
        if <[u8; 32]>::from(open.hasher.finalize()) != sha256 {
            return Err(CheckpointError::Corrupt {
                what: format!("file {}", open.name),
            });
        }
        open.file
            .sync_all()
            .map_err(|source| CheckpointError::io(&open.path, source))?;
        self.files.push(CheckpointFile {
            name: open.name,
            kind: open.kind,
            size: open.size,
            sha256,
        });
        Ok(())
    }

    /// Checks the whole and moves it to its place. The manifest is still to be
    /// committed.
    ///
    /// # Errors
    /// If files are missing, or the model is not the run's.
    pub fn install(mut self) -> Result<Installed, CheckpointError> {
        if let Some(open) = &self.open {
            return Err(protocol(format!("file {} has not ended", open.name)));
        }
        let total: u64 = self.files.iter().map(|file| file.size).sum();
        if total != self.begin.total_bytes {
            let announced = self.begin.total_bytes;
            return Err(protocol(format!(
                "{total} bytes came instead of the announced {announced}"
            )));
        }
        let model = ModelDir::open(self.folder.join(FileKind::Model.folder()))?;
        model.check(&self.checkpoints.model)?;
        self.files
            .sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let checkpoint = Checkpoint {
            id: self.id.clone(),
            generation: self.begin.generation,
            cursor: self.begin.cursor,
            evaluation: self.begin.evaluation,
            training_loss: self.begin.training_loss,
            parameters: model.count_parameters(),
            files: std::mem::take(&mut self.files),
            created_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        };
        drop(model);
        let is_new = self.checkpoints.place(&self.folder, &checkpoint)?;
        Ok(Installed { checkpoint, is_new })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.folder.exists()
            && let Err(error) = remove_folder(&self.folder)
        {
            tracing::warn!(%error, "an incomplete checkpoint stays on disk until the next start");
        }
        self.checkpoints.lock().uploading.remove(&self.id);
    }
}

impl CheckpointFolder {
    /// Renames a complete folder to its checkpoint's place, if that is free.
    pub(super) fn place(
        &self,
        complete: &std::path::Path,
        checkpoint: &Checkpoint,
    ) -> Result<bool, CheckpointError> {
        let place = self.path(&checkpoint.id);
        if place.exists() {
            // The same upload, repeated for want of an answer; the machine
            // compares the manifests.
            return Ok(false);
        }
        let manifest = complete.join("manifest.json");
        let failed = |source| CheckpointError::io(&manifest, source);
        let text =
            serde_json::to_vec_pretty(&for_people(checkpoint)).map_err(|e| failed(e.into()))?;
        fs::write(&manifest, text).map_err(failed)?;
        File::open(&manifest)
            .and_then(|file| file.sync_all())
            .map_err(failed)?;
        for kind in [FileKind::Model, FileKind::State] {
            sync_folder(&complete.join(kind.folder()))?;
        }
        sync_folder(complete)?;
        fs::rename(complete, &place).map_err(|source| CheckpointError::io(&place, source))?;
        sync_folder(&self.root)?;
        Ok(true)
    }
}

/// The manifest as people, and their scripts, can read it in the folder.
fn for_people(checkpoint: &Checkpoint) -> serde_json::Value {
    let files = checkpoint.files.iter().map(|file| {
        serde_json::json!({
            "name": format!("{}/{}", file.kind.folder(), file.name),
            "size": file.size,
            "sha256": hex::encode(file.sha256),
        })
    });
    serde_json::json!({
        "checkpoint_id": checkpoint.id.0,
        "generation": checkpoint.generation,
        "cursor": checkpoint.cursor,
        "evaluation_loss": checkpoint.evaluation.map(|evaluation| evaluation.loss),
        "training_loss": checkpoint.training_loss,
        "parameters": checkpoint.parameters,
        "files": files.collect::<Vec<_>>(),
        "created_unix_ms": checkpoint.created_unix_ms,
    })
}

fn check_name(name: &str) -> Result<(), CheckpointError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || name.starts_with('.')
        || !name.chars().all(plain)
    {
        let what = format!("{name:?} is no plain file name of letters, digits, and -_. only");
        return Err(protocol(what));
    }
    Ok(())
}

fn protocol(what: String) -> CheckpointError {
    CheckpointError::Protocol(what)
}
