//! Where each publication stands.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::clock::{in_words, unix_ms};
use crate::journal::{Intent, Publication, RefusedCheckpoint, Stage, read_all, read_refused};
use crate::state_dir::StateDir;

/// The publications of a state folder. Its fields are what
/// `publisher status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The folder: an absolute path.
    pub state_dir: PathBuf,
    /// Oldest first.
    pub publications: Vec<PublicationStatus>,
    /// Checkpoints that did not become a publication, oldest first; the last
    /// ones alone are remembered.
    pub refused: Vec<RefusedCheckpoint>,
}

/// One publication, and what it waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublicationStatus {
    /// Its record in the journal.
    #[serde(flatten)]
    pub record: Publication,
    /// `namespace:name:commit:hash`.
    pub chain_string: String,
    /// Whether the commit in the chain string is still to come.
    pub commit_pending: bool,
    /// Where it is staged, if it still is: an absolute path.
    pub checkpoint_dir: Option<PathBuf>,
    /// What has to happen next, in words; absent when nothing has.
    pub waits_for: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub waits_since_unix_ms: Option<u64>,
    /// Until when, as far as that is known, in milliseconds since 1970.
    pub waits_until_unix_ms: Option<u64>,
}

/// Reads the journal of a state folder, whether or not a publisher works there.
///
/// # Errors
/// When a record cannot be read. A folder that does not exist has no records.
pub fn status(state_dir: &Path) -> Result<Status, Error> {
    let state = StateDir::at(state_dir)?;
    let publications = read_all(&state)?
        .into_iter()
        .map(|record| {
            let waits_for = waits_for(&record);
            let waiting = record.waiting.as_ref().filter(|_| record.is_open());
            PublicationStatus {
                chain_string: record.chain_string(),
                commit_pending: record.commit_pending(),
                checkpoint_dir: Some(state.staged(&record.checkpoint_id))
                    .filter(|dir| dir.is_dir()),
                waits_since_unix_ms: match waiting {
                    Some(waiting) => Some(waiting.since_unix_ms),
                    None => record.stage_unix_ms.filter(|_| waits_for.is_some()),
                },
                waits_until_unix_ms: waiting.and_then(|waiting| waiting.until_unix_ms),
                waits_for,
                record,
            }
        })
        .collect();
    Ok(Status {
        state_dir: state.root().to_owned(),
        publications,
        refused: read_refused(&state)?,
    })
}

/// What is in the way, if something is, and otherwise the next station.
fn waits_for(record: &Publication) -> Option<String> {
    if !record.is_open() {
        return None;
    }
    if let Some(waiting) = &record.waiting {
        return Some(waiting.why.clone());
    }
    match record.stage {
        Stage::Staged if record.committer.is_some() => Some(match record.under_way {
            Some(_) => format!("the upload to {}, which has begun", record.repo),
            None => format!("the upload to {}", record.repo),
        }),
        Stage::Staged => Some(format!(
            "the upload to {}, for which a publisher must run without --offline",
            record.repo
        )),
        Stage::Uploaded { .. } => Some("the comparison with what the Hub serves".to_owned()),
        Stage::Verified { .. } => Some(match record.under_way {
            Some(Intent::Commit { .. }) => {
                "the commitment on the chain, which has been signed".to_owned()
            }
            _ => "the commitment on the chain".to_owned(),
        }),
        Stage::Committed { .. } => Some("the chain's own word for it".to_owned()),
        Stage::ReadBack { .. } => None,
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.publications.is_empty() {
            write!(f, "no publications in {}", self.state_dir.display())?;
        }
        for (index, publication) in self.publications.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{publication}")?;
        }
        if let Some(refused) = self.refused.last() {
            write!(
                f,
                "\n{} refused; the last, {}: {}",
                self.refused.len(),
                refused.checkpoint_id,
                refused.reason
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for PublicationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        f.write_str(&record.checkpoint_id)?;
        match record.loss {
            Some(loss) => write!(f, " (step {}, loss {loss:.4})", record.step)?,
            None => f.write_str(" (by hand)")?,
        }
        write!(f, ": {}", record.stage.name())?;
        if let Some(block) = record.stage.block() {
            write!(f, " in block {block}")?;
        }
        match (&record.superseded_by, &record.ended, &self.waits_for) {
            (Some(better), _, _) => write!(f, ", superseded by {better}")?,
            (None, Some(ended), _) if ended.failed => write!(f, ", failed: {}", ended.reason)?,
            (None, Some(ended), _) => write!(f, ", not published: {}", ended.reason)?,
            (None, None, Some(next)) => write!(f, ", waits for {next}")?,
            (None, None, None) => {}
        }
        let now = unix_ms();
        if let Some(left) = self
            .waits_until_unix_ms
            .and_then(|until| until.checked_sub(now))
        {
            write!(f, " ({} left)", in_words(Duration::from_millis(left)))?;
        }
        write!(f, "\n  {}", self.chain_string)
    }
}
