//! The end of a generation: asked for, or forced by a loss.

use super::effect::Message;
use super::ending::RunState;
use super::event::{Millis, World};
use super::generation::{Leave, Predecessor, SeatState, Stage};
use super::happening::Happening;
use super::members::Standing;
use super::{Machine, Sabotage};
use crate::records::{Record, Reported, WorkerId};

impl Machine {
    pub(super) fn on_left(
        &mut self,
        worker: &WorkerId,
        world: World,
        reports: Vec<Reported>,
        reason: &str,
    ) {
        self.take_reports(worker, world.generation, reports);
        // Who leaves because it was told to gives no reason.
        let (reason, failed) = match reason {
            "" => ("it left", false),
            reason => (reason, true),
        };
        self.take_out(worker, world.generation, reason, failed);
        if let Some(member) = self.members.get_mut(worker) {
            member.standing = Standing::Returning { since: self.now };
        }
    }

    /// Takes note that a worker is out of `generation` and every one before.
    pub(super) fn note_out(&mut self, worker: &WorkerId, generation: u64, reason: &str) {
        self.take_out(worker, generation, reason, false);
    }

    /// The same; whether something has `failed` where the worker is, before it heard
    /// of the generation's end.
    fn take_out(&mut self, worker: &WorkerId, generation: u64, reason: &str, failed: bool) {
        if let Some(current) = &mut self.current
            && current.number <= generation
            && let Some(seat) = current.seat_mut(worker)
            && seat.state != SeatState::Left
        {
            let was_lost = seat.state == SeatState::Lost;
            seat.state = SeatState::Left;
            // Also where all are leaving: the first to complain may not be the only
            // one, and after a failure nobody agrees on a step to leave after.
            if !current.is_leaving() || (failed && !was_lost) {
                current.complaints.push((worker.clone(), reason.to_owned()));
                self.leave(Leave::Now, format!("worker {worker} left: {reason}"));
            }
            self.end_generation_if_left();
        }
        if let Some(predecessor) = self.predecessor
            && predecessor.number <= generation
            && self.was_member(worker, predecessor.number)
        {
            self.bury(predecessor.number);
        }
    }

    fn outlived_ms(&self) -> Millis {
        self.settings.outlived_ms(self.generations.last())
    }

    /// A worker is about to hear from here, which renews its lease. If it may
    /// still be in a generation that is thought to die out, that takes longer.
    pub(super) fn expect_longer_life(&mut self, worker: &WorkerId) {
        let Some(mut predecessor) = self.predecessor else {
            return;
        };
        let member = self.members.get(worker);
        let has_seen_it = member.is_some_and(|m| m.world.generation >= predecessor.number);
        // Whatever renews its lease comes after that, in one session. Its device may
        // hang and never come back to say so.
        let knows_its_end = member.is_some_and(|member| match (member.session, member.told_out) {
            (Some((open, _)), Some((told, number))) => open == told && number >= predecessor.number,
            _ => false,
        });
        if has_seen_it && !knows_its_end && self.was_member(worker, predecessor.number) {
            predecessor.safe_at = self.now + self.outlived_ms();
            self.predecessor = Some(predecessor);
        }
    }

    pub(super) fn was_member(&self, worker: &WorkerId, generation: u64) -> bool {
        if let Some(current) = &self.current
            && current.number == generation
        {
            return current.rank_of(worker).is_some();
        }
        let found = self.generations.iter().rev();
        let mut found = found.filter(|g| g.record.number == generation);
        found.any(|g| g.record.members.contains(&worker.0))
    }

    /// Records that a generation is over for good.
    pub(super) fn bury(&mut self, number: u64) {
        if self.predecessor.take().is_some() {
            self.gather_until = self.now + self.settings.regather_ms;
        }
        let found = self.generations.iter_mut().rev();
        let mut found = found.filter(|g| g.record.number == number && !g.ended);
        if let Some(generation) = found.next() {
            generation.ended = true;
            let kept = generation.clone();
            self.persist(Record::Generation(kept));
        }
    }

    /// A member says that nobody can go on.
    pub(super) fn on_run_failed(&mut self, worker: &WorkerId, world: World, reason: &str) {
        if self.is_in_current(worker, world) && matches!(self.run, RunState::Open) {
            self.fail_run(reason.to_owned());
        }
    }

    pub(super) fn on_drain(&mut self, worker: &WorkerId, reason: String) {
        let why = format!("worker {worker} drains: {reason}");
        if let Some(member) = self.members.get_mut(worker) {
            member.draining = Some(reason);
        }
        self.assignments.release_all_of(worker);
        let Some(generation) = &self.current else {
            return;
        };
        if generation.rank_of(worker).is_some() && !generation.is_leaving() {
            // Before the group stands there is no step to agree on.
            let how = match generation.stage {
                Stage::Forming => Leave::Now,
                _ => Leave::AfterStep { checkpoint: false },
            };
            self.leave(how, why);
        }
    }

    /// A member can no longer be heard.
    pub(super) fn lose_seat(&mut self, worker: &WorkerId, reason: &str) {
        let Some(current) = &mut self.current else {
            return;
        };
        let Some(seat) = current.seat_mut(worker) else {
            return;
        };
        if matches!(seat.state, SeatState::Left | SeatState::Lost) {
            return;
        }
        if seat.state != SeatState::Awaited
            && let Some(member) = self.members.get(worker)
        {
            seat.heard = seat.heard.max(member.last_heard);
        }
        seat.state = SeatState::Lost;
        current.losses.push((worker.clone(), reason.to_owned()));
        let leaving_at_once = matches!(current.stage, Stage::Leaving { at_once: true, .. });
        if self.complete_if_finished() {
            return;
        }
        if !leaving_at_once {
            self.leave(Leave::Now, format!("worker {worker} was lost: {reason}"));
        }
        self.end_generation_if_left();
    }

    /// Tells a worker that it is out of the current generation.
    pub(super) fn tell_to_abort(&mut self, worker: &WorkerId, reason: &str) {
        let reason = reason.to_owned();
        self.send(worker, Message::Abort { reason });
    }

    /// Tells the members to leave: at once, or together after a step.
    pub(super) fn leave(&mut self, how: Leave, reason: String) {
        let Some(generation) = &mut self.current else {
            return;
        };
        if matches!(generation.stage, Stage::Leaving { at_once: true, .. }) {
            return;
        }
        let at_once = how == Leave::Now;
        let patience = match how {
            Leave::Now => self.settings.abort_ms,
            Leave::AfterStep { .. } => self.settings.pause_ms,
        };
        generation.deadline = Some(self.now + patience);
        generation.stage = Stage::Leaving {
            at_once,
            reason: reason.clone(),
        };
        let number = generation.number;
        self.next_reason.clone_from(&reason);
        self.tell(Happening::Leaving {
            generation: number,
            at_once,
            reason: reason.clone(),
        });
        if self.settings.breaks(Sabotage::NeverAbort) {
            return;
        }
        self.send_to_current(&match how {
            Leave::Now => Message::Abort { reason },
            Leave::AfterStep { checkpoint } => Message::Pause { reason, checkpoint },
        });
    }

    pub(super) fn expire_generation_deadline(&mut self) {
        let Some(generation) = &self.current else {
            return;
        };
        if generation
            .deadline
            .is_none_or(|deadline| self.now < deadline)
        {
            return;
        }
        match &generation.stage {
            Stage::Forming => {
                let rank_0 = generation.seats[0].worker.clone();
                let reason = "it opened no store for the others to meet at".to_owned();
                if let Some(generation) = &mut self.current {
                    generation.losses.push((rank_0.clone(), reason.clone()));
                }
                self.leave(Leave::Now, format!("worker {rank_0} held it up: {reason}"));
            }
            Stage::Leaving { at_once: false, .. } => {
                self.leave(
                    Leave::Now,
                    "not every member left after a step in time".to_owned(),
                );
            }
            Stage::Leaving { at_once: true, .. } => {
                let late: Vec<WorkerId> = generation.in_it().cloned().collect();
                let reason = "it did not leave its generation in time";
                for worker in late {
                    match self.members.session_of(&worker) {
                        Some(session) => self.drop_session(session, reason),
                        // Of an adopted generation, and it never came back.
                        None => self.lose_seat(&worker, reason),
                    }
                }
            }
            // Of an adopted generation: nobody is waited for any longer.
            Stage::Running => {
                let awaited = generation.seats.iter();
                let awaited = awaited.filter(|seat| seat.state == SeatState::Awaited);
                let late: Vec<WorkerId> = awaited.map(|seat| seat.worker.clone()).collect();
                for worker in late {
                    self.lose_seat(&worker, "it did not come back to the new coordinator");
                }
            }
        }
    }

    fn end_generation_if_left(&mut self) {
        let Some(generation) = &self.current else {
            return;
        };
        if generation.in_it().next().is_some() {
            return;
        }
        let number = generation.number;
        let someone_left = generation.seats.iter().any(|s| s.state == SeatState::Left);
        let heard = generation.seats.iter().map(|seat| seat.heard).max();
        if let Some(generation) = self.current.take() {
            self.judge(&generation);
        }
        self.tell(Happening::Ended { generation: number });
        if someone_left {
            self.bury(number);
        } else {
            self.predecessor = Some(Predecessor {
                number,
                safe_at: heard.unwrap_or(self.now) + self.outlived_ms(),
            });
        }
    }
}
