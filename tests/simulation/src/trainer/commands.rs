//! What the trainer is told to do, and when it reads that.

use super::{Command, Stage, Trainer};
use crate::event::WorkerAct;
use crate::fabric::{Contribution, Purpose};
use crate::sim::Sim;

impl Sim {
    pub(crate) fn number_of_commands(&self, index: usize) -> (u64, usize) {
        let process = &self.workers[index].process;
        let generation = match &process.trainer {
            Trainer::In(seat) => seat.generation,
            _ => 0,
        };
        (generation, process.commands.len())
    }

    pub(crate) fn command(&mut self, index: usize, command: Command) {
        self.workers[index].process.commands.push_back(command);
        self.obey(index);
    }

    /// Reads commands, as far as the trainer reads any now.
    pub(crate) fn obey(&mut self, index: usize) {
        loop {
            let process = &mut self.workers[index].process;
            let waits = match &process.trainer {
                Trainer::Idle => true,
                Trainer::In(seat) => seat.stage == Stage::Rendezvous && !seat.is_aborted,
                Trainer::Building | Trainer::Ended => false,
            };
            if !waits {
                return;
            }
            let Some(command) = process.commands.pop_front() else {
                return;
            };
            match &process.trainer {
                Trainer::In(_) => self.obey_in_rendezvous(index, command),
                _ => self.obey_idle(index, command),
            }
        }
    }

    fn obey_in_rendezvous(&mut self, index: usize, command: Command) {
        let Trainer::In(seat) = &mut self.workers[index].process.trainer else {
            return;
        };
        let number = seat.generation;
        match command {
            Command::Rendezvous { generation } if generation == number => {
                self.take_part(index, Contribution::of(Purpose::Meet));
            }
            Command::Abort { generation } if generation >= number => {
                self.leave(index, number, "");
            }
            Command::Stop => {
                self.workers[index]
                    .process
                    .commands
                    .push_front(Command::Stop);
                self.leave(index, number, "");
            }
            _ => {}
        }
    }

    fn obey_idle(&mut self, index: usize, command: Command) {
        let process = &mut self.workers[index].process;
        match command {
            Command::Form {
                generation,
                base,
                form,
            } => self.enter(index, generation, base, *form),
            Command::Rendezvous { .. } => {}
            Command::Abort { generation } => {
                let stale = generation <= process.last_generation && !process.is_member;
                if generation >= process.last_generation && !stale {
                    self.left(index, generation, "");
                }
            }
            Command::Stop => {
                process.trainer = Trainer::Ended;
                self.act_later(index, 20, WorkerAct::Exit);
            }
        }
    }
}
