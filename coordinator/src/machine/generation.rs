//! A generation, and what its members say while it lasts.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::Machine;
use super::effect::Message;
use super::event::{Millis, World};
use super::happening::Happening;
use super::members::{Applied, Standing};
use super::straggling::Pace;
use crate::records::{KeptGeneration, WorkerId};

/// The generation that is alive.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    /// In rank order. Nobody is added or removed while the generation lasts.
    pub(super) seats: Vec<Seat>,
    /// Where each worker sits: every message of a member asks.
    ranks: BTreeMap<WorkerId, usize>,
    pub(super) stage: Stage,
    /// When patience with the stage ends.
    pub(super) deadline: Option<Millis>,
    /// The step at which it began.
    pub(super) base_step: u64,
    pub(super) pace: Pace,
    /// Whether it was formed by a coordinator before this one.
    pub(super) adopted: bool,
    /// Where rank 0's store listens, once that is known.
    pub(super) store: Option<String>,
    /// Members that left by themselves, for a reason of theirs.
    pub(super) complaints: Vec<(WorkerId, String)>,
    /// Members that were lost, and how.
    pub(super) losses: Vec<(WorkerId, String)>,
}

/// A member's place in a generation.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) worker: WorkerId,
    pub(super) state: SeatState,
    /// When it was last heard, at the latest: its lease counts from before.
    pub(super) heard: Millis,
}

/// Where a member of a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatState {
    /// Takes part.
    Seated,
    /// May take part: this coordinator has not heard of it yet.
    Awaited,
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

impl SeatState {
    fn is_in_it(self) -> bool {
        !matches!(self, SeatState::Left | SeatState::Lost)
    }
}

impl Generation {
    /// A generation that is about to meet.
    pub(super) fn new(
        number: u64,
        members: &[WorkerId],
        base_step: u64,
        now: Millis,
        patience: Millis,
    ) -> Generation {
        let seat = |worker: &WorkerId| Seat {
            worker: worker.clone(),
            state: SeatState::Seated,
            heard: now,
        };
        Generation {
            number,
            seats: members.iter().map(seat).collect(),
            ranks: members.iter().cloned().zip(0..).collect(),
            stage: Stage::Forming,
            deadline: Some(now + patience),
            base_step,
            pace: Pace::default(),
            adopted: false,
            store: None,
            complaints: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// A generation that a coordinator before this one formed, and that may
    /// have gone on stepping ever since. Its members have `patience` to say so.
    pub(super) fn adopt(kept: &KeptGeneration, now: Millis, patience: Millis) -> Generation {
        let members: Vec<WorkerId> = kept.record.members.iter().cloned().map(WorkerId).collect();
        let step = kept.record.base.step;
        let mut generation = Generation::new(kept.record.number, &members, step, now, patience);
        generation.stage = Stage::Running;
        generation.adopted = true;
        for seat in &mut generation.seats {
            seat.state = SeatState::Awaited;
        }
        generation
    }

    pub(super) fn state_of(&self, worker: &WorkerId) -> Option<SeatState> {
        Some(self.seats.get(self.rank_of(worker)?)?.state)
    }

    pub(super) fn rank_of(&self, worker: &WorkerId) -> Option<usize> {
        self.ranks.get(worker).copied()
    }

    pub(super) fn world_size(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.seats.len()).ok()?)
    }

    pub(super) fn seat_mut(&mut self, worker: &WorkerId) -> Option<&mut Seat> {
        let rank = self.rank_of(worker)?;
        self.seats.get_mut(rank)
    }

    pub(super) fn in_it(&self) -> impl Iterator<Item = &WorkerId> {
        let present = self.seats.iter().filter(|seat| seat.state.is_in_it());
        present.map(|seat| &seat.worker)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// What a member that was away while the others were told to leave has to
    /// hear.
    fn told_to_leave(&self) -> Option<Message> {
        match &self.stage {
            Stage::Forming | Stage::Running => None,
            Stage::Leaving { at_once, reason } => {
                let reason = reason.clone();
                Some(match at_once {
                    true => Message::Abort { reason },
                    false => Message::Pause {
                        reason,
                        checkpoint: false,
                    },
                })
            }
        }
    }
}

impl Machine {
    /// The current generation, if it is the one that a message belongs to and
    /// its sender is one of its members.
    pub(super) fn is_in_current(&self, worker: &WorkerId, world: World) -> bool {
        self.current.as_ref().is_some_and(|generation| {
            let state = generation.state_of(worker);
            generation.number == world.generation && state.is_some_and(SeatState::is_in_it)
        })
    }

    /// Takes note that a member of an adopted generation is still in it, and
    /// tells it what it has missed.
    pub(super) fn take_seat_again(&mut self, worker: &WorkerId, world: World) {
        let Some(generation) = &mut self.current else {
            return;
        };
        if generation.number != world.generation {
            return;
        }
        let Some(seat) = generation.seat_mut(worker) else {
            return;
        };
        if seat.state != SeatState::Awaited {
            return;
        }
        seat.state = SeatState::Seated;
        let awaited = |seat: &Seat| seat.state == SeatState::Awaited;
        if generation.stage == Stage::Running && !generation.seats.iter().any(awaited) {
            generation.deadline = None;
            let number = generation.number;
            self.tell(Happening::Running { generation: number });
        }
        if let Some(member) = self.members.get_mut(worker) {
            member.standing = Standing::Seated;
        }
        let leaving = self.current.as_ref().and_then(Generation::told_to_leave);
        if let Some(message) = leaving {
            self.send(worker, message);
        }
        let store = self.current.as_ref().and_then(|g| g.store.clone());
        if let Some(address) = store {
            // It may not have heard it from the coordinator before.
            self.send(worker, Message::Rendezvous { address });
        }
        self.send_rows(worker, self.reports.reported().page.ordinal);
    }

    /// Tells of a generation that outlived the coordinator before this one.
    pub(super) fn tell_of_adoption(&mut self) {
        if let Some(generation) = &self.current {
            let generation = Happening::Adopted {
                generation: generation.number,
                members: generation.seats.iter().map(|s| s.worker.clone()).collect(),
            };
            self.tell(generation);
        }
    }

    pub(super) fn seat_state(&self, worker: &WorkerId) -> Option<SeatState> {
        self.current.as_ref()?.state_of(worker)
    }

    pub(super) fn on_ready(&mut self, worker: &WorkerId, world: World, applied: Applied) {
        self.miss_awaited_seat(worker, world);
        self.note_out(worker, world.generation, "it started over");
        if let Some(member) = self.members.get_mut(worker) {
            member.standing = Standing::Ready {
                applied,
                since: self.now,
            };
            member.cursor = applied.cursor;
        }
    }

    /// A worker that an adopted generation waits for turns out not to be in it.
    fn miss_awaited_seat(&mut self, worker: &WorkerId, world: World) {
        let Some(current) = &self.current else {
            return;
        };
        if current.number <= world.generation
            || current.state_of(worker) != Some(SeatState::Awaited)
        {
            return;
        }
        let number = current.number;
        let instance = self.members.get(worker).map(|member| &member.instance);
        let was_meant = self.generations.last().is_some_and(|kept| {
            let members = kept.record.members.iter().zip(&kept.instances);
            let mut members = members.filter(|(name, _)| **name == worker.0);
            members.any(|(_, meant)| Some(meant) == instance)
        });
        if was_meant {
            // The news of the generation never reached it, and will not.
            self.note_out(worker, number, "it never heard of the generation");
        } else {
            // Another process of that name. The one before it may be alive.
            self.lose_seat(worker, "another process has taken its place");
        }
    }

    pub(super) fn on_store_listening(&mut self, worker: &WorkerId, world: World, address: String) {
        if !self.is_in_current(worker, world) {
            return;
        }
        let Some(generation) = &mut self.current else {
            return;
        };
        if generation.rank_of(worker) != Some(0) {
            return;
        }
        generation.store = Some(address.clone());
        match generation.stage {
            Stage::Forming => {
                generation.stage = Stage::Running;
                generation.deadline = None;
                let number = generation.number;
                self.send_to_current(&Message::Rendezvous { address });
                self.tell(Happening::Running { generation: number });
            }
            // It had to be said again, and some may not have heard it before.
            Stage::Running if generation.adopted => {
                self.send_to_current(&Message::Rendezvous { address });
            }
            Stage::Running | Stage::Leaving { .. } => {}
        }
    }

    /// Rank 0 brings a checkpoint here, of which the last part came `activity_ms`
    /// ago: gigabytes take their time, but they must keep coming.
    pub(super) fn wait_for_restoring(&mut self, worker: &WorkerId, activity_ms: Millis) {
        let patience = self.settings.collective_ms.saturating_sub(activity_ms);
        if let Some(generation) = &mut self.current
            && generation.stage == Stage::Forming
            && generation.rank_of(worker) == Some(0)
        {
            let until = self.now + patience;
            generation.deadline = generation.deadline.map(|deadline| deadline.max(until));
        }
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
