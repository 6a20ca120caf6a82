//! A coordinator's process: the driver's order of things around the real state
//! machine, and its part in the election.

mod batches;
mod calls;
mod election;
mod happenings;

use std::collections::{BTreeMap, VecDeque};

use coordinator::clock::Clock;
use coordinator::machine::{Effect, Event, Machine, RequestId, SessionId, Verified};
use coordinator::store::RunStore;

use crate::event::{Answered, Call, Caller, CoordinatorAct, Told};
use crate::fault::Node;
use crate::host::Host;
use crate::sim::Sim;
use crate::store::InFlight;

/// How often the machine is told that time has passed.
const TICK_MS: u64 = 100;
/// The run's name on the wire.
pub(crate) const RUN_ID: &str = "simulated";

/// A machine that can lead.
pub(crate) struct CoordinatorNode {
    pub(crate) host: Host,
    pub(crate) is_cut_from_store: bool,
    pub(crate) leading: Option<Leading>,
}

/// What a process has while it leads.
pub(crate) struct Leading {
    pub(crate) machine: Machine,
    /// By which the machine counts.
    clock: Clock,
    store: RunStore,
    /// By its own clock: it neither serves nor writes beyond that.
    valid_until: u64,
    waiting: VecDeque<Told>,
    committing: Option<(u64, Vec<Effect>)>,
    /// Connections whose sessions the batch under way has opened.
    opened: Vec<u64>,
    calls: BTreeMap<RequestId, (Caller, Call)>,
}

impl CoordinatorNode {
    pub(crate) fn new(drift: i64) -> CoordinatorNode {
        CoordinatorNode {
            host: Host::new(drift),
            is_cut_from_store: false,
            leading: None,
        }
    }
}

impl Sim {
    pub(crate) fn coordinator_starts(&mut self, index: usize) {
        let life = self.coordinators[index].host.life;
        self.history
            .note(self.now, Node::Coordinator(index), || "starts".to_owned());
        let delay = self.dice.within(5..120);
        self.coordinator_after(delay, index, life, CoordinatorAct::Renew);
    }

    pub(crate) fn coordinator_died(&mut self, index: usize, life: u64) {
        self.coordinators[index].leading = None;
        // What was on its way to the store got there, or did not.
        let of_it = |flight: &InFlight| flight.coordinator == index && flight.life == life;
        let flights = self.store.in_flight.iter();
        let flights: Vec<u64> = flights
            .filter(|(_, flight)| of_it(flight))
            .map(|(commit, _)| *commit)
            .collect();
        for commit in flights {
            if self.dice.chance(50) {
                self.store.in_flight.remove(&commit);
            } else if self.config.coordinators == 1 {
                // One's own disk is done with it before the next process opens
                // the file.
                self.store_arrives(commit);
            }
        }
    }

    pub(crate) fn coordinator_acts(&mut self, index: usize, act: CoordinatorAct) {
        match act {
            CoordinatorAct::Renew => self.renew(index),
            CoordinatorAct::Tick => {
                let life = self.coordinators[index].host.life;
                self.coordinator_after(TICK_MS, index, life, CoordinatorAct::Tick);
                self.coordinator_hears(index, Told::Event(Event::Tick));
            }
            CoordinatorAct::Committed { commit, kept } => self.committed(index, commit, kept),
            CoordinatorAct::Call { caller, call } => {
                if self.coordinators[index].leading.is_none() {
                    return self.answer(index, caller, Answered::Unavailable);
                }
                self.coordinator_hears(index, Told::Call(caller, call));
            }
            CoordinatorAct::Verified(id) => {
                let verified = match self.checkpoints.get(&id) {
                    Some(files) if !files.is_damaged => Verified::Sound,
                    _ => Verified::Damaged {
                        reason: "a file has not its hash".to_owned(),
                        rows: self.rules.rows.clone(),
                    },
                };
                let event = Event::CheckpointVerified { id, verified };
                self.coordinator_hears(index, Told::Event(event));
            }
            CoordinatorAct::SessionLost(id) => {
                let session = SessionId(id);
                let known = self
                    .connections
                    .get(&id)
                    .is_some_and(|c| c.session.is_some());
                if known {
                    self.coordinator_hears(index, Told::Event(Event::SessionClosed { session }));
                }
            }
        }
    }

    /// The operator asks whoever leads to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        let leads = |node: &CoordinatorNode| node.leading.is_some() && !node.host.is_paused();
        if let Some(index) = self.coordinators.iter().position(leads) {
            self.coordinator_hears(index, Told::Event(Event::ShutdownAsked));
        }
    }
}
