//! Taking part in collectives, and what follows when one is done.

use super::{Stage, Trainer};
use crate::event::WorkerAct;
use crate::fabric::{Contribution, Purpose};
use crate::rule::Rule;
use crate::sim::Sim;

impl Sim {
    /// For how long the trainer has waited for the other ranks, if it does.
    pub(crate) fn waited(&self, index: usize) -> Option<u64> {
        let clock = self.workers[index].host.clock(self.now);
        let seat = self.seat(index)?;
        let waits = matches!(seat.stage, Stage::Collective(_));
        waits.then(|| clock - seat.waits_since)
    }

    pub(super) fn is_in_collective(&self, index: usize, generation: u64, number: u64) -> bool {
        self.seat(index).is_some_and(|seat| {
            seat.generation == generation
                && seat.number == number
                && matches!(seat.stage, Stage::Collective(_))
        })
    }

    pub(super) fn take_part(&mut self, index: usize, brought: Contribution) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        let lease_end = process.lease_end;
        let Trainer::In(seat) = &mut process.trainer else {
            return;
        };
        seat.stage = Stage::Collective(brought.purpose);
        seat.waits_since = clock;
        let (generation, rank, number) = (seat.generation, seat.rank, seat.number);
        if clock > lease_end + 5 {
            let name = self.workers[index].name.clone();
            return self.broken(Rule::LeaseKept, || {
                format!(
                    "worker {name} takes part in generation {generation} {} ms after its lease",
                    clock - lease_end
                )
            });
        }
        self.contribute(generation, rank, number, brought);
    }

    pub(super) fn collective_done(&mut self, index: usize, generation: u64, number: u64) {
        if !self.is_in_collective(index, generation, number) {
            return;
        }
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let sum = match self.result(generation, number, seat.rank) {
            None => {
                let delay = self.dice.within(20..50);
                let act = WorkerAct::CallDone { generation, number };
                return self.act_later(index, delay, act);
            }
            Some(Err(reason)) => {
                self.leave(index, generation, reason);
                return self.obey(index);
            }
            Some(Ok(sum)) => sum,
        };
        if let Trainer::In(seat) = &mut self.workers[index].process.trainer {
            seat.number += 1;
        }
        match sum.purpose {
            Purpose::Meet => self.exchange_state(index),
            Purpose::State => self.take_state(index, &sum),
            Purpose::Step(_) => self.apply_step(index, &sum),
            Purpose::Evaluation(_) => self.end_epoch(index),
        }
    }
}
