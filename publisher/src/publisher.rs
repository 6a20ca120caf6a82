//! The publisher's loop: from announcements to publications.

use std::pin::pin;

use client::{ConnectOptions, Connection, Watch};
use proto::v1::{CheckpointManifest, CheckpointState, Context};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::journal::read_all;
use crate::stage::stage;
use crate::state_dir::StateDir;
use crate::{Candidate, Config, Error, Publication, Refusal, Summary, blocking, gate};

/// Publishes, as far as is possible offline, every checkpoint that becomes a
/// run's best, until the run is complete and the last of them is dealt with, or
/// until `shutdown` is cancelled. A restart continues where it was.
///
/// # Errors
/// When the folder is another publisher's or another run's, when the disk or
/// the coordinator refuses, or when the coordinator is out of reach for longer
/// than `config.patience`. A checkpoint that must not be published is no
/// error: the summary says why.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<Summary, Error> {
    let state = StateDir::create(&config.state_dir)?;
    let _lock = state.lock()?;
    if config.loss_threshold == 0.0 {
        warn!(
            "--avg_loss_upload_threshold is 0, and no loss is below 0: nothing will be published; \
             give the loss below which a checkpoint is worth publishing"
        );
    }
    let connection = Connection::lazy(&config.coordinator, &ConnectOptions::default())?;
    info!(
        "watching the coordinator at {} for {}",
        config.coordinator, config.repo
    );
    let watch = Watch::new(
        connection.clone(),
        Context::default(),
        &format!("publisher of {}", config.repo),
        config.patience.clone(),
    );
    let mut publisher = Publisher {
        config,
        state,
        connection,
        announced: Announced::default(),
        dealt_with: None,
    };
    publisher.follow(watch, &shutdown).await?;
    Ok(publisher.summary())
}

struct Publisher {
    config: Config,
    state: StateDir,
    connection: Connection,
    announced: Announced,
    dealt_with: Option<DealtWith>,
}

/// What the coordinator has said so far.
#[derive(Default)]
struct Announced {
    run_id: Option<String>,
    best: Option<CheckpointManifest>,
    run_complete: bool,
}

impl Announced {
    fn best_id(&self) -> Option<&str> {
        self.best.as_ref().map(|best| &best.checkpoint_id[..])
    }

    fn take(&mut self, state: Option<CheckpointState>) {
        let Some(state) = state else {
            self.run_complete = true;
            return;
        };
        self.run_complete = state.run_complete;
        if let Some(context) = state.context {
            self.run_id = Some(context.run_id);
        }
        if state.best.is_some() {
            self.best = state.best;
        }
    }
}

/// A checkpoint and what became of it.
struct DealtWith {
    manifest: CheckpointManifest,
    verdict: Result<Publication, Refusal>,
}

impl Publisher {
    /// Ends when the run is complete and its best checkpoint dealt with, or
    /// when asked to.
    async fn follow(
        &mut self,
        mut watch: Watch,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let Some(best) = self.not_dealt_with() else {
                if self.announced.run_complete {
                    return Ok(());
                }
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    state = watch.next() => self.announced.take(state?),
                }
                continue;
            };
            let verdict = {
                let mut work = pin!(deal_with(
                    &self.connection,
                    &self.state,
                    &self.config,
                    best.clone()
                ));
                loop {
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        verdict = &mut work => break Some(verdict?),
                        // A completed run announces nothing more.
                        state = watch.next(), if !self.announced.run_complete => {
                            self.announced.take(state?);
                            if self.announced.best_id() != Some(&best.checkpoint_id) {
                                break None;
                            }
                        }
                    }
                }
            };
            let Some(verdict) = verdict else {
                info!(
                    checkpoint = best.checkpoint_id,
                    "left for a better one before it was staged"
                );
                continue;
            };
            self.say(&best, &verdict);
            self.dealt_with = Some(DealtWith {
                manifest: best,
                verdict,
            });
        }
    }

    /// The best checkpoint, unless it is the last one dealt with.
    fn not_dealt_with(&self) -> Option<CheckpointManifest> {
        let done = self.dealt_with.as_ref();
        let done = done.map(|dealt_with| &dealt_with.manifest.checkpoint_id);
        let best = self.announced.best.as_ref()?;
        (Some(&best.checkpoint_id) != done).then(|| best.clone())
    }

    fn say(&self, best: &CheckpointManifest, verdict: &Result<Publication, Refusal>) {
        match verdict {
            Ok(publication) => info!(
                checkpoint = publication.checkpoint_id,
                loss = publication.loss,
                "staged; offline, so not done: uploading {} files ({} bytes) to {}, and committing \
                 {} on {} by the {}",
                publication.files.len(),
                publication.bytes(),
                publication.repo,
                publication.chain_string(),
                self.config.chain,
                self.config.wallet
            ),
            Err(refusal) => warn!(checkpoint = best.checkpoint_id, "not published: {refusal}"),
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary {
            run_id: self.announced.run_id.clone(),
            run_complete: self.announced.run_complete,
            ..Summary::default()
        };
        let Some(DealtWith { manifest, verdict }) = &self.dealt_with else {
            summary.reason = Some(
                if self.announced.run_complete {
                    "the run ended without an evaluated checkpoint"
                } else {
                    "stopped before a checkpoint was dealt with"
                }
                .to_owned(),
            );
            return summary;
        };
        summary.checkpoint_id = Some(manifest.checkpoint_id.clone());
        summary.loss = manifest
            .evaluation
            .as_ref()
            .map(|evaluation| evaluation.loss);
        match verdict {
            Ok(publication) => {
                summary.parameters = Some(publication.parameters);
                summary.size = Some(publication.bytes());
                summary.checkpoint_dir = Some(self.state.staged(&publication.checkpoint_id));
                summary.chain_string = Some(publication.chain_string());
                summary.commit_pending = publication.commit_pending();
            }
            Err(refusal) => {
                summary.parameters = Some(manifest.parameters);
                summary.violations = refusal.violations();
                summary.reason = Some(refusal.to_string());
            }
        }
        summary
    }
}

/// Takes one checkpoint through every station.
async fn deal_with(
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
    if let Err(refusal) = gate::before_download(&candidate, config) {
        return Ok(Err(refusal));
    }
    stage(connection, state, config, &candidate).await
}

/// One folder serves one run: checkpoint ids are unique only within it.
async fn check_run(state: &StateDir, announced: &str) -> Result<(), Error> {
    let held = {
        let state = state.clone();
        blocking::run(move || read_all(&state)).await?
    };
    match held.into_iter().find(|record| record.run_id != announced) {
        None => Ok(()),
        Some(record) => Err(Error::OtherRun {
            state_dir: state.root().to_owned(),
            held: record.run_id,
            announced: announced.to_owned(),
        }),
    }
}
