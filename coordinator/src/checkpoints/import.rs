//! Weights that a run starts from: checkpoint zero.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use layout::{CONFIG_FILE, GENERATION_CONFIG_FILE, Gpt2Config, MODEL_FILE, ModelDir};
use ledger::Cursor;
use tempfile::TempDir;

use super::verify::describe;
use super::{CheckpointError, CheckpointFolder, PARTIAL, remove_folder};
use crate::records::{Checkpoint, CheckpointId, FileKind};

/// Weights to start from, opened and checked: every tensor there with its
/// shape, none that does not belong.
#[derive(Debug)]
pub struct InitialWeights {
    model: ModelDir,
    /// Where the model directory is, if it had to be made up.
    _made_up: Option<TempDir>,
}

impl InitialWeights {
    /// A model directory as transformers writes it.
    ///
    /// # Errors
    /// If files or tensors are missing, misshapen or unexpected: all of them,
    /// by name.
    pub fn open_directory(path: &Path) -> Result<InitialWeights, CheckpointError> {
        let model = ModelDir::open(path)?;
        model.check(model.config())?;
        Ok(InitialWeights {
            model,
            _made_up: None,
        })
    }

    /// A file of weights in the safetensors format, and the model that they
    /// are of.
    ///
    /// # Errors
    /// As [`InitialWeights::open_directory`].
    pub fn open_file(path: &Path, config: &Gpt2Config) -> Result<InitialWeights, CheckpointError> {
        let failed = |source| CheckpointError::io(path, source);
        let path = fs::canonicalize(path).map_err(failed)?;
        let made_up = tempfile::tempdir().map_err(failed)?;
        std::os::unix::fs::symlink(&path, made_up.path().join(MODEL_FILE)).map_err(failed)?;
        fs::write(made_up.path().join(CONFIG_FILE), config.to_json()).map_err(failed)?;
        let generation = made_up.path().join(GENERATION_CONFIG_FILE);
        fs::write(generation, config.generation_json()).map_err(failed)?;
        let model = ModelDir::open(made_up.path())?;
        model.check(config)?;
        Ok(InitialWeights {
            model,
            _made_up: Some(made_up),
        })
    }

    /// What the weights are of.
    pub fn config(&self) -> &Gpt2Config {
        self.model.config()
    }

    /// The model directory's hash, as hexadecimal digits.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<String, subnet::HashError> {
        let hashed = subnet::hash_directory(self.model.path())?;
        Ok(hashed.hash.to_hex())
    }

    /// Copies the weights into `checkpoints` as checkpoint zero; its manifest
    /// is still to be committed.
    ///
    /// # Errors
    /// If they cannot be copied, flushed or moved.
    pub fn install(&self, checkpoints: &CheckpointFolder) -> Result<Checkpoint, CheckpointError> {
        let id = CheckpointId::initial();
        let folder = checkpoints.root.join(format!("{PARTIAL}{id}"));
        if folder.exists() {
            remove_folder(&folder)?;
        }
        for kind in [FileKind::Model, FileKind::State] {
            let folder = folder.join(kind.folder());
            fs::create_dir_all(&folder).map_err(|e| CheckpointError::io(&folder, e))?;
        }
        let mut files = Vec::new();
        for path in self.model.files() {
            let to = self.place_for(path, &folder);
            copy(path, &to)?;
            files.push(describe(&to, FileKind::Model)?);
        }
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let checkpoint = Checkpoint {
            id,
            generation: 0,
            cursor: Cursor::start(),
            evaluation: None,
            training_loss: 0.0,
            parameters: self.model.count_parameters(),
            files,
            created_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        };
        checkpoints.place(&folder, &checkpoint)?;
        Ok(checkpoint)
    }

    fn place_for(&self, file: &Path, folder: &Path) -> PathBuf {
        let name = file.file_name().unwrap_or_default();
        folder.join(FileKind::Model.folder()).join(name)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    fs::copy(from, to).map_err(|source| CheckpointError::io(from, source))?;
    fs::File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|source| CheckpointError::io(to, source))
}
