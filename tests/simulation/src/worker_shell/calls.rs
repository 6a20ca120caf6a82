//! A worker's unary calls, repeated until they are answered, and joining.

use coordinator::machine::{Joining, World};
use coordinator::records::{CheckpointId, WorkerId};
use ledger::{PageId, Slot};
use membership::{Input, Membership};
use proto::v1;

use crate::coordinator_shell::RUN_ID;
use crate::event::{Answered, Call, Caller, CoordinatorAct, WorkerAct};
use crate::fault::Node;
use crate::rule::Rule;
use crate::sim::Sim;

/// How long a worker waits for the answer to a call.
const ANSWER_MS: u64 = 400;

#[derive(Clone, Debug)]
pub(super) enum Waiting {
    Join,
    Page(Slot, PageId),
    Checkpoint(CheckpointId),
}

impl Sim {
    pub(super) fn join(&mut self, index: usize) {
        let process = &self.workers[index].process;
        if process.connection.is_some() || process.joining.is_some() {
            return;
        }
        let known = process.membership.as_ref().map(Membership::known);
        let known = known.unwrap_or_default();
        let life = self.workers[index].host.life;
        let joining = Joining {
            name: self.workers[index].name.clone(),
            instance: life.to_string(),
            device: "cpu".to_owned(),
            world: World {
                term: known.term,
                generation: known.generation,
            },
        };
        // Before it waits for an answer, so that the lease is looked after.
        self.tell(index, Input::Tick);
        let attempt = self.call(index, Call::Join(joining), Waiting::Join);
        self.workers[index].process.joining = Some(attempt);
    }

    /// Calls whichever coordinator seems to lead; the call, its answer or both
    /// may be lost or late.
    pub(super) fn call(&mut self, index: usize, call: Call, waiting: Waiting) -> u64 {
        let attempt = self.number();
        let life = self.workers[index].host.life;
        self.workers[index].process.calls.insert(attempt, waiting);
        self.act_later(index, ANSWER_MS, WorkerAct::Unanswered { attempt });
        let connected = self.workers[index].process.connection;
        let connected = connected.and_then(|id| self.connections.get(&id));
        let to = match connected {
            Some(connection) if !connection.is_broken => connection.coordinator,
            _ => {
                // One after the other, and the leader before long.
                let asks = &mut self.workers[index].process.asks;
                *asks += 1;
                *asks % self.coordinators.len()
            }
        };
        let host = &self.coordinators[to].host;
        let (is_up, to_life) = (host.is_up, host.life);
        let caller = Caller {
            worker: index,
            life,
            attempt,
        };
        if !is_up {
            let delay = self.dice.within(1..10);
            let answered = Answered::Unavailable;
            self.act_later(index, delay, WorkerAct::Answer { attempt, answered });
        } else if self.reaches(Node::Worker(index), Node::Coordinator(to)) && !self.loses_call() {
            let late = if !self.config.only_restarts && self.dice.chance(3) {
                self.dice.within(1..900)
            } else {
                0
            };
            let delay = self.dice.within(1..12) + late;
            let act = CoordinatorAct::Call { caller, call };
            self.coordinator_after(delay, to, to_life, act);
        }
        attempt
    }

    pub(super) fn answered(&mut self, index: usize, attempt: u64, answered: Answered) {
        let process = &mut self.workers[index].process;
        let Some(waiting) = process.calls.remove(&attempt) else {
            return;
        };
        match (waiting, answered) {
            (
                Waiting::Join,
                Answered::Joined {
                    coordinator,
                    life,
                    worker,
                    world,
                },
            ) => {
                process.joining = None;
                self.joined(index, (coordinator, life), worker, world);
            }
            (Waiting::Join, Answered::Refused(refusal)) => {
                self.broken(Rule::Progress, || format!("joining was refused: {refusal}"));
            }
            (Waiting::Checkpoint(id), Answered::Kept) => self.stored(index, &id, None),
            (Waiting::Checkpoint(id), Answered::Refused(refusal)) => {
                self.stored(index, &id, Some(refusal.message));
            }
            (Waiting::Page(..), Answered::Kept | Answered::Refused(_)) => {}
            (waiting, _) => self.try_again(index, waiting),
        }
    }

    pub(super) fn try_again(&mut self, index: usize, waiting: Waiting) {
        let delay = self.dice.within(10..250);
        let act = match waiting {
            Waiting::Join => {
                self.workers[index].process.joining = None;
                WorkerAct::Join
            }
            Waiting::Page(slot, page) => WorkerAct::PutPage { slot, page },
            Waiting::Checkpoint(id) => WorkerAct::Upload { id },
        };
        self.act_later(index, delay, act);
    }

    fn joined(&mut self, index: usize, to: (usize, u64), name: WorkerId, world: World) {
        let clock = self.workers[index].host.clock(self.now);
        let lease = self.config.lease_ms;
        match &self.workers[index].process.membership {
            None => {
                // Another process of that name may be thought alive: then it
                // gets a name of its own.
                self.workers[index].name = name.0.clone();
                let context = v1::Context {
                    run_id: RUN_ID.to_owned(),
                    term: world.term,
                    generation: 0,
                    worker_id: name.0,
                };
                let mut membership = Membership::new(&context, lease, clock);
                membership.sabotage(self.config.sabotage.and_then(|s| s.of_worker()));
                let process = &mut self.workers[index].process;
                process.lease_end = clock + lease;
                process.membership = Some(membership);
                let delay = self.dice.within(20..300);
                self.act_later(index, delay, WorkerAct::Built);
            }
            Some(_) if name.0 != self.workers[index].name => {
                self.note_worker(index, || format!("would be {} now, and exits", name.0));
                return self.worker_acts(index, WorkerAct::Exit);
            }
            Some(_) => self.tell(index, Input::Joined { term: world.term }),
        }
        let id = self.open_connection(index, to);
        let process = &mut self.workers[index].process;
        process.highest.0 = process.highest.0.max(world.term);
        process.connection = Some(id);
        process.unanswered.clear();
        self.note_worker(index, || {
            format!("joins {} at term {}", Node::Coordinator(to.0), world.term)
        });
        let waited = self.waited(index);
        self.tell(index, Input::Connected { waited });
    }

    pub(super) fn term_of(&self, index: usize) -> Option<u64> {
        let membership = self.workers[index].process.membership.as_ref();
        membership.map(Membership::term)
    }
}
