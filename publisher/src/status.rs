//! Where each publication stands.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::journal::{Publication, Stage, read_all};
use crate::state_dir::StateDir;

/// The publications of a state folder. Its fields are what
/// `publisher status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The folder: an absolute path.
    pub state_dir: PathBuf,
    /// Oldest first.
    pub publications: Vec<PublicationStatus>,
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
}

/// Reads the journal of a state folder, whether or not a publisher works there.
///
/// # Errors
/// When a record cannot be read. A folder that does not exist has no records.
pub fn status(state_dir: &Path) -> Result<Status, Error> {
    let state = StateDir::at(state_dir)?;
    let publications = read_all(&state)?
        .into_iter()
        .map(|record| PublicationStatus {
            chain_string: record.chain_string(),
            commit_pending: record.commit_pending(),
            checkpoint_dir: Some(state.staged(&record.checkpoint_id)).filter(|dir| dir.is_dir()),
            waits_for: waits_for(&record),
            record,
        })
        .collect();
    Ok(Status {
        state_dir: state.root().to_owned(),
        publications,
    })
}

fn waits_for(record: &Publication) -> Option<String> {
    if record.superseded_by.is_some() {
        return None;
    }
    match record.stage {
        Stage::Staged => Some(format!(
            "the upload to {}, for which a publisher must run without --offline",
            record.repo
        )),
        Stage::Uploaded { .. } => Some("the comparison with what the Hub serves".to_owned()),
        Stage::Verified { .. } => Some("the commitment on the chain".to_owned()),
        Stage::Committed { .. } => Some("the chain's own word for it".to_owned()),
        Stage::ReadBack { .. } => None,
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.publications.is_empty() {
            return write!(f, "no publications in {}", self.state_dir.display());
        }
        for (index, publication) in self.publications.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let PublicationStatus {
                record,
                chain_string,
                ..
            } = publication;
            write!(
                f,
                "{} (step {}, loss {:.4}): {}",
                record.checkpoint_id,
                record.step,
                record.loss,
                record.stage.name()
            )?;
            match (&record.superseded_by, &publication.waits_for) {
                (Some(better), _) => write!(f, ", superseded by {better}")?,
                (None, Some(next)) => write!(f, ", waits for {next}")?,
                (None, None) => {}
            }
            write!(f, "\n  {chain_string}")?;
        }
        Ok(())
    }
}
