//! What ends a publisher early.

use std::io;
use std::path::{Path, PathBuf};

use cli::{Exit, Failure, Refused};

use crate::Refusal;

/// Why a publisher stopped before the end of its run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting was refused before anything started.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The coordinator refused, or could not be reached for too long.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The coordinator could not be reached for too long, and nothing
    /// irreversible may be done without it.
    #[error("{0}")]
    Unreachable(String),
    /// A publication cannot go on before a person has mended something.
    #[error("{checkpoint_id} cannot go on from {stage}: {reason}{}", advise(advice.as_deref()))]
    Stuck {
        /// The checkpoint.
        checkpoint_id: String,
        /// The stage that it has reached.
        stage: &'static str,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// A model directory cannot be published.
    #[error("{} cannot be published: {refusal}", dir.display())]
    Unpublishable {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        refusal: Box<Refusal>,
    },
    /// A dry run found something that would keep a publisher from publishing.
    #[error("{0} of what publishing needs is missing; see above")]
    NotReady(usize),
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A record of the journal could not be written.
    #[error("the journal: {0}")]
    Journal(#[from] layout::LayoutError),
    /// A record of the journal cannot be understood.
    #[error(
        "{}: not a record of a publication ({reason}); if nothing of it is under way, remove it",
        path.display()
    )]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The state belongs to another run.
    #[error(
        "--state-dir {} holds publications of run {held}, and the coordinator's is {announced}: name another folder for this run",
        state_dir.display()
    )]
    OtherRun {
        /// The folder.
        state_dir: PathBuf,
        /// The run whose publications it holds.
        held: String,
        /// The run of the coordinator.
        announced: String,
    },
}

impl Error {
    /// The code with which the process should end.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Refused(_) | Error::OtherRun { .. } | Error::Unpublishable { .. } => {
                Exit::Refused
            }
            Error::Unreachable(_) => Exit::Unreachable,
            Error::Client(error) if !error.is_fatal() => Exit::Unreachable,
            Error::Client(_)
            | Error::File { .. }
            | Error::Journal(_)
            | Error::Record { .. }
            | Error::NotReady(_)
            | Error::Stuck { .. } => Exit::Failure,
        }
    }

    /// The error with its exit code, as a binary's `main` returns it.
    pub fn into_failure(self) -> Failure {
        Failure::new(self.exit(), self)
    }

    pub(crate) fn file(path: &Path, source: io::Error) -> Error {
        Error::File {
            path: path.to_owned(),
            source,
        }
    }
}

fn advise(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}
