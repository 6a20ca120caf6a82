//! A worker's trainer, without a model: when it takes part in which collective,
//! and what that does to its weights.

mod after_step;
mod collectives;
mod commands;
mod forming;
mod leaving;
mod stepping;

use ledger::{Cursor, Step};
use membership::Input;
use proto::v1;

use crate::event::WorkerAct;
use crate::fabric::Purpose;
use crate::sim::Sim;

/// What the trainer is told.
pub(crate) enum Command {
    Form {
        generation: u64,
        base: Cursor,
        form: Box<v1::Form>,
    },
    Rendezvous {
        generation: u64,
    },
    Abort {
        generation: u64,
    },
    Stop,
}

/// What the trainer's thread does.
#[derive(Default)]
pub(crate) enum Trainer {
    /// Builds its model.
    #[default]
    Building,
    /// Waits for commands.
    Idle,
    /// Works in a generation.
    In(Box<Seat>),
    /// Has ended.
    Ended,
}

/// A place in a generation.
pub(crate) struct Seat {
    generation: u64,
    rank: usize,
    size: usize,
    form: v1::Form,
    base: Cursor,
    /// The feeder's, ahead of the weights by epochs without steps.
    cursor: Cursor,
    /// The number of its next collective.
    number: u64,
    stage: Stage,
    /// Whether the generation was aborted here.
    is_aborted: bool,
    /// Since when it waits for the others, if it does, and since when it works
    /// on its step, by its own clock.
    waits_since: u64,
    step_since: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Rank 0 takes the state from where it is kept.
    Restoring,
    Rendezvous,
    Collective(Purpose),
    /// For rows of the page table.
    Waiting,
    Fetching(Step),
    Computing(Step),
    /// For a checkpoint, before it leaves in good order.
    Storing,
    /// For the run's last checkpoint.
    Finishing,
}

impl Sim {
    fn seat(&self, index: usize) -> Option<&Seat> {
        match &self.workers[index].process.trainer {
            Trainer::In(seat) => Some(seat),
            _ => None,
        }
    }

    /// Takes up something that lasts for a while.
    fn stage(&mut self, index: usize, stage: Stage, lasts: std::ops::Range<u64>) {
        let delay = self.dice.within(lasts) * self.workers[index].slowness;
        let process = &mut self.workers[index].process;
        if let Trainer::In(seat) = &mut process.trainer {
            seat.stage = stage;
            process.turn += 1;
            let turn = process.turn;
            self.act_later(index, delay, WorkerAct::Trainer { turn });
        }
    }

    /// The device hangs in the step that the trainer is in: its thread neither goes
    /// on nor leaves. Whatever else the process does goes on.
    pub(crate) fn hang(&mut self, index: usize) {
        let steps = self.seat(index).is_some_and(|seat| {
            let stage = &seat.stage;
            let computes = matches!(
                stage,
                Stage::Computing(_) | Stage::Collective(Purpose::Step(_))
            );
            computes && !seat.is_aborted
        });
        self.workers[index].process.hangs |= steps;
    }

    pub(crate) fn trainer_acts(&mut self, index: usize, act: WorkerAct) {
        if self.workers[index].process.hangs {
            return;
        }
        match act {
            WorkerAct::Built => {
                self.workers[index].process.trainer = Trainer::Idle;
                self.ready(index);
                self.obey(index);
            }
            WorkerAct::Trainer { turn } if turn == self.workers[index].process.turn => {
                self.go_on(index);
            }
            WorkerAct::CallDone { generation, number } => {
                self.collective_done(index, generation, number);
            }
            WorkerAct::CallFailed {
                generation,
                number,
                reason,
            } if self.is_in_collective(index, generation, number) => {
                self.leave(index, generation, reason);
                self.obey(index);
            }
            WorkerAct::Leave { generation, reason } => {
                let process = &self.workers[index].process;
                if matches!(&process.trainer, Trainer::In(seat) if seat.generation == generation) {
                    self.leave(index, generation, &reason);
                    self.obey(index);
                }
            }
            _ => {}
        }
    }

    /// A stage that lasted for a while is over.
    fn go_on(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let generation = seat.generation;
        match seat.stage.clone() {
            Stage::Restoring => self.restore(index),
            Stage::Fetching(step) => {
                let reached = self.workers[index].process.connection.is_some();
                if !reached && !self.config.only_restarts && self.dice.chance(10) {
                    // A page that is nowhere but with the coordinator.
                    return self.stage(index, Stage::Fetching(step), 20..60);
                }
                self.tell(index, Input::Phase(v1::Phase::Training));
                self.stage(index, Stage::Computing(step), 5..60);
            }
            Stage::Computing(step) => {
                // What the trainer asks before a step's last collective.
                self.tell(index, Input::Tick);
                let membership = self.workers[index].process.membership.as_ref();
                if membership.is_some_and(|m| m.is_over(generation)) {
                    return;
                }
                let share = self.share(index, &step);
                self.take_part(index, share);
            }
            Stage::Storing => {
                self.leave(index, generation, "");
                self.obey(index);
            }
            _ => {}
        }
    }
}
