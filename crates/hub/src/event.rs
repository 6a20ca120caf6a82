//! What happens inside a long call, for a log or a progress bar.

use std::time::Duration;

use subnet::CommitId;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The files are being read and compared with what the repository holds.
    Preparing,
    /// So many bytes are where they should be. Sent at most ten times a second.
    Transferred {
        /// Bytes that arrived, or did not have to travel.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The commit that is about to be sent deletes these files, which are none of
    /// the publication's and not kept either ([`is_kept`](crate::is_kept)).
    Deleting {
        /// Their paths in the repository.
        files: Vec<String>,
    },
    /// The commit is being sent.
    Committing {
        /// The commit that it follows.
        parent: CommitId,
    },
    /// The server asked to wait. Sent every second until the wait is over.
    Waiting {
        /// What the server said.
        why: String,
        /// How long it still takes.
        left: Duration,
    },
    /// Something failed and is tried again.
    Retrying {
        /// What failed.
        why: String,
        /// After which wait.
        after: Duration,
    },
}

/// Where events go. Called from the task that awaits the call, never after the
/// call has returned or its future was dropped.
pub type Events<'a> = &'a (dyn Fn(Event) + Send + Sync);
