//! The journal: how far each publication has come.
//!
//! One file per publication, replaced whole and made durable at each stage, so
//! that after a crash it says what has been done: never more, and at most one
//! arrow less. Before an act that cannot be taken back the record also says
//! that it is about to be done ([`Intent`]), so that after a crash it is known
//! where to look whether it was.
//!
//! Beside them, one small file per checkpoint that was refused.

mod claim;
mod files;
mod refused;
mod stage;

use serde::{Deserialize, Serialize};
use subnet::{CommitId, FileDigest, ModelHash, ModelId, RepoId};

use files::write_json;

use crate::clock::unix_ms;
use crate::gate::Verdict;
use crate::state_dir::StateDir;
use crate::{Candidate, Error, Inspected};

pub(crate) use files::{find, read_all};
pub use refused::RefusedCheckpoint;
pub(crate) use refused::{forget as forget_refused, read_refused};
pub use stage::{Committer, Ended, Intent, Mishaps, Stage, Waiting};

/// Raised when an older publisher could misunderstand a record. Format 1 knew
/// nothing but publications that were staged from a run; all it has is read.
const FORMAT: u32 = 2;

/// The oldest format that is read.
const OLDEST_FORMAT: u32 = 1;

/// A checkpoint on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// The record's format.
    pub format: u32,
    /// The checkpoint; for a model that was uploaded by hand, `upload-` and the
    /// beginning of its hash.
    pub checkpoint_id: String,
    /// The run it comes from; none when it was uploaded by hand.
    pub run_id: Option<String>,
    /// Where it goes.
    pub repo: RepoId,
    /// The directory hash of what is staged.
    pub hash: ModelHash,
    /// What is staged, by name.
    pub files: Vec<PublishedFile>,
    /// Parameters that the weights hold.
    pub parameters: u64,
    /// Its evaluation loss, in nats per token; none when it was uploaded by
    /// hand.
    pub loss: Option<f64>,
    /// Steps that its weights have applied.
    pub step: u64,
    /// When it was staged, in milliseconds since 1970.
    pub staged_unix_ms: u64,
    /// How far it has come.
    #[serde(flatten)]
    pub stage: Stage,
    /// When it reached that stage, in milliseconds since 1970.
    #[serde(default)]
    pub stage_unix_ms: Option<u64>,
    /// The better checkpoint that replaced it while it was waiting.
    #[serde(default)]
    pub superseded_by: Option<String>,
    /// Whose commitment it becomes; none while that is not known, and for what
    /// goes to the Hub alone.
    #[serde(default)]
    pub committer: Option<Committer>,
    /// What the comparison with the hotkey's commitment said.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// What may be half done.
    #[serde(default)]
    pub under_way: Option<Intent>,
    /// What went wrong on its way, and may not go wrong often.
    #[serde(default)]
    pub mishaps: Mishaps,
    /// What keeps it just now.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// Why it goes no further.
    #[serde(default)]
    pub ended: Option<Ended>,
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

impl Publication {
    /// A new record, of what has just been staged.
    pub(crate) fn staged(
        candidate: &Candidate,
        inspected: &Inspected,
        repo: RepoId,
    ) -> Publication {
        let manifest = &candidate.manifest;
        let from_run = (!manifest.run_id.is_empty()).then(|| manifest.run_id.clone());
        Publication {
            format: FORMAT,
            checkpoint_id: manifest.checkpoint_id.clone(),
            run_id: from_run,
            repo,
            hash: inspected.hash,
            files: candidate.files.clone(),
            parameters: inspected.parameters,
            loss: candidate.loss,
            step: manifest.cursor.as_ref().map_or(0, |cursor| cursor.step),
            staged_unix_ms: unix_ms(),
            stage: Stage::Staged,
            stage_unix_ms: Some(unix_ms()),
            superseded_by: None,
            committer: None,
            verdict: None,
            under_way: None,
            mishaps: Mishaps::default(),
            waiting: None,
            ended: None,
        }
    }

    /// Its name in a repository on the chain, with forty zeros for a commit
    /// that is still to come.
    pub fn model_id(&self) -> ModelId {
        let hash = match &self.committer {
            Some(committer) if committer.hotkey_in_hash => {
                self.hash.with_hotkey(&committer.hotkey.to_string())
            }
            _ => self.hash,
        };
        ModelId {
            repo: self.repo.clone(),
            commit: Some(self.stage.commit().unwrap_or(CommitId::PENDING)),
            hash: Some(hash),
        }
    }

    /// `namespace:name:commit:hash` of [`Publication::model_id`].
    pub fn chain_string(&self) -> String {
        self.model_id().to_string()
    }

    /// Whether the Hub's commit is still to come.
    pub fn commit_pending(&self) -> bool {
        self.stage.commit().is_none()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether nothing more has to happen to it.
    pub fn is_finished(&self) -> bool {
        let on_the_hub_alone = self.run_id.is_none() && self.committer.is_none();
        match self.stage {
            Stage::ReadBack { .. } => true,
            Stage::Verified { .. } => on_the_hub_alone,
            Stage::Staged | Stage::Uploaded { .. } | Stage::Committed { .. } => false,
        }
    }

    /// Whether it is still on its way.
    pub fn is_open(&self) -> bool {
        self.superseded_by.is_none() && self.ended.is_none() && !self.is_finished()
    }

    /// Whether its commitment may be on the chain, or on its way there.
    pub fn is_being_committed(&self) -> bool {
        let intends_to = matches!(self.under_way, Some(Intent::Commit { .. }));
        intends_to || matches!(self.stage, Stage::Committed { .. })
    }

    /// Whether a better checkpoint may still take its place: no commitment is
    /// on the chain or on its way there, and none has taken it already. A
    /// commit on the Hub is no obstacle: nobody looks at it but by the chain.
    pub fn is_waiting(&self) -> bool {
        self.is_open() && !self.is_being_committed()
    }

    /// Puts the publication at a stage, with nothing half done and nothing in
    /// its way.
    pub(crate) fn reach(&mut self, stage: Stage) {
        self.stage = stage;
        self.stage_unix_ms = Some(unix_ms());
        self.under_way = None;
        self.waiting = None;
        self.ended = None;
    }

    /// Makes the record durable, in place of an earlier one.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Error> {
        write_json(&state.record(&self.checkpoint_id), self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    pub(crate) fn publication(stage: Stage) -> Publication {
        Publication {
            format: FORMAT,
            checkpoint_id: "c1".to_owned(),
            run_id: Some("run".to_owned()),
            repo: "ns/name".parse().unwrap(),
            hash: ModelHash::of_files(&[("config.json", [7; 32])]).unwrap(),
            files: Vec::new(),
            parameters: 10,
            loss: Some(3.25),
            step: 40,
            staged_unix_ms: 1,
            stage,
            stage_unix_ms: Some(2),
            superseded_by: None,
            committer: None,
            verdict: None,
            under_way: None,
            mishaps: Mishaps::default(),
            waiting: None,
            ended: None,
        }
    }

    pub(crate) fn every_stage() -> [Stage; 5] {
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
            let mut written = publication(stage);
            written.under_way = Some(Intent::Commit {
                chain_string: written.chain_string(),
                pending: None,
                since_unix_ms: 3,
            });
            written.waiting = Some(Waiting {
                why: "the quota".to_owned(),
                since_unix_ms: 4,
                until_unix_ms: None,
            });
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
    fn the_hotkey_is_in_the_hash_when_the_committer_wants_it() {
        let mut record = publication(Stage::Staged);
        let plain = record.chain_string();
        let hotkey = subnet::Account::from([7; 32]);
        let mut committer = Committer {
            hotkey,
            netuid: 9,
            hotkey_in_hash: false,
            genesis: None,
        };
        record.committer = Some(committer.clone());
        assert_eq!(record.chain_string(), plain);
        committer.hotkey_in_hash = true;
        record.committer = Some(committer);
        let with_hotkey = record.hash.with_hotkey(&hotkey.to_string());
        assert_eq!(record.model_id().hash, Some(with_hotkey));
    }

    #[test]
    fn a_better_checkpoint_may_take_its_place_until_the_commitment_begins() {
        let [staged, uploaded, verified, committed, read_back] = every_stage();
        for stage in [staged, uploaded, verified.clone()] {
            assert!(publication(stage).is_waiting());
        }
        for stage in [committed, read_back] {
            assert!(!publication(stage).is_waiting());
        }
        let mut committing = publication(verified);
        committing.under_way = Some(Intent::Commit {
            chain_string: committing.chain_string(),
            pending: None,
            since_unix_ms: 3,
        });
        assert!(!committing.is_waiting() && committing.is_open());
    }

    #[test]
    fn what_was_uploaded_by_hand_ends_on_the_hub_unless_a_hotkey_commits_it() {
        let [_, _, verified, ..] = every_stage();
        let mut by_hand = publication(verified);
        assert!(!by_hand.is_finished());
        by_hand.run_id = None;
        assert!(by_hand.is_finished());
        by_hand.committer = Some(Committer {
            hotkey: subnet::Account::from([7; 32]),
            netuid: 9,
            hotkey_in_hash: false,
            genesis: None,
        });
        assert!(!by_hand.is_finished());
    }

    #[test]
    fn a_record_of_the_first_format_is_read_with_nothing_lost() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let hash = ModelHash::of_files(&[("config.json", [7; 32])]).unwrap();
        let text = format!(
            r#"{{"format": 1, "checkpoint_id": "c1", "run_id": "run", "repo": "ns/name",
                "hash": "{hash}", "files": [], "parameters": 10, "loss": 3.25, "step": 40,
                "staged_unix_ms": 1, "stage": "staged", "superseded_by": null}}"#
        );
        fs::write(state.record("c1"), text).unwrap();
        let expected = Publication {
            stage_unix_ms: None,
            ..publication(Stage::Staged)
        };
        assert_eq!(read_all(&state).unwrap(), [expected]);
    }

    #[test]
    fn a_record_of_a_later_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let mut later = publication(Stage::Staged);
        later.format = FORMAT + 1;
        later.write(&state).unwrap();
        let message = read_all(&state).unwrap_err().to_string();
        assert!(message.contains("c1.json"), "{message}");
        assert!(message.contains("format is 3"), "{message}");
    }
}
