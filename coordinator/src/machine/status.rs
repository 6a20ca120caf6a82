//! What people and scripts can see of a machine.

use ledger::Cursor;

use super::Machine;
use super::ending::RunState;
use super::event::World;
use super::generation::Stage;
use crate::records::{Checkpoint, Evaluation, WorkerId};

/// A picture of a machine at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The coordinator's world.
    pub world: World,
    /// In one or two words.
    pub state: &'static str,
    /// What it waits for or does, as a sentence.
    pub detail: String,
    /// Up to where steps are reported.
    pub cursor: Cursor,
    /// The newest generation's number and base; a change of it may have rolled
    /// steps back.
    pub generation: u64,
    /// Workers that have joined, in name order.
    pub workers: Vec<WorkerStatus>,
    /// Seconds since the coordinator started.
    pub uptime: f64,
    /// Median over the last steps, of the whole cluster.
    pub tokens_per_second: Option<f64>,
    /// Training loss of the last step, in nats per token.
    pub loss: Option<f64>,
    /// The last evaluation.
    pub last_evaluation: Option<Evaluation>,
    /// The checkpoint to resume from.
    pub latest: Option<Checkpoint>,
    /// The checkpoint to publish.
    pub best: Option<Checkpoint>,
    /// Pages with a row, and those of them that are skipped.
    pub pages_packed: u64,
    /// See `pages_packed`.
    pub pages_skipped: u64,
    /// Steps of the whole run, when all its pages are known.
    pub steps_total: Option<u64>,
    /// Whether no further checkpoint will come.
    pub complete: bool,
}

/// A worker, as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerStatus {
    /// Its name.
    pub worker: WorkerId,
    /// Its rank in the current generation.
    pub rank: Option<u32>,
    /// Its device, in words.
    pub device: String,
    /// What it does, in a word or two.
    pub activity: &'static str,
    /// Where it stands.
    pub cursor: Option<Cursor>,
    /// Seconds since it was last heard.
    pub silence: f64,
}

impl Machine {
    /// A picture of this moment.
    pub fn status(&self) -> Status {
        let (state, detail) = self.in_words();
        let complete = matches!(
            self.run,
            RunState::Complete { .. } | RunState::Over { complete: true }
        );
        let last = self.reports.last();
        let config = self.order.config();
        let batch = u64::from(self.settings.global_batch.get());
        let totals = self.settings.epochs.and_then(|epochs| {
            self.table
                .exact_totals(epochs, config.pages_per_epoch, batch)
        });
        Status {
            world: self.world(),
            state,
            detail,
            cursor: self.reports.reported(),
            generation: self.generations.last().map_or(0, |g| g.record.number),
            workers: self
                .members
                .iter()
                .map(|(worker, member)| WorkerStatus {
                    worker: worker.clone(),
                    rank: self.rank_of(worker),
                    device: member.device.clone(),
                    activity: match member.session {
                        Some(_) if self.offenders.aside(worker).is_some() => "set aside",
                        Some(_) => member.activity.as_str(),
                        None => "away",
                    },
                    cursor: member.cursor,
                    silence: self.now.saturating_sub(member.last_heard) as f64 / 1000.0,
                })
                .collect(),
            uptime: (self.now - self.started) as f64 / 1000.0,
            tokens_per_second: self.reports.tokens_per_second(),
            loss: last.and_then(|reported| reported.report.mean_loss()),
            last_evaluation: self.reports.last_evaluation().copied(),
            latest: self.checkpoints.latest().cloned(),
            best: self.checkpoints.best().cloned(),
            pages_packed: self.table.packed(),
            pages_skipped: self.table.skipped(),
            steps_total: totals.map(|(steps, _)| steps),
            complete,
        }
    }

    fn rank_of(&self, worker: &WorkerId) -> Option<u32> {
        let rank = self.current.as_ref()?.rank_of(worker)?;
        u32::try_from(rank).ok()
    }

    fn in_words(&self) -> (&'static str, String) {
        let (state, detail) = match (&self.run, &self.current) {
            (RunState::Complete { .. } | RunState::Over { complete: true }, _) => {
                ("complete", "the run is complete".to_owned())
            }
            (RunState::Stopping { .. } | RunState::Over { .. }, _) => {
                ("stopping", "the coordinator is stopping".to_owned())
            }
            (RunState::Open, None) => ("waiting", self.waiting.clone()),
            (RunState::Open, Some(generation)) => match &generation.stage {
                Stage::Forming => (
                    "forming",
                    format!("generation {} meets at rank 0's store", generation.number),
                ),
                Stage::Running => (
                    "training",
                    format!(
                        "generation {} of {} workers steps",
                        generation.number,
                        generation.seats.len()
                    ),
                ),
                Stage::Leaving { reason, .. } => (
                    "leaving",
                    format!("generation {} ends: {reason}", generation.number),
                ),
            },
        };
        match self.assignments.complaint() {
            Some(complaint) if matches!(self.run, RunState::Open) => {
                (state, format!("{detail}; {complaint}"))
            }
            _ => (state, detail),
        }
    }
}
