//! From a candidate to a staged directory and its record.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::{Connection, Download};
use proto::v1::FileKind;
use subnet::{Criteria, RepoId};
use tracing::{info, warn};

use crate::inspect::inspect;
use crate::journal::{Publication, read_all};
use crate::state_dir::{StateDir, remove_dir};
use crate::{Candidate, Config, Error, Refusal, blocking};

/// How often a download says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Brings a candidate that has passed the gate to [`Stage::Staged`], or finds
/// out why it must not be. What an earlier attempt has done is not done again.
///
/// [`Stage::Staged`]: crate::Stage::Staged
pub(crate) async fn stage(
    connection: &Connection,
    state: &StateDir,
    config: &Config,
    candidate: &Candidate,
) -> Result<Result<Publication, Refusal>, Error> {
    let station = Station {
        state: state.clone(),
        criteria: config.criteria.clone(),
        repo: config.repo.clone(),
        candidate: candidate.clone(),
    };
    {
        let station = station.clone();
        if let Some(outcome) = blocking::run(move || station.find_staged()).await? {
            return Ok(outcome);
        }
    }
    if let Err(refusal) = download(connection, state, config, candidate).await? {
        return Ok(Err(refusal));
    }
    blocking::run(move || station.accept_download()).await
}

async fn download(
    connection: &Connection,
    state: &StateDir,
    config: &Config,
    candidate: &Candidate,
) -> Result<Result<(), Refusal>, Error> {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    info!(
        checkpoint = candidate.id(),
        "downloading {} files, {:.1} MB",
        candidate.files.len(),
        megabytes(candidate.bytes())
    );
    let mut said_at = Instant::now();
    let downloaded = Download::new(connection, &candidate.manifest)
        .only(FileKind::Model)
        .policy(config.patience.clone())
        .on_progress(move |progress| {
            if said_at.elapsed() >= PROGRESS_EVERY {
                said_at = Instant::now();
                info!(
                    "downloaded {:.1} of {:.1} MB",
                    megabytes(progress.received),
                    megabytes(progress.size)
                );
            }
        })
        .into_dir(&state.download(candidate.id()))
        .await;
    match downloaded {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.is_not_found() => Ok(Err(Refusal::Gone)),
        Err(error @ (client::Error::Corrupt { .. } | client::Error::Manifest { .. })) => {
            Ok(Err(Refusal::Unusable(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the blocking part needs, owned, so that it finishes what it has begun
/// even when nobody waits for it.
#[derive(Clone)]
struct Station {
    state: StateDir,
    criteria: Criteria,
    repo: RepoId,
    candidate: Candidate,
}

impl Station {
    /// What becomes of a directory that is staged already; `None` when there is
    /// none, or none that can be trusted.
    fn find_staged(&self) -> Result<Option<Result<Publication, Refusal>>, Error> {
        self.forget_other_downloads()?;
        let staged = self.state.staged(self.candidate.id());
        if !staged.exists() {
            return Ok(None);
        }
        match inspect(&staged, &self.candidate, &self.criteria)? {
            Ok(inspected) => {
                info!(checkpoint = self.candidate.id(), "staged already");
                self.record(&inspected)
                    .map(|publication| Some(Ok(publication)))
            }
            Err(Refusal::Unusable(reason)) => {
                warn!("{}: {reason}; downloading it again", staged.display());
                remove_dir(&staged)?;
                Ok(None)
            }
            Err(refusal) => Ok(Some(Err(refusal))),
        }
    }

    /// Only one candidate is under way at a time: what is left of others will
    /// not be asked for again.
    fn forget_other_downloads(&self) -> Result<(), Error> {
        let downloads = self.state.downloads();
        let entries = fs::read_dir(&downloads).map_err(|source| Error::file(&downloads, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| Error::file(&downloads, source))?;
            if entry.file_name() != self.candidate.id() {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Inspects what was downloaded and makes it a staged directory, by one
    /// rename.
    fn accept_download(&self) -> Result<Result<Publication, Refusal>, Error> {
        let downloaded = self.state.download(self.candidate.id());
        let inspected = match inspect(&downloaded, &self.candidate, &self.criteria)? {
            Ok(inspected) => inspected,
            Err(refusal) => {
                remove_dir(&downloaded)?;
                return Ok(Err(refusal));
            }
        };
        make_read_only(&downloaded, &self.candidate)?;
        let staged = self.state.staged(self.candidate.id());
        fs::rename(&downloaded, &staged)
            .and_then(|()| sync_dir(staged.parent()))
            .map_err(|source| Error::file(&staged, source))?;
        self.record(&inspected).map(Ok)
    }

    /// Writes the staged directory's record, then supersedes what waits.
    fn record(&self, inspected: &crate::Inspected) -> Result<Publication, Error> {
        let mut publication = Publication::staged(&self.candidate, inspected, self.repo.clone());
        for earlier in read_all(&self.state)? {
            if earlier.checkpoint_id == publication.checkpoint_id {
                // The same bytes: what has happened to them since still holds.
                publication.staged_unix_ms = earlier.staged_unix_ms;
                if !earlier.commit_pending() {
                    return Ok(earlier);
                }
            }
        }
        publication.write(&self.state)?;
        for mut earlier in read_all(&self.state)? {
            if earlier.checkpoint_id == publication.checkpoint_id {
                continue;
            }
            if earlier.is_waiting() {
                info!(
                    checkpoint = earlier.checkpoint_id,
                    "superseded by {}", publication.checkpoint_id
                );
                earlier.superseded_by = Some(publication.checkpoint_id.clone());
                earlier.write(&self.state)?;
            }
            if earlier.superseded_by.is_some() {
                remove_dir(&self.state.staged(&earlier.checkpoint_id))?;
            }
        }
        Ok(publication)
    }
}

/// A staged file is never written again; this makes an accident visible.
fn make_read_only(dir: &Path, candidate: &Candidate) -> Result<(), Error> {
    for file in &candidate.files {
        let path: PathBuf = dir.join(&file.name);
        let at_path = |source| Error::file(&path, source);
        let mut permissions = fs::metadata(&path).map_err(at_path)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).map_err(at_path)?;
    }
    Ok(())
}

fn sync_dir(dir: Option<&Path>) -> std::io::Result<()> {
    dir.map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
