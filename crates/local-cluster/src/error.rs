//! What can go wrong with a cluster of processes.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a cluster, or one of its processes, did not do what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A binary is not where it should have been built.
    #[error("{} is missing; build it with `{remedy}`", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
        /// The command that builds it there.
        remedy: String,
    },

    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The system refused something about a process.
    #[error("{action} {name}: {source}")]
    Process {
        /// What was tried, as a verb.
        action: &'static str,
        /// The process's name in the cluster.
        name: String,
        /// What the system said.
        source: io::Error,
    },

    /// A process ended that should have gone on, or ended with an error.
    #[error("{name} ended with {status}{}", shown(log))]
    Ended {
        /// The process's name in the cluster.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },

    /// Something did not happen in time.
    #[error("waited {:.0?} for {what}, in vain{}", limit, shown(log))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The last lines of the logs that may say why; may be empty.
        log: String,
    },

    /// A program printed something else than what was expected of it.
    #[error("`{command}` printed something unexpected: {reason}\n{output}")]
    Output {
        /// The command line.
        command: String,
        /// What is wrong with its output.
        reason: String,
        /// What it printed.
        output: String,
    },

    /// Something was asked of a process that was not started.
    #[error("{0} is not running")]
    NotRunning(&'static str),

    /// No worker of this name was started.
    #[error("no worker {0} was started")]
    NoSuchWorker(String),

    /// A network could not be made, cut or mended.
    #[error("{action}: {reason}")]
    Network {
        /// What was tried.
        action: String,
        /// What came of it.
        reason: String,
    },

    /// The caller wants no more of it (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An error about a file, for `map_err`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// The same error, with logs that may explain it.
    #[must_use]
    pub(crate) fn with_log(self, text: String) -> Self {
        match self {
            Self::TimedOut { what, limit, .. } => Self::TimedOut {
                what,
                limit,
                log: text,
            },
            other => other,
        }
    }
}

/// A log below the sentence that it explains.
fn shown(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; the last of its log:\n{log}")
    }
}
