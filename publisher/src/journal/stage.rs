//! The stations of a publication, and what may be half done between two.

use serde::{Deserialize, Serialize};
use subnet::CommitId;

use crate::commitment::Pending;

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

    /// The block of the commitment, once there is one.
    pub fn block(&self) -> Option<u64> {
        match self {
            Stage::Committed { block, .. } | Stage::ReadBack { block, .. } => Some(*block),
            Stage::Staged | Stage::Uploaded { .. } | Stage::Verified { .. } => None,
        }
    }
}

/// Something irreversible that was about to be done when the record was
/// written. Until the next stage is recorded, whether it happened has to be
/// read from the Hub or the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Intent {
    /// A commit on the Hub.
    Upload {
        /// The head that the repository had.
        parent: Option<CommitId>,
        /// Since when, in milliseconds since 1970.
        since_unix_ms: u64,
    },
    /// A commitment on the chain.
    Commit {
        /// What is committed.
        chain_string: String,
        /// The transaction that was signed for it, whose fate is not known.
        pending: Option<Pending>,
        /// Since when, in milliseconds since 1970.
        since_unix_ms: u64,
    },
}

/// What keeps a publication from its next stage just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In words.
    pub why: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it is tried again, as far as that is known, in milliseconds since
    /// 1970.
    pub until_unix_ms: Option<u64>,
}

/// Why a publication goes no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whether something went wrong that a person must mend, after which it is
    /// tried again; otherwise it was found not worth publishing.
    pub failed: bool,
    /// In words.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// Whose commitment a publication becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committer {
    /// The hotkey that signs.
    pub hotkey: subnet::Account,
    /// The subnet.
    pub netuid: u16,
    /// Whether the chain string's hash is taken over the hotkey too.
    pub hotkey_in_hash: bool,
    /// The hash of the chain's first block, `0x…`; none before the chain was first
    /// reached, and in records of earlier versions of this program.
    #[serde(default)]
    pub genesis: Option<String>,
}

/// What may go wrong a few times on the way, and not again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mishaps {
    /// How often somebody else committed to the repository just then.
    pub moved_heads: u32,
    /// How many commitments the chain executed in vain, for a reason that may pass.
    pub failed_commitments: u32,
}
