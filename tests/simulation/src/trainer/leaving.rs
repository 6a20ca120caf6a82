//! A generation's end for one rank: aborted or left, and what it says of itself
//! then.

use membership::{Input, Membership};
use proto::v1;
use proto::v1::worker_message::Body;

use super::{Command, Stage, Trainer};
use crate::event::WorkerAct;
use crate::sim::Sim;

impl Sim {
    /// The membership has ended a generation: its collectives end at once, and
    /// the trainer's thread is out a moment later.
    pub(crate) fn abort(&mut self, index: usize, generation: u64) {
        let process = &mut self.workers[index].process;
        process.commands.push_back(Command::Abort { generation });
        let mut leaving = None;
        if let Trainer::In(seat) = &mut process.trainer
            && seat.generation <= generation
            && !seat.is_aborted
            // Neither waits for a collective, and neither is interrupted.
            && !matches!(seat.stage, Stage::Storing | Stage::Finishing)
        {
            seat.is_aborted = true;
            leaving = Some(seat.generation);
        }
        if process.hangs && leaving.is_some() {
            // Its watchdog ends the process.
            let patience = 2 * self.config.lease_ms;
            return self.act_later(index, patience, WorkerAct::Exit);
        }
        if let Some(generation) = leaving {
            let delay = self.dice.within(1..25);
            let reason = String::new();
            self.act_later(index, delay, WorkerAct::Leave { generation, reason });
        }
        self.obey(index);
    }

    pub(super) fn leave(&mut self, index: usize, generation: u64, reason: &str) {
        self.leave_its_group(index);
        self.left(index, generation, reason);
    }

    pub(crate) fn leave_its_group(&mut self, index: usize) {
        if let Some(seat) = self.seat(index) {
            let (generation, rank) = (seat.generation, seat.rank);
            self.leave_group(generation, rank);
        }
    }

    /// Says that it is out of a generation, and what it has.
    pub(super) fn left(&mut self, index: usize, generation: u64, reason: &str) {
        let process = &mut self.workers[index].process;
        process.trainer = Trainer::Idle;
        process.last_generation = generation;
        process.is_member = false;
        process.unsaid = None;
        let reports = process.membership.as_ref().map(Membership::unacknowledged);
        let body = Body::Left(v1::Left {
            applied: process.claimed.map(Into::into),
            reports: reports.unwrap_or_default(),
            reason: reason.to_owned(),
        });
        self.tell(index, Input::Say { generation, body });
        self.ready(index);
    }

    pub(super) fn ready(&mut self, index: usize) {
        let process = &self.workers[index].process;
        let body = Body::Ready(v1::Ready {
            applied: process.claimed.map(Into::into),
            applied_generation: process.applied_in,
        });
        let generation = process
            .membership
            .as_ref()
            .map_or(0, Membership::generation);
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Ready,
                body,
            },
        );
    }
}
