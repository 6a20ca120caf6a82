//! What can go wrong with the Hub, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use subnet::{CommitId, RepoId};

use crate::Refusal;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The client cannot be made from its configuration.
    #[error("the Hub at {endpoint:?} cannot be used: {reason}")]
    Config {
        /// The address configured, without a name and a password.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The Hub refused what was asked.
    #[error("{call}: {refusal}")]
    Refused {
        /// What was asked, in words.
        call: &'static str,
        /// Its answer.
        refusal: Box<Refusal>,
    },
    /// No answer, or one that broke off.
    #[error("{call}: {reason}")]
    Interrupted {
        /// What was asked, in words.
        call: &'static str,
        /// What the network did.
        reason: String,
    },
    /// An answer that makes no sense, or is larger than any that would.
    #[error("{call}: the Hub's answer cannot be used: {reason}")]
    Answer {
        /// What was asked, in words.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such repository, or the token may not see it.
    #[error("there is no repository {repo} on the Hub, or the token may not see it")]
    NoRepository {
        /// The repository.
        repo: RepoId,
    },
    /// The repository has another name by now; the chain string must hold that.
    #[error("the repository {repo} is called {name} on the Hub")]
    Renamed {
        /// The name used here.
        repo: RepoId,
        /// Its name there.
        name: String,
    },
    /// Somebody else committed to the repository.
    #[error(
        "the head of {repo} is {head}, where the publication expects {expected}: somebody else \
         has committed to it"
    )]
    Moved {
        /// The repository.
        repo: RepoId,
        /// The parent asked for.
        expected: CommitId,
        /// What is there.
        head: CommitId,
    },
    /// The commit was sent, and neither an answer nor the repository says what
    /// became of it.
    #[error("it is unknown whether the commit to {repo} arrived: {source}")]
    Unconfirmed {
        /// The repository.
        repo: RepoId,
        /// The last failure.
        source: Box<HubError>,
    },
    /// A large file could travel only inside the commit.
    #[error(
        "the Hub offers no Xet transfer for {file} of {bytes} bytes, and files above {limit} \
         bytes are not sent inside a commit"
    )]
    NoXet {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The most that is sent in this way.
        limit: u64,
    },
    /// A set of files that cannot be published.
    #[error("{file} cannot be published: {reason}")]
    Unpublishable {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A file to be published is not what its digest promises.
    #[error("{} is not the file that was to be published: {reason}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// Sending or reading the contents of large files by Xet failed.
    #[error("transferring by Xet: {reason}")]
    Transfer {
        /// What the transfer library said.
        reason: String,
        /// What can be done.
        kind: TransferKind,
    },
    /// What the Hub serves is not what was published.
    #[error("{repo} at {commit} is not what was published: {reason}")]
    NotServed {
        /// The repository.
        repo: RepoId,
        /// The commit.
        commit: CommitId,
        /// What differs.
        reason: String,
    },
    /// The repository is larger than validators accept, all files counted.
    #[error(
        "{repo} at {commit} has {bytes} bytes in all its files, and at most {limit} are accepted"
    )]
    TooLarge {
        /// The repository.
        repo: RepoId,
        /// The commit.
        commit: CommitId,
        /// The size of all its files.
        bytes: u64,
        /// The most accepted.
        limit: u64,
    },
    /// The files at a commit do not make up a model.
    #[error("{repo} at {commit} holds no model: {reason}")]
    NoModel {
        /// The repository.
        repo: RepoId,
        /// The commit.
        commit: CommitId,
        /// What is missing or forbidden.
        reason: String,
    },
    /// A file keeps arriving with other bytes than its digest promises.
    #[error("{file} arrives with the wrong bytes: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },
    /// The files would not fit on the disk; nothing was downloaded.
    #[error(
        "{} has {available} bytes free and the download needs {needed}: free some space or choose \
         another folder",
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
    /// The operating system refused something on this machine.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What can be done about a failed transfer of large files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// The network or the server failed, or nothing moved for too long.
    Passing,
    /// The server sheds load, and is to be left alone for this long.
    Throttled(Duration),
    /// The storage itself fails over what is asked, as it may over what it lost.
    Failing,
    /// The storage lacks what it was taken to have, or contradicts what earlier
    /// transfers left in the cache here.
    Inconsistent,
    /// This machine is in the way.
    Local,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the same call will fail again. See [`HubError::advice`].
    Fatal,
    /// Call again after this long, and not before.
    Wait(Duration),
    /// Call again in a while.
    Retry,
    /// A commit may or may not have been made. Calling
    /// [`publish`](crate::Hub::publish) again finds out before it writes.
    Ambiguous,
}

impl HubError {
    /// What can be done about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            HubError::Refused { refusal, .. } => refusal.class(),
            HubError::Interrupted { .. } | HubError::Answer { .. } => Class::Retry,
            HubError::Unconfirmed { .. } => Class::Ambiguous,
            HubError::Transfer { kind, .. } => match kind {
                TransferKind::Passing | TransferKind::Failing | TransferKind::Inconsistent => {
                    Class::Retry
                }
                TransferKind::Throttled(wait) => Class::Wait(*wait),
                TransferKind::Local => Class::Fatal,
            },
            _ => Class::Fatal,
        }
    }

    /// What to do about an error that will not pass by itself, in a sentence or
    /// two for a person. `None` where the error's own words say it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let words = match self {
            HubError::Refused { refusal, .. } => return refusal.advice(),
            HubError::NoRepository { repo } => {
                return Some(format!(
                    "check the spelling of {repo}, and that the token may read its namespace"
                ));
            }
            HubError::Renamed { name, .. } => {
                return Some(format!("use {name}, so that validators find the model"));
            }
            HubError::Moved { .. } => {
                "find out who else has a token for the repository; publishing again replaces what \
                 they committed"
            }
            HubError::Unconfirmed { .. } => {
                "publish again: the repository is read first, and a commit that did arrive is \
                 taken over"
            }
            HubError::NoXet { .. } => {
                "use a Hub that offers Xet transfers; huggingface.co does for every model \
                 repository"
            }
            HubError::Changed { .. } => "do not write to the folder while it is being published",
            HubError::TooLarge { .. } => {
                "delete what does not belong to the model from the repository, or choose a \
                 smaller model"
            }
            HubError::Corrupt { .. } => {
                "the connection or the server damages files; try again later or from elsewhere"
            }
            _ => return None,
        };
        Some(words.to_owned())
    }

    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        HubError::File {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn answer(call: &'static str, reason: impl Into<String>) -> Self {
        HubError::Answer {
            call,
            reason: reason.into(),
        }
    }

    /// The status with which the Hub refused, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            HubError::Refused { refusal, .. } => Some(refusal.status),
            HubError::Unconfirmed { source, .. } => source.status(),
            _ => None,
        }
    }
}
