//! The journal: how far each publication has come.
//!
//! One file per publication, replaced whole and made durable at each stage, so
//! that after a crash it says what has been done: never more, and at most one
//! arrow less.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use subnet::{CommitId, FileDigest, ModelHash, ModelId, RepoId};

use crate::Error;
use crate::state_dir::StateDir;

/// Raised when an older publisher could misunderstand a record.
const FORMAT: u32 = 1;

/// A checkpoint on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// The record's format.
    pub format: u32,
    /// The checkpoint.
    pub checkpoint_id: String,
    /// The run it comes from.
    pub run_id: String,
    /// Where it goes.
    pub repo: RepoId,
    /// The directory hash of what is staged.
    pub hash: ModelHash,
    /// What is staged, by name.
    pub files: Vec<PublishedFile>,
    /// Parameters that the weights hold.
    pub parameters: u64,
    /// Its evaluation loss, in nats per token.
    pub loss: f64,
    /// Steps that its weights have applied.
    pub step: u64,
    /// When it was staged, in milliseconds since 1970.
    pub staged_unix_ms: u64,
    /// How far it has come.
    #[serde(flatten)]
    pub stage: Stage,
    /// The better checkpoint that replaced it while it was waiting.
    #[serde(default)]
    pub superseded_by: Option<String>,
}

/// A file of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl From<&FileDigest> for PublishedFile {
    fn from(digest: &FileDigest) -> PublishedFile {
        PublishedFile {
            name: digest.name.clone(),
            bytes: digest.bytes,
            sha256: hex::encode(digest.sha256),
        }
    }
}

/// The stations of a publication, in order. Each is written once it is passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The directory is complete, verified and immutable.
    Staged,
    /// The Hub has it.
    Uploaded {
        /// In this commit.
        commit: CommitId,
    },
    /// What the Hub serves was compared with what is staged.
    Verified {
        /// In this commit.
        commit: CommitId,
    },
    /// The chain string is in a finalized block.
    Committed {
        /// The Hub's commit.
        commit: CommitId,
        /// The block.
        block: u64,
    },
    /// The chain says what was committed.
    ReadBack {
        /// The Hub's commit.
        commit: CommitId,
        /// The block that the chain gives for it.
        block: u64,
    },
}

impl Stage {
    /// The stage as one word, as the journal has it.
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Staged => "staged",
            Stage::Uploaded { .. } => "uploaded",
            Stage::Verified { .. } => "verified",
            Stage::Committed { .. } => "committed",
            Stage::ReadBack { .. } => "read_back",
        }
    }

    /// The Hub's commit, once there is one.
    pub fn commit(&self) -> Option<CommitId> {
        match self {
            Stage::Staged => None,
            Stage::Uploaded { commit }
            | Stage::Verified { commit }
            | Stage::Committed { commit, .. }
            | Stage::ReadBack { commit, .. } => Some(*commit),
        }
    }
}

impl Publication {
    /// A new record, of what has just been staged.
    pub(crate) fn staged(
        candidate: &crate::Candidate,
        inspected: &crate::Inspected,
        repo: RepoId,
    ) -> Publication {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let manifest = &candidate.manifest;
        Publication {
            format: FORMAT,
            checkpoint_id: manifest.checkpoint_id.clone(),
            run_id: manifest.run_id.clone(),
            repo,
            hash: inspected.hash,
            files: candidate.files.clone(),
            parameters: inspected.parameters,
            // The gate lets nothing pass that has no evaluation.
            loss: candidate.loss.unwrap_or(f64::INFINITY),
            step: manifest.cursor.as_ref().map_or(0, |cursor| cursor.step),
            staged_unix_ms: now.map_or(0, |since| since.as_millis() as u64),
            stage: Stage::Staged,
            superseded_by: None,
        }
    }

    /// `namespace:name:commit:hash`, with forty zeros for a commit that is
    /// still to come.
    pub fn chain_string(&self) -> String {
        let id = ModelId {
            repo: self.repo.clone(),
            commit: Some(self.stage.commit().unwrap_or(CommitId::PENDING)),
            hash: Some(self.hash),
        };
        id.to_string()
    }

    /// Whether the Hub's commit is still to come.
    pub fn commit_pending(&self) -> bool {
        self.stage.commit().is_none()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether a better checkpoint may still take its place: nothing has left
    /// this machine, and none has taken it already.
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Staged && self.superseded_by.is_none()
    }

    /// Makes the record durable, in place of an earlier one.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Error> {
        let path = state.record(&self.checkpoint_id);
        layout::replace_file(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, self).map_err(io::Error::from)?;
            out.write_all(b"\n")
        })?;
        Ok(())
    }
}

/// Every record, oldest first.
pub(crate) fn read_all(state: &StateDir) -> Result<Vec<Publication>, Error> {
    let mut publications = Vec::new();
    for path in record_paths(&state.records())? {
        publications.push(read(&path)?);
    }
    publications.sort_by(|a, b| {
        (a.staged_unix_ms, &a.checkpoint_id).cmp(&(b.staged_unix_ms, &b.checkpoint_id))
    });
    Ok(publications)
}

fn record_paths(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file(dir, source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::file(dir, source))?.path();
        // Others are records whose writing was interrupted.
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn read(path: &Path) -> Result<Publication, Error> {
    let malformed = |reason: String| Error::Record {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read(path).map_err(|source| Error::file(path, source))?;
    let publication: Publication =
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    if publication.format != FORMAT {
        return Err(malformed(format!(
            "its format is {}, and this publisher knows {FORMAT}",
            publication.format
        )));
    }
    Ok(publication)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(stage: Stage) -> Publication {
        Publication {
            format: FORMAT,
            checkpoint_id: "c1".to_owned(),
            run_id: "run".to_owned(),
            repo: "ns/name".parse().unwrap(),
            hash: ModelHash::of_files(&[("config.json", [7; 32])]).unwrap(),
            files: Vec::new(),
            parameters: 10,
            loss: 3.25,
            step: 40,
            staged_unix_ms: 1,
            stage,
            superseded_by: None,
        }
    }

    fn every_stage() -> [Stage; 5] {
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        [
            Stage::Staged,
            Stage::Uploaded { commit },
            Stage::Verified { commit },
            Stage::Committed { commit, block: 5 },
            Stage::ReadBack { commit, block: 5 },
        ]
    }

    #[test]
    fn a_record_reads_as_it_was_written_at_every_stage() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        for stage in every_stage() {
            let written = publication(stage);
            written.write(&state).unwrap();
            assert_eq!(read_all(&state).unwrap(), [written]);
        }
    }

    #[test]
    fn the_chain_string_has_forty_zeros_until_the_hub_has_a_commit() {
        let [staged, uploaded, ..] = every_stage();
        let staged = publication(staged).chain_string();
        assert!(staged.starts_with("ns:name:0000000000000000000000000000000000000000:"));
        let uploaded = publication(uploaded).chain_string();
        assert!(uploaded.starts_with("ns:name:0123456789abcdef0123456789abcdef01234567:"));
    }

    #[test]
    fn a_record_of_another_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let mut later = publication(Stage::Staged);
        later.format = 2;
        later.write(&state).unwrap();
        let message = read_all(&state).unwrap_err().to_string();
        assert!(message.contains("c1.json"), "{message}");
        assert!(message.contains("format is 2"), "{message}");
    }
}
