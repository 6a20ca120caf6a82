//! Places at which a test can kill this process, to see that nothing is done
//! twice and nothing half.
//!
//! `PEREGRINE_CRASH_POINT=after-upload` kills the process by SIGKILL when it
//! passes that [`Point`]; `after-upload:2` when it passes it for the second
//! time. A build without debug assertions has no such places.

/// A place in the course of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The download is verified and not yet staged.
    BeforeStaging,
    /// The directory is staged, without a record.
    AfterStaging,
    /// The journal says staged.
    AfterStagedRecord,
    /// Compared with what the chain has, which the journal does not say yet.
    BeforeVerdictRecord,
    /// The journal says that it is worth publishing.
    AfterVerdictRecord,
    /// What waited for less is superseded.
    AfterSuperseding,
    /// About to say in the journal that an upload begins.
    BeforeUploadIntent,
    /// The journal says that an upload begins.
    AfterUploadIntent,
    /// Bytes have begun to reach the Hub.
    DuringTransfer,
    /// All bytes are there; the commit is about to be made.
    BeforeHubCommit,
    /// The Hub has the commit, which the journal does not say yet.
    AfterUpload,
    /// The journal says uploaded.
    AfterUploadedRecord,
    /// The Hub serves what is staged, which the journal does not say yet.
    AfterVerifying,
    /// The journal says verified.
    AfterVerifiedRecord,
    /// The commitment is signed; about to say so in the journal.
    BeforeCommitIntent,
    /// The journal says that a commitment is about to be sent.
    AfterCommitIntent,
    /// The chain has been sent the commitment.
    AfterSubmission,
    /// A block holds the commitment.
    AfterInclusion,
    /// The commitment is final, which the journal does not say yet.
    AfterCommitment,
    /// The journal says committed.
    AfterCommittedRecord,
    /// The chain has confirmed it, which the journal does not say yet.
    AfterReadingBack,
    /// The journal says read back.
    AfterReadBackRecord,
}

impl Point {
    /// All of them, in the order in which a publication passes them.
    pub const ALL: [Point; 22] = [
        Point::BeforeStaging,
        Point::AfterStaging,
        Point::AfterStagedRecord,
        Point::BeforeVerdictRecord,
        Point::AfterVerdictRecord,
        Point::AfterSuperseding,
        Point::BeforeUploadIntent,
        Point::AfterUploadIntent,
        Point::DuringTransfer,
        Point::BeforeHubCommit,
        Point::AfterUpload,
        Point::AfterUploadedRecord,
        Point::AfterVerifying,
        Point::AfterVerifiedRecord,
        Point::BeforeCommitIntent,
        Point::AfterCommitIntent,
        Point::AfterSubmission,
        Point::AfterInclusion,
        Point::AfterCommitment,
        Point::AfterCommittedRecord,
        Point::AfterReadingBack,
        Point::AfterReadBackRecord,
    ];

    /// The name that the environment variable takes.
    pub fn name(self) -> &'static str {
        match self {
            Point::BeforeStaging => "before-staging",
            Point::AfterStaging => "after-staging",
            Point::AfterStagedRecord => "after-staged-record",
            Point::BeforeVerdictRecord => "before-verdict-record",
            Point::AfterVerdictRecord => "after-verdict-record",
            Point::AfterSuperseding => "after-superseding",
            Point::BeforeUploadIntent => "before-upload-intent",
            Point::AfterUploadIntent => "after-upload-intent",
            Point::DuringTransfer => "during-transfer",
            Point::BeforeHubCommit => "before-hub-commit",
            Point::AfterUpload => "after-upload",
            Point::AfterUploadedRecord => "after-uploaded-record",
            Point::AfterVerifying => "after-verifying",
            Point::AfterVerifiedRecord => "after-verified-record",
            Point::BeforeCommitIntent => "before-commit-intent",
            Point::AfterCommitIntent => "after-commit-intent",
            Point::AfterSubmission => "after-submission",
            Point::AfterInclusion => "after-inclusion",
            Point::AfterCommitment => "after-commitment",
            Point::AfterCommittedRecord => "after-committed-record",
            Point::AfterReadingBack => "after-reading-back",
            Point::AfterReadBackRecord => "after-read-back-record",
        }
    }

    /// Those that this build has.
    pub fn compiled_in() -> &'static [Point] {
        if cfg!(debug_assertions) {
            &Point::ALL
        } else {
            &[]
        }
    }
}

/// Kills this process if a test wants it to die here.
#[cfg(debug_assertions)]
pub(crate) fn point(point: Point) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);

    let Ok(wanted) = std::env::var("PEREGRINE_CRASH_POINT") else {
        return;
    };
    let (name, nth) = match wanted.split_once(':') {
        Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
        None => (&wanted[..], 1),
    };
    if name != point.name() || PASSED.fetch_add(1, Ordering::SeqCst) + 1 != nth {
        return;
    }
    // SIGKILL, which nothing can catch: no destructor runs, nothing is flushed.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal has been sent; this thread goes no further.
    loop {
        std::thread::park();
    }
}

/// Does nothing in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: Point) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
