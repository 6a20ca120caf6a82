//! Who leads: taking the leadership, keeping it, and stepping down without it.

use std::collections::{BTreeMap, VecDeque};

use coordinator::clock::Clock;
use coordinator::machine::Machine;
use coordinator::store::RunStore;

use super::{Leading, TICK_MS};
use crate::event::{CoordinatorAct, Do};
use crate::fault::Node;
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::Sim;

impl Sim {
    /// Keeps the leadership, or takes it where nobody has it.
    pub(super) fn renew(&mut self, index: usize) {
        let now = self.now;
        let life = self.coordinators[index].host.life;
        let ttl = self.config.leadership_ms;
        let delay = self.dice.within(ttl / 6..ttl / 3);
        self.coordinator_after(delay, index, life, CoordinatorAct::Renew);
        let alone = self.config.coordinators == 1;
        let reaches_store =
            alone || (!self.store.is_down && !self.coordinators[index].is_cut_from_store);
        if self.coordinators[index].leading.is_some() {
            if !self.still_leads(index) {
                return;
            }
            let leads = self.store.leader == Some((index, life));
            let is_in_time = alone || now < self.store.lease_until;
            if reaches_store && leads && is_in_time {
                self.store.lease_until = now + ttl;
                let clock = self.coordinators[index].host.clock(now);
                if let Some(leading) = &mut self.coordinators[index].leading {
                    leading.valid_until = valid_until(alone, clock, ttl);
                }
            }
            return;
        }
        let is_free = alone || self.store.leader.is_none() || now >= self.store.lease_until;
        if reaches_store && is_free {
            self.lead(index);
        }
    }

    /// Whether a leader may go on; if not, its process ends and starts anew.
    pub(super) fn still_leads(&mut self, index: usize) -> bool {
        let clock = self.coordinators[index].host.clock(self.now);
        let Some(leading) = &self.coordinators[index].leading else {
            return false;
        };
        if clock < leading.valid_until || self.config.breaks(OfShell::ServeWhenDeposed) {
            return true;
        }
        self.step_down(index, "its leadership has run out");
        false
    }

    pub(super) fn step_down(&mut self, index: usize, why: &str) {
        let node = Node::Coordinator(index);
        self.history
            .note(self.now, node, || format!("steps down: {why}"));
        self.kill(node);
        let delay = self.dice.within(50..300);
        self.after(delay, Do::Boot(node));
    }

    fn lead(&mut self, index: usize) {
        let now = self.now;
        let alone = self.config.coordinators == 1;
        let host = &self.coordinators[index].host;
        let (life, clock) = (host.life, host.clock(now));
        let ttl = self.config.leadership_ms;
        let (token, store) = self.store.elect(index, life, now + ttl);
        self.drop_damaged_checkpoints(&store);
        let history = match store.history() {
            Ok(history) => history,
            Err(error) => {
                return self.broken(Rule::NoPanic, || {
                    format!("the history is unreadable: {error}")
                });
            }
        };
        self.history.note(now, Node::Coordinator(index), || {
            format!(
                "leads (token {token}), reported up to {}",
                history.reported()
            )
        });
        let settings = self.config.settings();
        let (machine, effects) = Machine::start(settings, self.order.clone(), history, clock);
        self.coordinators[index].leading = Some(Leading {
            machine,
            clock: Clock::new(clock, self.config.heartbeat_ms),
            store,
            valid_until: valid_until(alone, clock, ttl),
            waiting: VecDeque::new(),
            committing: None,
            opened: Vec::new(),
            calls: BTreeMap::new(),
        });
        self.coordinator_after(TICK_MS, index, life, CoordinatorAct::Tick);
        self.carry_out(index, effects);
    }

    /// Files that do not hash to what their record says are out of the records.
    fn drop_damaged_checkpoints(&mut self, store: &RunStore) {
        let damaged = self
            .checkpoints
            .iter()
            .filter(|(_, files)| files.is_damaged);
        let damaged: Vec<_> = damaged.map(|(id, _)| id.clone()).collect();
        for id in damaged {
            // An error shows in the history that is read next.
            let _ = store.forget_checkpoint(&id);
            self.rules.checkpoints.remove(&id);
            self.checkpoints.remove(&id);
            self.found_damaged.insert(id);
        }
        // What was uploaded and never recorded is removed when the folder opens.
        let kept = &self.rules.checkpoints;
        self.checkpoints.retain(|id, _| kept.contains_key(id));
    }
}

fn valid_until(alone: bool, clock: u64, ttl: u64) -> u64 {
    match alone {
        true => u64::MAX,
        // Before the store can think that it has run out, by this clock.
        false => clock + ttl * 4 / 5,
    }
}
