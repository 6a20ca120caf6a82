//! From an announced checkpoint to a staged directory and its record.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::{Connection, Download};
use proto::v1::{CheckpointManifest, FileKind};
use subnet::{Criteria, RepoId};
use tracing::{info, warn};

use crate::crash::{self, Point};
use crate::inspect::inspect;
use crate::journal::{
    Mishaps, Publication, RefusedCheckpoint, Stage, find, forget_refused, read_all,
};
use crate::state_dir::{StateDir, remove_dir};
use crate::{Candidate, Config, Error, Refusal, blocking, gate};

/// How often a download says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Takes one checkpoint to the staged directory, and writes down why if it does
/// not get there.
pub(crate) async fn deal_with(
    connection: &Connection,
    state: &StateDir,
    config: &Config,
    manifest: CheckpointManifest,
) -> Result<Result<Publication, Refusal>, Error> {
    check_run(state, &manifest.run_id).await?;
    let candidate = match Candidate::from_manifest(manifest) {
        Ok(candidate) => candidate,
        Err(reason) => return Ok(Err(Refusal::Unusable(reason))),
    };
    if candidate.loss_from_training {
        warn!(
            checkpoint = candidate.id(),
            "its loss is an epoch's training average, since the run has no evaluation pages"
        );
    }
    let outcome = match gate::before_download(&candidate, config) {
        Ok(()) => stage(connection, state, config, &candidate).await?,
        Err(refusal) => Err(refusal),
    };
    let refused = match &outcome {
        Ok(_) => None,
        Err(refusal) => Some(RefusedCheckpoint::new(&candidate, refusal)),
    };
    let state = state.clone();
    blocking::run(move || match refused {
        Some(refused) => refused.write(&state),
        None => forget_refused(&state, candidate.id()),
    })
    .await?;
    Ok(outcome)
}

/// One folder serves one run: checkpoint ids are unique only within it.
async fn check_run(state: &StateDir, announced: &str) -> Result<(), Error> {
    let held = {
        let state = state.clone();
        blocking::run(move || read_all(&state)).await?
    };
    let runs = held.into_iter().filter_map(|record| record.run_id);
    match runs.into_iter().find(|run| run != announced) {
        None => Ok(()),
        Some(held) => Err(Error::OtherRun {
            state_dir: state.root().to_owned(),
            held,
            announced: announced.to_owned(),
        }),
    }
}

/// Brings a candidate that has passed the gate to [`Stage::Staged`], or finds
/// out why it must not be. What an earlier attempt has done is not done again.
///
/// [`Stage::Staged`]: crate::Stage::Staged
async fn stage(
    connection: &Connection,
    state: &StateDir,
    config: &Config,
    candidate: &Candidate,
) -> Result<Result<Publication, Refusal>, Error> {
    let station = Station {
        state: state.clone(),
        criteria: config.criteria.clone(),
        repo: config.repo.clone(),
        offline: config.online.is_none(),
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

/// Copies a model directory that did not come from a coordinator, and stages
/// the copy, which nobody else writes to.
pub(crate) fn stage_directory(
    state: &StateDir,
    criteria: &Criteria,
    repo: &RepoId,
    candidate: &Candidate,
    source: &Path,
) -> Result<Result<Publication, Refusal>, Error> {
    let station = Station {
        state: state.clone(),
        criteria: criteria.clone(),
        repo: repo.clone(),
        offline: false,
        candidate: candidate.clone(),
    };
    if let Some(outcome) = station.find_staged()? {
        return Ok(outcome);
    }
    let copy = state.download(candidate.id());
    remove_dir(&copy)?;
    fs::create_dir_all(&copy).map_err(|source| Error::file(&copy, source))?;
    for file in &candidate.files {
        let to = copy.join(&file.name);
        // On file systems that can, this shares the blocks.
        fs::copy(source.join(&file.name), &to)
            .and_then(|_| File::open(&to)?.sync_all())
            .map_err(|source| Error::file(&to, source))?;
    }
    station.accept_download()
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
        Err(error) if error.is_damage() || matches!(error, client::Error::Manifest { .. }) => {
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
    /// Whether staging is all: then nothing else will supersede what waits.
    offline: bool,
    candidate: Candidate,
}

impl Station {
    /// What becomes of a directory that is staged already; `None` when there is
    /// none, or none that can be trusted.
    fn find_staged(&self) -> Result<Option<Result<Publication, Refusal>>, Error> {
        self.forget_other_downloads()?;
        if let Some(record) = find(&self.state, self.candidate.id())?
            && record.is_finished()
        {
            info!(checkpoint = self.candidate.id(), "published already");
            return Ok(Some(Ok(record)));
        }
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
        crash::point(Point::BeforeStaging);
        let staged = self.state.staged(self.candidate.id());
        fs::rename(&downloaded, &staged)
            .and_then(|()| sync_dir(staged.parent()))
            .map_err(|source| Error::file(&staged, source))?;
        crash::point(Point::AfterStaging);
        self.record(&inspected).map(Ok)
    }

    /// Writes the staged directory's record. Offline it supersedes what waits;
    /// otherwise it first has to prove that it is worth publishing.
    fn record(&self, inspected: &crate::Inspected) -> Result<Publication, Error> {
        let mut publication = Publication::staged(&self.candidate, inspected, self.repo.clone());
        if let Some(earlier) = find(&self.state, self.candidate.id())? {
            // The same bytes: what has happened to them since still holds, and
            // whatever ended it is tried again.
            publication = Publication {
                staged_unix_ms: earlier.staged_unix_ms,
                stage: earlier.stage,
                stage_unix_ms: earlier.stage_unix_ms,
                verdict: earlier.verdict,
                under_way: earlier.under_way,
                // Whatever ended it was mended, one hopes.
                mishaps: match earlier.ended {
                    None => earlier.mishaps,
                    Some(_) => Mishaps::default(),
                },
                ..publication
            };
            if publication.stage == Stage::Staged && publication.under_way.is_none() {
                publication.repo = self.repo.clone();
            } else {
                publication.repo = earlier.repo;
                publication.committer = earlier.committer;
            }
        }
        publication.write(&self.state)?;
        crash::point(Point::AfterStagedRecord);
        if self.offline {
            supersede_others(&self.state, &publication.checkpoint_id)?;
        }
        Ok(publication)
    }
}

/// Marks every other publication of the run that waits as superseded, and
/// removes what was staged for it.
pub(crate) fn supersede_others(state: &StateDir, better: &str) -> Result<(), Error> {
    for mut other in read_all(state)? {
        if other.checkpoint_id == better || other.run_id.is_none() {
            continue;
        }
        if other.is_waiting() {
            info!(checkpoint = other.checkpoint_id, "superseded by {better}");
            other.superseded_by = Some(better.to_owned());
            other.waiting = None;
            other.write(state)?;
        }
        if other.superseded_by.is_some() {
            remove_dir(&state.staged(&other.checkpoint_id))?;
        }
    }
    Ok(())
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
