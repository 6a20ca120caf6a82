//! A generation's beginning: a seat in it, and the state that all ranks begin
//! with.

use coordinator::records::CheckpointId;
use ledger::Cursor;
use membership::Input;
use proto::v1;
use proto::v1::worker_message::Body;

use super::{Seat, Stage, Trainer};
use crate::fabric::{Contribution, Purpose};
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::Sim;
use crate::weights::Weights;

impl Sim {
    pub(super) fn enter(&mut self, index: usize, generation: u64, base: Cursor, form: v1::Form) {
        self.tell(index, Input::Entered { generation });
        let (rank, size) = (form.rank as usize, form.world_size as usize);
        let process = &mut self.workers[index].process;
        let membership = process.membership.as_ref();
        let is_over = membership.is_none_or(|m| m.is_over(generation));
        if is_over {
            return self.left(index, generation, "");
        }
        process.has_finished = false;
        process.trainer = Trainer::In(Box::new(Seat {
            generation,
            rank,
            size,
            form,
            base,
            cursor: base,
            number: 0,
            stage: Stage::Rendezvous,
            is_aborted: false,
            waits_since: 0,
            step_since: 0,
        }));
        self.enter_group(generation, rank, size, index);
        if rank == 0 {
            self.stage(index, Stage::Restoring, 2..120);
        }
    }

    pub(super) fn restore(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, origin, base) = (seat.generation, seat.form.origin.clone(), seat.base);
        let process = &mut self.workers[index].process;
        match origin {
            Some(v1::form::Origin::Checkpoint(id)) => {
                let id = CheckpointId(id);
                if process.connection.is_none() {
                    return self.stage(index, Stage::Restoring, 20..120);
                }
                let sound = match self.checkpoints.get(&id) {
                    Some(files) if files.is_damaged => Err("a file has not its hash"),
                    Some(files) => Ok(files.weights.clone()),
                    // It slept, and the others are in another by now; or a coordinator
                    // that started meanwhile found it damaged.
                    None if generation < self.rules.newest()
                        || self.found_damaged.contains(&id) =>
                    {
                        Err("there is no such checkpoint")
                    }
                    None => {
                        return self.broken(Rule::DurableFirst, || {
                            format!("checkpoint {id} is gone, and a generation begins with it")
                        });
                    }
                };
                match sound {
                    Ok(weights) => process.weights = Some(weights),
                    Err(reason) => {
                        let body = Body::CheckpointDamaged(v1::CheckpointDamaged {
                            checkpoint_id: id.0,
                            reason: reason.to_owned(),
                        });
                        self.tell(index, Input::Say { generation, body });
                        self.leave(index, generation, "the checkpoint cannot be restored");
                        return self.obey(index);
                    }
                }
                self.claim(index, generation, base);
            }
            Some(v1::form::Origin::Initial(_)) | None => {
                process.weights = Some(Weights::initial());
                self.claim(index, generation, base);
            }
            Some(v1::form::Origin::FromRank(_)) => {}
        }
        if let Trainer::In(seat) = &mut self.workers[index].process.trainer {
            seat.stage = Stage::Rendezvous;
        }
        let body = Body::StoreListening(v1::StoreListening {
            address: "host:1".to_owned(),
        });
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Forming,
                body,
            },
        );
        self.obey(index);
    }

    /// The weights are those of a generation's base.
    fn claim(&mut self, index: usize, generation: u64, base: Cursor) {
        let process = &mut self.workers[index].process;
        process.is_torn = false;
        process.claimed = Some(base);
        process.applied_in = generation;
    }

    /// The broadcast of the state, where anyone lacks it.
    pub(super) fn exchange_state(&mut self, index: usize) {
        self.tell(index, Input::Tick);
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let root = match seat.form.origin {
            Some(v1::form::Origin::FromRank(rank)) => rank as usize,
            _ => 0,
        };
        let has_state = seat.form.has_state;
        let is_root = seat.rank == root;
        let mut brought = Contribution::of(Purpose::State);
        let process = &mut self.workers[index].process;
        if is_root {
            brought.state = process.weights.clone().filter(|_| !process.is_torn);
        } else if !has_state {
            // From here on they are partly someone else's.
            process.is_torn = process.weights.is_some();
            if !self.config.breaks(OfShell::ClaimOverwritten) {
                process.claimed = None;
            }
        }
        self.take_part(index, brought);
    }

    pub(super) fn take_state(&mut self, index: usize, sum: &Contribution) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (base, generation) = (seat.base, seat.generation);
        let Some(mut weights) = sum.state.clone() else {
            return self.broken(Rule::StateAsClaimed, || {
                format!("nobody in generation {generation} has the state that it begins with")
            });
        };
        // What the root says of its weights is the generation's base.
        let position = weights.sequences();
        if weights.trained.len() as u64 != base.step || position != base.position {
            return self.broken(Rule::StateAsClaimed, || {
                format!(
                    "generation {generation} begins after {} steps with weights that hold {}",
                    base.step,
                    weights.trained.len()
                )
            });
        }
        weights.cursor = base;
        self.workers[index].process.weights = Some(weights);
        self.claim(index, generation, base);
        self.tell(index, Input::Applied(base));
        self.next_step(index);
    }
}
