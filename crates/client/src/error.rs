//! What can go wrong between this process and the coordinator.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};

use crate::Addresses;

/// Why a call, a download or an upload failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address.
    #[error("cannot reach the coordinator at {addresses}: {reason}")]
    Connect {
        /// Where it was looked for.
        addresses: Addresses,
        /// What the transport said, from the outermost cause to the innermost.
        reason: String,
    },
    /// The coordinator, or the connection to it, answered a call with a status.
    #[error("{call}: {}", describe_status(status))]
    Call {
        /// The call's name, as in the protocol.
        call: &'static str,
        /// The answer.
        status: Box<Status>,
    },
    /// An answer stopped before its end.
    #[error("{call}: {reason}")]
    Interrupted {
        /// The call's name, as in the protocol.
        call: &'static str,
        /// How far it came, or for how long it was silent.
        reason: String,
    },
    /// A file arrived with other bytes than its manifest promises, several
    /// times over.
    #[error("{file} of checkpoint {checkpoint_id} arrives with the wrong bytes: {reason}")]
    Corrupt {
        /// The checkpoint.
        checkpoint_id: String,
        /// The file's name in the manifest.
        file: String,
        /// What differs.
        reason: String,
    },
    /// A manifest that cannot be downloaded as it stands.
    #[error("the manifest of checkpoint {checkpoint_id} cannot be used: {reason}")]
    Manifest {
        /// The checkpoint.
        checkpoint_id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused something on this machine.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The files would not fit on the disk; nothing was downloaded.
    #[error(
        "{} has {available} bytes free and the download needs {needed}: free some space or choose another folder",
        dir.display()
    )]
    NoSpace {
        /// The folder that was to hold the files.
        dir: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// A file to be uploaded could not be read, or has not the size announced.
    #[error("cannot upload {file}: {reason}")]
    Content {
        /// The file's name in the checkpoint.
        file: String,
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    /// Whether the same attempt would fail again: the coordinator refuses what
    /// was asked, or this machine is in the way. All else (nobody answers, the
    /// connection broke, the coordinator is busy) is worth another attempt.
    pub fn is_fatal(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Interrupted { .. } => false,
            Error::Call { status, .. } => code_is_fatal(status.code()),
            Error::Corrupt { .. }
            | Error::Manifest { .. }
            | Error::File { .. }
            | Error::NoSpace { .. }
            | Error::Content { .. } => true,
        }
    }

    /// Whether the coordinator no longer has what was asked for, as happens to
    /// a checkpoint that a newer one replaced.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Call { status, .. } if status.code() == Code::NotFound)
    }

    /// Whether the coordinator expects something else to come first.
    pub fn is_precondition(&self) -> bool {
        matches!(self, Error::Call { status, .. } if status.code() == Code::FailedPrecondition)
    }

    /// Whether a checkpoint's file is not what its manifest says: it arrives
    /// with other bytes, or the coordinator knows that it is gone or changed.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Corrupt { .. } => true,
            Error::Call { status, .. } => status.code() == Code::DataLoss,
            _ => false,
        }
    }

    /// Whether the coordinator has no room for what was sent. It may later.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Error::Call { status, .. } if status.code() == Code::ResourceExhausted)
    }

    /// Wraps the status with which `call` (its name in the protocol) ended.
    pub fn call(call: &'static str, status: Status) -> Error {
        Error::Call {
            call,
            status: Box::new(status),
        }
    }

    pub(crate) fn silent(call: &'static str, silence: Duration) -> Error {
        Error::Interrupted {
            call,
            reason: format!("no word from the coordinator for {silence:?}"),
        }
    }

    /// Whether a file is being written by another download.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Error::File { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    pub(crate) fn file(path: &Path, source: io::Error) -> Error {
        Error::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// `Unknown` and `Internal` are what a connection that breaks within an answer
/// looks like, so they do not count as the coordinator's refusal.
fn code_is_fatal(code: Code) -> bool {
    match code {
        Code::Ok
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal => false,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => true,
    }
}

fn describe_status(status: &Status) -> String {
    let message = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    let mut text = format!("{message} ({:?})", status.code());
    append_causes(&mut text, status.source());
    text
}

/// An error and its causes, outermost first, each said once.
pub(crate) fn describe_chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    append_causes(&mut text, error.source());
    text
}

fn append_causes(text: &mut String, mut cause: Option<&dyn StdError>) {
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !text.contains(&sentence) {
            text.push_str(": ");
            text.push_str(&sentence);
        }
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_fatal_and_broken_connections_are_not() {
        for code in [
            Code::FailedPrecondition,
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            let error = Error::call("Read", Status::new(code, "no"));
            assert!(error.is_fatal(), "{error}");
        }
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Unknown,
            Code::Internal,
            Code::Aborted,
        ] {
            let error = Error::call("Read", Status::new(code, "later"));
            assert!(!error.is_fatal(), "{error}");
        }
    }

    #[test]
    fn a_status_is_told_with_its_call_and_code() {
        let error = Error::call("Join", Status::failed_precondition("protocol 2, not 1"));
        assert_eq!(
            error.to_string(),
            "Join: protocol 2, not 1 (FailedPrecondition)"
        );
    }
}
