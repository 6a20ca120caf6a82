//! The driver's turns: what waits is applied, its records are made durable in
//! one batch, and then the rest is done.

use coordinator::machine::{Effect, Event, Outcome};
use coordinator::records::Record;
use coordinator::wire;

use super::RUN_ID;
use crate::event::{CoordinatorAct, Do, Told};
use crate::fault::Node;
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::Sim;
use crate::store::InFlight;

impl Sim {
    /// Tells a machine something, at once or when its batch is durable.
    pub(crate) fn coordinator_hears(&mut self, index: usize, told: Told) {
        let Some(leading) = &mut self.coordinators[index].leading else {
            // A standby: whoever opened a session there is turned away.
            if let Told::Event(Event::SessionOpened { session, .. }) = told {
                self.close_connection(session.0, 0, 0);
            }
            return;
        };
        leading.waiting.push_back(told);
        if leading.committing.is_none() {
            self.take_in(index);
        }
    }

    /// Applies everything that waits, and carries out what follows as one batch.
    fn take_in(&mut self, index: usize) {
        // Heard now, so it counts only if the leadership lasts until now.
        if !self.still_leads(index) {
            return;
        }
        let now = self.coordinators[index].host.clock(self.now);
        let mut events = Vec::new();
        while let Some(leading) = &mut self.coordinators[index].leading
            && let Some(told) = leading.waiting.pop_front()
        {
            match told {
                Told::Event(event) => events.push(event),
                Told::Call(caller, call) => events.extend(self.call_event(index, caller, call)),
            }
        }
        if let Some(leading) = &mut self.coordinators[index].leading {
            let opened = events.iter().filter_map(|event| match event {
                Event::SessionOpened { session, .. } => Some(session.0),
                _ => None,
            });
            leading.opened = opened.collect();
            let now = leading.clock.look(now);
            let effects = leading.machine.apply_all(now, events);
            self.carry_out(index, effects);
        }
    }

    /// Records first and together, then the rest: as the driver does it.
    pub(super) fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
        let life = self.coordinators[index].host.life;
        let is_record = |effect: &Effect| matches!(effect, Effect::Persist(_));
        let (records, others): (Vec<_>, Vec<_>) = effects.into_iter().partition(is_record);
        let record = |effect| match effect {
            Effect::Persist(record) => Some(record),
            _ => None,
        };
        let records: Vec<Record> = records.into_iter().filter_map(record).collect();
        if records.is_empty() {
            return self.do_effects(index, others);
        }
        let commit = self.number();
        let slowness = self.store.slowness;
        let delay = self.dice.within(1..6) + self.dice.within(0..slowness + 1);
        let Some(leading) = &mut self.coordinators[index].leading else {
            return;
        };
        let flight = InFlight {
            coordinator: index,
            life,
            store: leading.store.clone(),
            records,
        };
        self.store.in_flight.insert(commit, flight);
        if self.config.breaks(OfShell::SendBeforePersist) {
            leading.committing = Some((commit, Vec::new()));
            self.do_effects(index, others);
        } else {
            leading.committing = Some((commit, others));
        }
        self.after(delay, Do::StoreArrives(commit));
    }

    /// A batch reaches the store, whatever became of its sender.
    pub(crate) fn store_arrives(&mut self, commit: u64) {
        let alone = self.config.coordinators == 1;
        let Some(flight) = self.store.in_flight.get(&commit) else {
            return;
        };
        let (index, life) = (flight.coordinator, flight.life);
        let is_away = self.store.is_down || self.coordinators[index].is_cut_from_store;
        if !alone && is_away {
            return self.after(50, Do::StoreArrives(commit));
        }
        let Some(flight) = self.store.in_flight.remove(&commit) else {
            return;
        };
        let kept = flight.store.commit(&flight.records).is_ok();
        if kept {
            self.note_durable(&flight.records);
        }
        let delay = self.dice.within(1..5);
        let act = CoordinatorAct::Committed { commit, kept };
        self.coordinator_after(delay, index, life, act);
    }

    pub(super) fn committed(&mut self, index: usize, commit: u64, kept: bool) {
        let Some(leading) = &mut self.coordinators[index].leading else {
            return;
        };
        let Some((_, others)) = leading.committing.take_if(|(of, _)| *of == commit) else {
            return;
        };
        if !kept {
            return self.step_down(index, "the store refused its write");
        }
        // Durable, and said by whoever leads after: a leader may have slept meanwhile,
        // and the gate lets nothing of it out.
        if !self.still_leads(index) {
            return;
        }
        self.do_effects(index, others);
        if let Some(leading) = &self.coordinators[index].leading
            && leading.committing.is_none()
            && !leading.waiting.is_empty()
        {
            self.take_in(index);
        }
    }

    fn do_effects(&mut self, index: usize, effects: Vec<Effect>) {
        self.check_members_told(index, &effects);
        let leading = self.coordinators[index].leading.as_mut();
        for id in leading
            .map(|leading| std::mem::take(&mut leading.opened))
            .unwrap_or_default()
        {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_known = true;
            }
        }
        for effect in effects {
            match effect {
                Effect::Persist(_) => {}
                Effect::Send {
                    session,
                    world,
                    message,
                } => {
                    self.check_said(&world, &message);
                    let message = wire::to_worker(RUN_ID, world, message);
                    self.send_down(session.0, message);
                }
                Effect::Reply { request, answer } => self.reply(index, request, answer),
                Effect::Close { session, .. } => self.close_connection(session.0, 0, 64),
                Effect::VerifyCheckpoint(checkpoint) => {
                    let delay = self.dice.within(5..80);
                    let life = self.coordinators[index].host.life;
                    let act = CoordinatorAct::Verified(checkpoint.id);
                    self.coordinator_after(delay, index, life, act);
                }
                Effect::DeleteCheckpoint(checkpoint) => {
                    self.checkpoints.remove(&checkpoint.id);
                }
                Effect::Tell(happening) => self.show(index, &happening),
                Effect::Exit(outcome) => return self.exit(index, &outcome),
            }
        }
    }

    fn exit(&mut self, index: usize, outcome: &Outcome) {
        let node = Node::Coordinator(index);
        self.history
            .note(self.now, node, || format!("exits: {outcome:?}"));
        if let Outcome::Failed(reason) = outcome {
            self.broken(Rule::Progress, || format!("the run failed: {reason}"));
        }
        self.kill(node);
        let mut delay = self.dice.within(200..600);
        if *outcome == Outcome::Stopped && self.config.coordinators == 1 {
            // Whoever told it to stop starts it again, however long it took.
            delay = delay.max(self.stop_ends.saturating_sub(self.now));
        }
        self.after(delay, Do::Boot(node));
    }
}
