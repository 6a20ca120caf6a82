//! The publisher's loop: from announcements to publications.

use std::pin::pin;

use client::{ConnectOptions, Connection, Watch};
use proto::v1::{CheckpointManifest, Context};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::announced::Announced;
use crate::journal::{Mishaps, read_all};
use crate::online::{self, Carrier, Outcome, Outside};
use crate::stage::deal_with;
use crate::state_dir::StateDir;
use crate::{Config, Error, Publication, Refusal, Summary, blocking};

/// Publishes every checkpoint that becomes a run's best and is worth it, until
/// the run is complete and the last of them is dealt with, or until `shutdown`
/// is cancelled. A restart continues where it was.
///
/// # Errors
/// When the folder is another publisher's or another run's, when another
/// publisher has the hotkey, when the disk, the Hub, the chain or the
/// coordinator refuses for good, or when the coordinator is out of reach for
/// longer than `config.patience`. A checkpoint that must not be published is no
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
    let connection = Connection::lazy(&config.coordinators, &ConnectOptions::default())?;
    let outside = online::open(&config, &state, &connection)?;
    if let Some(hold) = outside.as_ref().and_then(|outside| outside.hold.as_ref()) {
        let held = shutdown.run_until_cancelled(hold.wait_until_held()).await;
        held.transpose()?;
    }
    info!(
        "watching the coordinator at {} for {}",
        config.coordinators, config.repo
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
        outside,
        announced: Announced::default(),
        dealt_with: None,
    };
    publisher.open_journal().await?;
    publisher.follow(watch, &shutdown).await?;
    Ok(publisher.summary())
}

struct Publisher {
    config: Config,
    state: StateDir,
    connection: Connection,
    /// None: staging is all.
    outside: Option<Outside>,
    announced: Announced,
    dealt_with: Option<DealtWith>,
}

/// What is to be done next.
enum Task {
    /// A checkpoint was announced that nothing has been done about.
    Stage(Box<CheckpointManifest>),
    /// A publication is on its way.
    Carry(Box<Publication>),
}

/// A checkpoint and what became of it.
struct DealtWith {
    manifest: CheckpointManifest,
    verdict: Result<Publication, Refusal>,
}

impl Publisher {
    /// Takes up what an earlier process left, if it is ours to take up.
    async fn open_journal(&self) -> Result<(), Error> {
        let Some(committing) = self
            .outside
            .as_ref()
            .and_then(|outside| outside.committing.as_ref())
        else {
            return Ok(());
        };
        let records = {
            let state = self.state.clone();
            blocking::run(move || read_all(&state)).await?
        };
        let ours = committing.committer_beside(&records).await;
        let (state, repo) = (self.state.clone(), self.config.repo.clone());
        blocking::run(move || {
            for mut record in records {
                let failed = record.ended.as_ref().is_some_and(|ended| ended.failed);
                let elsewhere = record.superseded_by.is_none() && record.is_of_another_chain(&ours);
                if record.run_id.is_none() || !(record.is_open() || failed || elsewhere) {
                    continue;
                }
                if failed {
                    record.ended = None;
                    record.mishaps = Mishaps::default();
                }
                record.claim(&ours, &state)?;
                if record.repo != repo && !record.is_being_committed() {
                    // Nothing on the chain speaks of the other repository.
                    record.repo = repo.clone();
                    record.reach(crate::Stage::Staged);
                }
                record.write(&state)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends when the run is complete and its best checkpoint dealt with, or
    /// when asked to.
    async fn follow(
        &mut self,
        mut watch: Watch,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            match self.next_task().await? {
                Some(Task::Stage(manifest)) => {
                    self.stage(*manifest, &mut watch, shutdown).await?;
                }
                Some(Task::Carry(publication)) => {
                    self.carry(*publication, &mut watch, shutdown).await?;
                }
                None if self.announced.run_complete => return Ok(()),
                None => tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    state = watch.next() => self.announced.take(state?),
                },
            }
        }
        Ok(())
    }

    /// A commitment that may be on its way comes before everything, then the
    /// best checkpoint, then what is left of earlier ones.
    async fn next_task(&self) -> Result<Option<Task>, Error> {
        let mut open = Vec::new();
        if self.outside.is_some() {
            let state = self.state.clone();
            open = blocking::run(move || read_all(&state)).await?;
            open.retain(|record| record.run_id.is_some() && record.is_open());
        }
        if let Some(at) = open.iter().position(Publication::is_being_committed) {
            return Ok(Some(Task::Carry(Box::new(open.swap_remove(at)))));
        }
        if let Some(best) = self.not_dealt_with() {
            return Ok(Some(Task::Stage(Box::new(best))));
        }
        // Before the coordinator has spoken there may be a better one.
        let has_spoken = self.announced.run_id.is_some() || self.announced.run_complete;
        Ok(open
            .pop()
            .filter(|_| has_spoken)
            .map(|record| Task::Carry(Box::new(record))))
    }

    /// Takes a checkpoint to [`Stage::Staged`](crate::Stage::Staged), unless a
    /// better one is announced meanwhile.
    async fn stage(
        &mut self,
        best: CheckpointManifest,
        watch: &mut Watch,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
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
            return Ok(());
        };
        self.say(&best, &verdict);
        self.dealt_with = Some(DealtWith {
            manifest: best,
            verdict,
        });
        Ok(())
    }

    /// Takes a publication as far as it goes, unless a better checkpoint is
    /// announced or a stop is wished for while nothing is half done.
    async fn carry(
        &mut self,
        record: Publication,
        watch: &mut Watch,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let Some(outside) = &self.outside else {
            return Ok(());
        };
        let interrupt = CancellationToken::new();
        let carrier = Carrier {
            state: &self.state,
            outside,
            criteria: &self.config.criteria,
            interrupt: &interrupt,
            record: record.clone(),
        };
        let mut failure = None;
        let outcome = {
            let mut work = pin!(carrier.carry());
            loop {
                let listening = !interrupt.is_cancelled() && !self.announced.run_complete;
                tokio::select! {
                    outcome = &mut work => break outcome?,
                    () = shutdown.cancelled(), if !interrupt.is_cancelled() => interrupt.cancel(),
                    state = watch.next(), if listening => match state {
                        Ok(state) => {
                            let before = self.announced.best_id().map(str::to_owned);
                            self.announced.take(state);
                            if self.announced.best_id() != before.as_deref() {
                                interrupt.cancel();
                            }
                        }
                        // What is half done is finished first.
                        Err(error) => {
                            failure = Some(error);
                            interrupt.cancel();
                        }
                    },
                }
            }
        };
        if let Some(error) = failure {
            return Err(error.into());
        }
        let (publication, verdict) = match outcome {
            Outcome::Interrupted => return Ok(()),
            Outcome::Finished(publication) => {
                info!(
                    checkpoint = publication.checkpoint_id,
                    "published: {}",
                    publication.chain_string()
                );
                (publication.clone(), Ok(publication))
            }
            Outcome::NotWorth(publication, reason) => {
                warn!(
                    checkpoint = publication.checkpoint_id,
                    "not published: {reason}"
                );
                (publication, Err(Refusal::NotWorth(reason)))
            }
        };
        if let Some(dealt_with) = &mut self.dealt_with
            && dealt_with.manifest.checkpoint_id == publication.checkpoint_id
        {
            dealt_with.verdict = verdict;
        }
        Ok(())
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
            Ok(publication) if self.outside.is_some() => info!(
                checkpoint = publication.checkpoint_id,
                loss = publication.loss,
                "{} in {}",
                publication.stage.name().replace('_', " "),
                self.state.staged(&publication.checkpoint_id).display()
            ),
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
                if self.outside.is_some() {
                    summary.stage = Some(publication.stage.name().to_owned());
                    summary.block = publication.stage.block();
                }
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
