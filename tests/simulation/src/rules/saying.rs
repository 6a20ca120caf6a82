//! What workers are told, held against what is durable and what they have.

use coordinator::machine::{Message, Origin, World};

use crate::rule::Rule;
use crate::sim::Sim;

impl Sim {
    /// What a worker is about to be told must be durable.
    pub(crate) fn check_said(&mut self, world: &World, message: &Message) {
        match message {
            Message::Form(form) => {
                let generation = world.generation;
                let kept = self.rules.generations.get(&generation);
                if kept.is_none_or(|kept| kept.record.base != form.base) {
                    return self.broken(Rule::DurableFirst, || {
                        format!("generation {generation} is announced before it is durable")
                    });
                }
                if let Origin::Checkpoint(id) = &form.origin
                    && !self.rules.checkpoints.contains_key(id)
                {
                    return self.broken(Rule::DurableFirst, || {
                        format!("generation {generation} begins with {id}, which is not durable")
                    });
                }
                self.check_states(form);
            }
            Message::PageRows(rows) => {
                let missing = rows
                    .iter()
                    .find(|(slot, row)| self.rules.rows.get(slot) != Some(row));
                if let Some((slot, _)) = missing {
                    self.broken(Rule::DurableFirst, || {
                        format!("the row of {slot} is announced before it is durable")
                    });
                }
            }
            Message::Ack { reported_steps, .. } => {
                // By whichever generation: one formed with the same batch may
                // have rolled them back.
                let last = reported_steps.checked_sub(1);
                let steps = &self.rules.steps;
                let durable = |last: u64| steps.keys().any(|(_, step)| *step == last);
                if last.is_some_and(|last| !durable(last)) {
                    self.broken(Rule::DurableFirst, || {
                        format!("{reported_steps} steps are acknowledged, and not all are durable")
                    });
                }
            }
            Message::Rendezvous { .. }
            | Message::Abort { .. }
            | Message::Pause { .. }
            | Message::Prepare(_)
            | Message::Stop { .. } => {}
        }
    }

    /// Whoever is said to have the state holds exactly the surviving steps.
    fn check_states(&mut self, form: &coordinator::machine::Form) {
        let Some(expected) = self.rules.weights_at(form.base) else {
            let step = form.base.step;
            return self.broken(Rule::DurableFirst, || {
                format!("a generation begins after {step} steps, which are not all durable")
            });
        };
        for (rank, member) in form.members.iter().enumerate() {
            let gives = form.origin == Origin::Rank(rank as u32);
            if !gives && !member.has_state {
                continue;
            }
            let name = &member.worker.0;
            let Some(worker) = self.workers.iter().find(|worker| worker.name == *name) else {
                continue;
            };
            let process = &worker.process;
            // One that has died since will not take part.
            let Some(weights) = process.weights.as_ref().filter(|_| worker.host.is_up) else {
                continue;
            };
            if *weights.trained != expected || process.is_torn {
                let (name, step) = (name.clone(), form.base.step);
                return self.broken(Rule::StateAsClaimed, || {
                    format!("worker {name} is said to hold the state after {step} steps")
                });
            }
        }
    }
}
