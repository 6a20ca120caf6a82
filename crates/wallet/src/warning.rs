//! What is questionable about a wallet and does not keep it from being used.

use std::fmt;
use std::path::PathBuf;

use crate::keyfile::KeyfileError;

/// Something about a wallet that its owner should know. `Display` says it, with
/// what to do, and without a final full stop.
#[derive(Debug)]
pub enum Warning {
    /// Others than the owner have access to a keyfile or a password's file.
    FilePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than the owner can put another file in a secret file's place.
    FolderPermissions {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The hotkey's public file, which is there to be compared, cannot be.
    PublicFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: PublicFileProblem,
    },
}

/// Why a public file could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum PublicFileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// It is something else, or far too large.
    #[error("is not a file of the size that such files have")]
    NotASmallFile,
    /// It does not hold an account.
    #[error(transparent)]
    Contents(#[from] KeyfileError),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FilePermissions { path, mode } => write!(
                f,
                "other users of this machine have access to {path} (its mode is {mode:03o}): run \
                 chmod 600 {path}",
                path = path.display()
            ),
            Self::FolderPermissions { path, mode } => write!(
                f,
                "other users of this machine can replace the files in {path} (its mode is \
                 {mode:03o}): run chmod go-w {path}",
                path = path.display()
            ),
            Self::PublicFile { path, why } => write!(
                f,
                "the hotkey was not compared with {}: {why}; make the file again with `btcli wallet \
                 regen-hotkeypub`, or remove it",
                path.display()
            ),
        }
    }
}
