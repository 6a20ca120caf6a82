//! A checkpoint that may become a publication.

use proto::v1::{CheckpointManifest, FileKind};

use crate::journal::PublishedFile;

/// What a coordinator says about a checkpoint, understood as far as publishing
/// needs it. Nothing in it has been verified.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The manifest as it came.
    pub manifest: CheckpointManifest,
    /// Mean over sequences of the validator's loss, in nats; absent when these
    /// weights were never evaluated.
    pub loss: Option<f64>,
    /// Whether that loss is the training average of an epoch, for want of
    /// evaluation pages.
    pub loss_from_training: bool,
    /// The files of the model directory, by name.
    pub files: Vec<PublishedFile>,
}

impl Candidate {
    /// Understands a manifest.
    ///
    /// # Errors
    /// In words, when its id cannot name a folder or a file has no SHA-256.
    pub fn from_manifest(manifest: CheckpointManifest) -> Result<Candidate, String> {
        check_id(&manifest.checkpoint_id)?;
        let mut files = Vec::new();
        for file in &manifest.files {
            if file.kind() != FileKind::Model {
                continue;
            }
            if file.sha256.len() != 32 {
                return Err(format!("{} has no sha256 of 32 bytes", file.name));
            }
            let name = file.name.rsplit('/').next().unwrap_or_default();
            files.push(PublishedFile {
                name: name.to_owned(),
                bytes: file.size,
                sha256: hex::encode(&file.sha256),
            });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Candidate {
            loss: manifest
                .evaluation
                .as_ref()
                .map(|evaluation| evaluation.loss),
            loss_from_training: manifest
                .evaluation
                .as_ref()
                .is_some_and(|evaluation| evaluation.from_training),
            files,
            manifest,
        })
    }

    /// The checkpoint's id, fit to name a file.
    pub fn id(&self) -> &str {
        &self.manifest.checkpoint_id
    }

    /// Bytes of the model directory.
    pub fn bytes(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

fn check_id(id: &str) -> Result<(), String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.chars().all(plain) {
        return Err(format!("{id:?} is not the id of a checkpoint"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_cannot_name_a_folder_is_refused() {
        for id in ["", ".", "..", "a/b", "../x", ".hidden", "a b", "a\0b"] {
            let manifest = CheckpointManifest {
                checkpoint_id: id.to_owned(),
                ..CheckpointManifest::default()
            };
            assert!(Candidate::from_manifest(manifest).is_err(), "{id:?}");
        }
    }
}
