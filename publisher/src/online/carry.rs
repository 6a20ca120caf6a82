//! Along the stations, one after another.

use std::time::{Duration, Instant};

use client::{RetryPolicy, Waits};
use subnet::{Criteria, RepoId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Again, Outside, Setback, Stop};
use crate::clock::{in_words, unix_ms};
use crate::crash::{self, Point};
use crate::journal::{Ended, Publication, Stage, Waiting};
use crate::state_dir::StateDir;
use crate::{Error, blocking};

/// How long to wait before something that failed in passing is tried again.
const BACK_OFF: RetryPolicy = RetryPolicy {
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(60),
    give_up_after: None,
};

/// How often a wait says how long it still lasts.
const COUNTDOWN_EVERY: Duration = Duration::from_secs(30);

/// Takes a publication as far as it goes.
pub(crate) struct Carrier<'a> {
    pub(crate) state: &'a StateDir,
    pub(crate) outside: &'a Outside,
    pub(crate) criteria: &'a Criteria,
    /// Cancelled when there is something better to do.
    pub(crate) interrupt: &'a CancellationToken,
    /// As the journal has it.
    pub(crate) record: Publication,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is where it was to go.
    Finished(Publication),
    /// It is not worth publishing, in words.
    NotWorth(Publication, String),
    /// It was left where it is, because it was asked to.
    Interrupted,
}

impl Carrier<'_> {
    /// Goes from station to station until the last, or until something better
    /// is to be done.
    ///
    /// # Errors
    /// When a person must mend something first, and when the disk or the
    /// coordinator refuses.
    pub(crate) async fn carry(mut self) -> Result<Outcome, Error> {
        let mut waits = BACK_OFF.waits();
        while !self.record.is_finished() {
            let stage = self.record.stage.name();
            let stop = match self.advance().await {
                Ok(()) => {
                    waits = BACK_OFF.waits();
                    continue;
                }
                Err(stop) => stop,
            };
            match stop {
                Stop::Setback(setback) => {
                    if !self.sit_out(setback, &mut waits).await? {
                        return Ok(Outcome::Interrupted);
                    }
                }
                Stop::Interrupted => return Ok(Outcome::Interrupted),
                Stop::NotWorth(reason) => {
                    self.end(false, &reason).await?;
                    return Ok(Outcome::NotWorth(self.record, reason));
                }
                Stop::Fatal { reason, advice } => {
                    let error = Error::Stuck {
                        checkpoint_id: self.record.checkpoint_id.clone(),
                        stage,
                        reason,
                        advice,
                    };
                    self.end(true, &error.to_string()).await?;
                    return Err(error);
                }
                Stop::Error(error) => return Err(error),
            }
        }
        Ok(Outcome::Finished(self.record))
    }

    /// What comes next after the stage that the journal has.
    async fn advance(&mut self) -> Result<(), Stop> {
        if self.interrupt.is_cancelled() {
            return Err(Stop::Interrupted);
        }
        match self.record.stage.clone() {
            Stage::Staged => {
                if self.record.run_id.is_some() && self.record.under_way.is_none() {
                    self.decide_worth().await?;
                }
                self.upload().await
            }
            Stage::Uploaded { commit } => self.verify(commit).await,
            Stage::Verified { commit } => self.commit(commit).await,
            Stage::Committed { commit, block } => self.read_back(commit, block).await,
            Stage::ReadBack { .. } => Ok(()),
        }
    }

    /// Waits until it may be tried again, and says so in log and journal.
    /// False: something better is to be done.
    async fn sit_out(&mut self, setback: Setback, waits: &mut Waits) -> Result<bool, Error> {
        let Setback { why, again } = setback;
        let backed_off = waits.next().unwrap_or(BACK_OFF.longest_wait);
        let time = match again.foreseen() {
            // A server that says "now" is not asked without a pause.
            Some(told) => told.max(BACK_OFF.first_wait),
            None => backed_off,
        };
        warn!(
            checkpoint = self.record.checkpoint_id,
            "{why}; trying again in {}",
            in_words(time)
        );
        self.wait_for(&why, Some(time)).await?;
        let over = async {
            match again {
                Again::BackOff | Again::After(_) => sleep(time).await,
                Again::AtBlock { block, .. } => self.until_block(block, backed_off).await,
            }
        };
        tokio::select! {
            () = over => Ok(true),
            () = self.interrupt.cancelled() => Ok(false),
            never = count_down(&why, time) => match never {},
        }
    }

    /// Follows the chain until it has finalized the block before this one, in
    /// which the next commitment can be.
    async fn until_block(&self, block: u64, pause: Duration) {
        let Some(committing) = &self.outside.committing else {
            return;
        };
        let Ok(chain) = committing.chain().await else {
            return sleep(pause).await;
        };
        let mut heads = chain.finalized_heads();
        loop {
            match heads.next().await {
                Ok(number) if number + 1 >= block => return,
                Ok(_) => {}
                Err(error) => {
                    warn!("{error}");
                    sleep(pause).await;
                }
            }
        }
    }

    /// Whether the journal says that this keeps the publication.
    pub(super) fn waits_for(&self, why: &str) -> bool {
        let waiting = self.record.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.why == why)
    }

    /// Writes down what keeps the publication, unless the journal says so.
    pub(super) async fn wait_for(
        &mut self,
        why: &str,
        time: Option<Duration>,
    ) -> Result<(), Error> {
        let now = unix_ms();
        let since_unix_ms = match &self.record.waiting {
            Some(waiting) if waiting.why == why => waiting.since_unix_ms,
            _ => now,
        };
        self.record.waiting = Some(Waiting {
            why: why.to_owned(),
            since_unix_ms,
            until_unix_ms: time.map(|time| now.saturating_add(time.as_millis() as u64)),
        });
        self.write().await
    }

    async fn end(&mut self, failed: bool, reason: &str) -> Result<(), Error> {
        self.record.waiting = None;
        self.record.ended = Some(Ended {
            failed,
            reason: reason.to_owned(),
            unix_ms: unix_ms(),
        });
        self.write().await
    }

    /// Reaches a stage, and makes that durable.
    pub(super) async fn reach(&mut self, stage: Stage, then: Point) -> Result<(), Error> {
        self.record.reach(stage);
        self.write().await?;
        crash::point(then);
        info!(
            checkpoint = self.record.checkpoint_id,
            "{}: {}",
            self.record.stage.name().replace('_', " "),
            self.record.chain_string()
        );
        Ok(())
    }

    pub(super) async fn write(&self) -> Result<(), Error> {
        let (record, state) = (self.record.clone(), self.state.clone());
        blocking::run(move || record.write(&state)).await
    }

    /// Does what may be left at any moment.
    pub(super) async fn leaving<T, E: Into<Stop>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stop> {
        tokio::select! {
            outcome = work => outcome.map_err(Into::into),
            () = self.interrupt.cancelled() => Err(Stop::Interrupted),
        }
    }

    pub(super) fn repo(&self) -> &RepoId {
        &self.record.repo
    }

    /// Whether something irreversible may begin now.
    pub(super) fn check_hold(&self) -> Result<(), Stop> {
        self.outside
            .hold
            .as_ref()
            .map_or(Ok(()), |hold| hold.check())
    }
}

/// Says from time to time how long a wait still lasts.
async fn count_down(why: &str, time: Duration) -> std::convert::Infallible {
    let over_at = Instant::now() + time;
    loop {
        sleep(COUNTDOWN_EVERY).await;
        let left = over_at.saturating_duration_since(Instant::now());
        info!("waiting: {why}; {} left", in_words(left));
    }
}
