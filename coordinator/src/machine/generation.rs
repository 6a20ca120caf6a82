//! A generation, and what its members say while it lasts.

use std::num::NonZeroU32;

use super::Machine;
use super::effect::Message;
use super::event::{Millis, World};
use super::happening::Happening;
use super::members::{Applied, Standing};
use crate::records::WorkerId;

/// The generation that is alive.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    /// In rank order.
    pub(super) seats: Vec<Seat>,
    pub(super) stage: Stage,
    /// When patience with the stage ends.
    pub(super) deadline: Option<Millis>,
}

/// A member's place in a generation.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) worker: WorkerId,
    pub(super) state: SeatState,
}

/// Where a member of a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatState {
    /// Takes part.
    Seated,
    /// Has reached the run's end.
    Finished,
    /// Has said that it is out.
    Left,
    /// Has not been heard of again.
    Lost,
}

/// How far a generation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Members know each other; rank 0's store is awaited.
    Forming,
    /// The group steps.
    Running,
    /// Members are told to leave, at once or after a step.
    Leaving { at_once: bool, reason: String },
}

/// How a generation is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// In the middle of whatever its members do.
    Now,
    /// Together, after a step that the ranks agree on.
    AfterStep {
        /// Whether to leave a durable checkpoint behind.
        checkpoint: bool,
    },
}

/// A generation that ended without anyone saying so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predecessor {
    pub(super) number: u64,
    /// When its members' leases have run out.
    pub(super) safe_at: Millis,
}

impl Generation {
    pub(super) fn rank_of(&self, worker: &WorkerId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.worker == *worker)
    }

    pub(super) fn world_size(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.seats.len()).ok()?)
    }

    pub(super) fn seat_mut(&mut self, worker: &WorkerId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.worker == *worker)
    }

    pub(super) fn in_it(&self) -> impl Iterator<Item = &WorkerId> {
        let present = |seat: &&Seat| matches!(seat.state, SeatState::Seated | SeatState::Finished);
        self.seats.iter().filter(present).map(|seat| &seat.worker)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }
}

impl Machine {
    /// The current generation, if it is the one that a message belongs to and
    /// its sender is one of its members.
    pub(super) fn is_in_current(&self, worker: &WorkerId, world: World) -> bool {
        self.current.as_ref().is_some_and(|generation| {
            generation.number == world.generation && generation.in_it().any(|one| one == worker)
        })
    }

    pub(super) fn on_ready(&mut self, worker: &WorkerId, world: World, applied: Applied) {
        self.note_out(worker, world.generation, "it started over");
        if let Some(member) = self.members.get_mut(worker) {
            member.standing = Standing::Ready {
                applied,
                since: self.now,
            };
            member.cursor = applied.cursor;
        }
    }

    pub(super) fn on_store_listening(&mut self, worker: &WorkerId, world: World, address: String) {
        if !self.is_in_current(worker, world) {
            return;
        }
        let Some(generation) = &mut self.current else {
            return;
        };
        if generation.rank_of(worker) != Some(0) || generation.stage != Stage::Forming {
            return;
        }
        generation.stage = Stage::Running;
        generation.deadline = None;
        let number = generation.number;
        self.send_to_current(&Message::Rendezvous { address });
        self.tell(Happening::Running { generation: number });
    }

    pub(super) fn send_to_current(&mut self, message: &Message) {
        let Some(generation) = &self.current else {
            return;
        };
        let workers: Vec<WorkerId> = generation.in_it().cloned().collect();
        for worker in &workers {
            self.send(worker, message.clone());
        }
    }
}

impl Seat {
    pub(super) fn taken_by(worker: WorkerId) -> Seat {
        Seat {
            worker,
            state: SeatState::Seated,
        }
    }
}
