//! Why a checkpoint could not be received, read or kept.

use std::io;
use std::path::{Path, PathBuf};

use crate::records::CheckpointId;

/// The disk cannot read it (errno.h; the standard library has no kind for it).
const EIO: i32 = 5;

/// A failure about a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk is too small.
    #[error(
        "the checkpoint has {needed} bytes and the coordinator's disk has {free} free: free some \
         space under its --state-dir"
    )]
    NoSpace {
        /// Bytes of all files.
        needed: u64,
        /// Bytes free, less a reserve.
        free: u64,
    },
    /// The budget for checkpoints is spent.
    #[error(
        "the checkpoint has {needed} bytes, and of the {budget} bytes that --checkpoint-disk-gib \
         allows {used} are taken by checkpoints that must stay: allow more, or start again with a \
         lower --keep-checkpoints"
    )]
    OverBudget {
        /// Bytes of all files.
        needed: u64,
        /// Bytes that checkpoints take.
        used: u64,
        /// Bytes that they may.
        budget: u64,
    },
    /// A file on disk is not what the manifest says.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The upload breaks the protocol or its own announcements.
    #[error("{0}")]
    Protocol(String),
    /// What arrived is not what was sent.
    #[error("{what} does not have the SHA-256 that was announced: send it again")]
    Corrupt {
        /// A chunk of a file, or a file.
        what: String,
    },
    /// The model is not this run's.
    #[error(transparent)]
    Model(#[from] layout::LayoutError),
    /// The same checkpoint is being uploaded by someone else, or removed.
    #[error("checkpoint {0} is being written or removed: try again")]
    Busy(CheckpointId),
    /// There is no such checkpoint or file.
    #[error("{0}")]
    NotFound(String),
}

impl CheckpointError {
    /// Whether files on disk are gone or changed, so that trying again is no
    /// use. All else, such as a lack of open files or of permission, may pass.
    pub fn is_damage(&self) -> bool {
        match self {
            CheckpointError::Damaged { .. } => true,
            CheckpointError::Io { source, .. } => {
                let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
                gone.contains(&source.kind()) || source.raw_os_error() == Some(EIO)
            }
            _ => false,
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> CheckpointError {
        CheckpointError::Io {
            path: path.to_owned(),
            source,
        }
    }
}
