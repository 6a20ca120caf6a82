//! Joining, sessions, and who hears what a worker says.

use super::effect::{Answer, Message, Refusal, StopReason};
use super::ending::RunState;
use super::event::{Activity, FromWorker, Heartbeat, Joining, RequestId, SessionId, World};
use super::happening::Happening;
use super::members::{Applied, Member, Standing, check_name};
use super::{Effect, Machine};
use crate::records::{Record, WorkerId};

/// For how many leases a worker without a session stays known.
const LEASES_REMEMBERED: u64 = 10;

impl Machine {
    pub(super) fn on_join(&mut self, request: RequestId, joining: Joining) {
        if let Err(reason) = check_name(&joining.name) {
            return self.reply(request, Err(Refusal::invalid(reason)));
        }
        self.adopt(joining.world);
        let horizon = self.now.saturating_sub(self.settings.lease_ms);
        let worker = self
            .members
            .name_for(&joining.name, &joining.instance, horizon);
        if self.is_joined(&worker, &joining) {
            // A call that took its time, or was repeated. If its session is
            // broken, the next one replaces it.
            let world = self.world();
            return self.reply(request, Ok(Answer::Joined { worker, world }));
        }
        self.tell(Happening::Joined {
            worker: worker.clone(),
            device: joining.device.clone(),
        });
        let member = Member {
            instance: joining.instance,
            device: joining.device,
            session: None,
            told_out: None,
            has_connected: false,
            last_heard: self.now,
            standing: Standing::Starting,
            activity: Activity::Starting,
            activity_since: self.now,
            cursor: None,
            draining: None,
            world: joining.world,
        };
        self.members.insert(worker.clone(), member);
        self.expect_longer_life(&worker);
        let answer = Answer::Joined {
            worker,
            world: self.world(),
        };
        self.reply(request, Ok(answer));
    }

    /// Whether this very process has a session; takes note of what it has seen.
    fn is_joined(&mut self, worker: &WorkerId, joining: &Joining) -> bool {
        let Some(member) = self.members.get_mut(worker) else {
            return false;
        };
        let world = joining.world.generation;
        member.world.generation = member.world.generation.max(world);
        member.session.is_some() && member.instance == joining.instance
    }

    pub(super) fn on_session_opened(&mut self, session: SessionId, worker: &WorkerId) {
        if self.members.get(worker).is_none() {
            let refusal = Refusal::again(format!("worker {worker} has to join first"));
            self.effects.push(Effect::Close { session, refusal });
            return;
        }
        if let Some(older) = self.members.session_of(worker) {
            self.drop_session(older, "it opened another session");
        }
        self.members.open_session(worker, session, self.term);
        self.heard_from(worker);
        match self.run {
            RunState::Open => {}
            RunState::Complete { .. } => self.send_stop(worker, StopReason::Complete),
            RunState::Stopping { .. } | RunState::Over { .. } => {
                self.send_stop(worker, self.stop_reason());
            }
        }
    }

    pub(super) fn on_session_closed(&mut self, session: SessionId) {
        self.end_session(session, "its session ended");
    }

    /// Ends a session from this side.
    pub(super) fn drop_session(&mut self, session: SessionId, reason: &str) {
        let refusal = Refusal::again(format!("the session was closed: {reason}"));
        self.effects.push(Effect::Close { session, refusal });
        self.end_session(session, reason);
    }

    fn end_session(&mut self, session: SessionId, reason: &str) {
        let Some(worker) = self.members.close_session(session) else {
            return;
        };
        self.assignments.release_all_of(&worker);
        self.tell(Happening::Lost {
            worker: worker.clone(),
            reason: reason.to_owned(),
        });
        self.lose_seat(&worker, reason);
    }

    pub(super) fn lose_silent_workers(&mut self) {
        let horizon = self.now.saturating_sub(self.settings.lease_ms);
        for (session, last_heard) in self.members.silent_since(horizon) {
            let seconds = (self.now - last_heard) as f64 / 1000.0;
            self.drop_session(session, &format!("it was silent for {seconds:.1} s"));
        }
        let remembered = LEASES_REMEMBERED * self.settings.lease_ms;
        self.members
            .forget_absent(self.now.saturating_sub(remembered));
    }

    pub(super) fn on_said(&mut self, session: SessionId, world: World, message: FromWorker) {
        let Some(worker) = self.members.worker_of(session).cloned() else {
            return;
        };
        let Some(member) = self.members.get_mut(&worker) else {
            return;
        };
        // A message from before this coordinator led.
        if member.session.is_some_and(|(_, term)| world.term < term) {
            return;
        }
        member.world.generation = member.world.generation.max(world.generation);
        self.adopt(world);
        self.heard_from(&worker);
        match message {
            FromWorker::Heartbeat(heartbeat) => self.on_heartbeat(&worker, world, heartbeat),
            FromWorker::Ready {
                applied,
                applied_generation,
            } => {
                let applied = Applied {
                    cursor: applied,
                    generation: applied_generation,
                };
                self.on_ready(&worker, world, applied);
            }
            FromWorker::StoreListening { address } => {
                self.on_store_listening(&worker, world, address);
            }
            FromWorker::StepReports(reports) => self.on_step_reports(&worker, world, reports),
            FromWorker::Evaluated(evaluation) => self.on_evaluated(&worker, world, evaluation),
            FromWorker::Left { reports, reason } => self.on_left(&worker, world, reports, &reason),
            FromWorker::Finished { cursor } => self.on_finished(&worker, world, cursor),
            FromWorker::Drain { reason } => self.on_drain(&worker, reason),
            FromWorker::RunFailed { reason } => self.on_run_failed(&worker, world, &reason),
            FromWorker::CheckpointDamaged { id, reason } => {
                self.on_checkpoint_doubted(&id, format!("worker {worker}: {reason}"));
            }
            FromWorker::PageFailed {
                slot,
                reason,
                permanent,
            } => self.on_page_failed(&worker, slot, reason, permanent),
        }
    }

    fn on_heartbeat(&mut self, worker: &WorkerId, world: World, heartbeat: Heartbeat) {
        let Heartbeat {
            activity,
            activity_ms,
            cursor,
        } = heartbeat;
        if let Some(member) = self.members.get_mut(worker) {
            member.activity = activity;
            member.activity_since = self.now.saturating_sub(activity_ms);
            member.cursor = cursor.or(member.cursor);
        }
        if activity.is_in_generation() || activity == Activity::Finished {
            self.take_seat_again(worker, world);
        }
        if activity == Activity::Restoring && self.is_in_current(worker, world) {
            self.wait_for_restoring(worker, activity_ms);
        }
        // It went on while it could not be heard, in a generation from which
        // it is counted as lost. Before the answer that renews its lease, so that
        // a connection that breaks in between does not let it go on.
        let takes_part = activity.is_in_generation()
            || (activity == Activity::Finished && matches!(self.run, RunState::Open));
        if takes_part && !self.is_in_current(worker, world) {
            let reason = "the coordinator counted this worker as lost".to_owned();
            self.send_about(worker, world.generation, Message::Abort { reason });
        }
        let ack = Message::Ack {
            lease_ms: self.settings.lease_ms,
            reported_steps: self.reports.reported().step,
        };
        self.send(worker, ack);
    }

    fn heard_from(&mut self, worker: &WorkerId) {
        let now = self.now;
        if let Some(member) = self.members.get_mut(worker) {
            member.last_heard = now;
        }
    }

    /// Goes above any world that anyone has seen: an older coordinator's
    /// decisions must never look newer than this one's.
    fn adopt(&mut self, world: World) {
        self.highest_generation = self.highest_generation.max(world.generation);
        if world.term > self.term {
            self.term = world.term.saturating_add(1);
            self.persist(Record::Term(self.term));
        }
    }

    pub(super) fn send_stop(&mut self, worker: &WorkerId, reason: StopReason) {
        let message = match (reason, &self.failure) {
            (StopReason::Failed, Some(failure)) => failure.clone(),
            (StopReason::Failed, None) => "the run cannot go on".to_owned(),
            (StopReason::Complete, _) => "the run is complete".to_owned(),
            (StopReason::Shutdown, _) => {
                "the coordinator is stopping; the run can be resumed".to_owned()
            }
        };
        self.send(worker, Message::Stop { reason, message });
    }
}
