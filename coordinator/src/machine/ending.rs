//! How a run, or this coordinator's part in it, comes to its end.

use ledger::Cursor;

use super::effect::{Outcome, StopReason};
use super::event::{Millis, World};
use super::formation::progress;
use super::generation::{Leave, SeatState, Stage};
use super::happening::Happening;
use super::{Effect, Machine};
use crate::records::{Record, WorkerId};

/// Whether there is still something to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// Training goes on, or will.
    Open,
    /// The last epoch is trained, evaluated and checkpointed.
    Complete {
        /// Since when.
        since: Millis,
        /// Since when nobody watches checkpoints.
        unwatched_since: Millis,
    },
    /// The coordinator was asked to stop.
    Stopping {
        /// When it goes on without those that it waits for.
        deadline: Millis,
        /// Whether the workers were told to stop.
        told: bool,
    },
    /// The coordinator is about to exit.
    Over {
        /// Whether the run is complete.
        complete: bool,
    },
}

impl RunState {
    /// The state that a history leaves: complete, unless more epochs are asked
    /// for than were trained.
    pub(super) fn new(complete: Option<Cursor>, epochs: Option<u64>, now: Millis) -> RunState {
        match (complete, epochs) {
            (Some(end), Some(epochs)) if end.epoch >= epochs => RunState::Complete {
                since: now,
                unwatched_since: now,
            },
            _ => RunState::Open,
        }
    }
}

impl Machine {
    pub(super) fn on_finished(&mut self, worker: &WorkerId, world: World, cursor: Cursor) {
        if !self.is_in_current(worker, world) {
            return;
        }
        if self
            .settings
            .epochs
            .is_none_or(|epochs| cursor.epoch < epochs)
        {
            return self.fault(
                worker,
                format!("has finished at {cursor}, before the run's end"),
            );
        }
        if let Some(generation) = &mut self.current
            && let Some(seat) = generation.seat_mut(worker)
        {
            seat.state = SeatState::Finished;
        }
        if let Some(member) = self.members.get_mut(worker) {
            member.cursor = Some(cursor);
        }
        self.complete_if_finished();
    }

    /// Completes the run when every step is reported and every member has
    /// finished; or those that are left have, and what a lost one would have
    /// done is durable.
    pub(super) fn complete_if_finished(&mut self) -> bool {
        let Some(generation) = &self.current else {
            return false;
        };
        let mut finished = None;
        let mut everyone = true;
        for seat in &generation.seats {
            match seat.state {
                SeatState::Finished => finished = Some(seat.worker.clone()),
                SeatState::Lost => everyone = false,
                SeatState::Seated | SeatState::Awaited | SeatState::Left => return false,
            }
        }
        let member = finished.and_then(|worker| self.members.get(&worker));
        let Some(end) = member.and_then(|member| member.cursor) else {
            return false;
        };
        let latest = self.checkpoints.latest();
        let is_checkpointed = latest.is_some_and(|c| progress(c.cursor) >= progress(end));
        let is_reported = self.reports.reported().step >= end.step;
        let is_over = is_reported && (everyone || is_checkpointed);
        if is_over {
            self.complete(end);
        } else if everyone {
            // Each has said everything that it knows, reports first.
            let reason = format!("nobody reported every step up to {}", end.step);
            self.leave(Leave::Now, reason);
        }
        is_over
    }

    fn complete(&mut self, end: Cursor) {
        self.persist(Record::Complete(end));
        self.run = RunState::Complete {
            since: self.now,
            unwatched_since: self.now,
        };
        self.current = None;
        self.assignments.clear();
        self.tell(Happening::Complete { cursor: end });
        self.stop_everyone(StopReason::Complete);
    }

    fn stop_everyone(&mut self, reason: StopReason) {
        let connected = self.members.connected().map(|(worker, _)| worker.clone());
        let workers: Vec<WorkerId> = connected.collect();
        for worker in &workers {
            self.send_stop(worker, reason);
        }
    }

    pub(super) fn on_watching(&mut self, watchers: usize) {
        self.watchers = watchers;
        if let RunState::Complete {
            unwatched_since, ..
        } = &mut self.run
        {
            *unwatched_since = self.now;
        }
    }

    pub(super) fn on_shutdown_asked(&mut self) {
        match self.run {
            RunState::Open => {
                self.tell(Happening::Stopping);
                let how = Leave::AfterStep { checkpoint: true };
                self.stop_after(how, "the coordinator is stopping".to_owned());
            }
            RunState::Complete { .. } => self.exit(Outcome::Complete),
            RunState::Stopping { .. } | RunState::Over { .. } => {}
        }
    }

    /// The run cannot go on; what is durable stays.
    pub(super) fn fail_run(&mut self, reason: String) {
        self.failure = Some(reason.clone());
        self.tell(Happening::RunFailed {
            reason: reason.clone(),
        });
        self.stop_after(Leave::Now, reason);
    }

    fn stop_after(&mut self, how: Leave, reason: String) {
        self.run = RunState::Stopping {
            deadline: self.now + self.settings.pause_ms,
            told: false,
        };
        self.assignments.clear();
        let running = self
            .current
            .as_ref()
            .is_some_and(|g| g.stage == Stage::Running);
        // Before the group stands there is no step to agree on.
        self.leave(if running { how } else { Leave::Now }, reason);
    }

    /// Why workers are told to stop, other than that the run is complete.
    pub(super) fn stop_reason(&self) -> StopReason {
        match self.failure {
            Some(_) => StopReason::Failed,
            None => StopReason::Shutdown,
        }
    }

    fn stopped(&self) -> Outcome {
        match &self.failure {
            Some(reason) => Outcome::Failed(reason.clone()),
            None => Outcome::Stopped,
        }
    }

    /// Exits when nobody needs the coordinator any more.
    pub(super) fn leave_if_done(&mut self) {
        let alone = self.members.connected().next().is_none();
        match self.run {
            RunState::Complete {
                since,
                unwatched_since,
            } => {
                let unwatched =
                    self.watchers == 0 && self.now >= unwatched_since + self.settings.linger_ms;
                let alone = alone || self.now >= since + self.settings.farewell_ms;
                if self.settings.keep_serving {
                    return;
                }
                if alone && unwatched {
                    return self.exit(Outcome::Complete);
                }
                if self.watchers > 0 {
                    self.wait_for("waiting for those who watch or read checkpoints to leave");
                }
            }
            RunState::Stopping {
                deadline,
                told: false,
            } if self.current.is_none() || self.now >= deadline => {
                self.stop_everyone(self.stop_reason());
                if alone {
                    return self.exit(self.stopped());
                }
                self.run = RunState::Stopping {
                    deadline: self.now + self.settings.farewell_ms,
                    told: true,
                };
            }
            RunState::Stopping {
                deadline,
                told: true,
            } if alone || self.now >= deadline => self.exit(self.stopped()),
            RunState::Stopping { .. } | RunState::Open | RunState::Over { .. } => {}
        }
    }

    fn exit(&mut self, outcome: Outcome) {
        self.run = RunState::Over {
            complete: outcome == Outcome::Complete,
        };
        self.effects.push(Effect::Exit(outcome));
    }
}
