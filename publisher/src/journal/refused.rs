//! Checkpoints that were refused before they became a publication.

use std::fs;

use serde::{Deserialize, Serialize};

use super::files::{json_files, read_json, write_json};
use crate::clock::unix_ms;
use crate::state_dir::StateDir;
use crate::{Candidate, Error, Refusal};

/// How many are remembered. A run that is held to a low threshold refuses one
/// at the end of nearly every epoch.
const KEPT: usize = 50;

/// A checkpoint that did not become a publication, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedCheckpoint {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// The run it comes from.
    pub run_id: String,
    /// Its evaluation loss, in nats per token, if it has one.
    pub loss: Option<f64>,
    /// Steps that its weights have applied.
    pub step: u64,
    /// Why, in words.
    pub reason: String,
    /// In which ways validators' criteria are violated.
    pub violations: Vec<String>,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl RefusedCheckpoint {
    pub(crate) fn new(candidate: &Candidate, refusal: &Refusal) -> RefusedCheckpoint {
        let manifest = &candidate.manifest;
        RefusedCheckpoint {
            checkpoint_id: manifest.checkpoint_id.clone(),
            run_id: manifest.run_id.clone(),
            // JSON has no other numbers.
            loss: candidate.loss.filter(|loss| loss.is_finite()),
            step: manifest.cursor.as_ref().map_or(0, |cursor| cursor.step),
            reason: refusal.to_string(),
            violations: refusal.violations(),
            unix_ms: unix_ms(),
        }
    }

    /// Makes it durable, and forgets the oldest beyond [`KEPT`].
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Error> {
        let dir = state.refused();
        fs::create_dir_all(&dir).map_err(|source| Error::file(&dir, source))?;
        write_json(&state.refused_record(&self.checkpoint_id), self)?;
        let all = read_refused(state)?;
        for forgotten in &all[..all.len().saturating_sub(KEPT)] {
            forget(state, &forgotten.checkpoint_id)?;
        }
        Ok(())
    }
}

/// Every refused checkpoint that is remembered, oldest first.
pub(crate) fn read_refused(state: &StateDir) -> Result<Vec<RefusedCheckpoint>, Error> {
    let mut refused: Vec<RefusedCheckpoint> = Vec::new();
    for path in json_files(&state.refused())? {
        refused.push(read_json(&path)?);
    }
    refused.sort_by(|a, b| (a.unix_ms, &a.checkpoint_id).cmp(&(b.unix_ms, &b.checkpoint_id)));
    Ok(refused)
}

/// Forgets a refusal, if there was one: the checkpoint is a publication now.
pub(crate) fn forget(state: &StateDir, checkpoint_id: &str) -> Result<(), Error> {
    let path = state.refused_record(checkpoint_id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(&path, error))
        }
        _ => Ok(()),
    }
}
