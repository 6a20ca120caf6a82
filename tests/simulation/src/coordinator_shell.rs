//! A coordinator's process: the driver's order of things around the real state
//! machine, and its part in the election.

use std::collections::{BTreeMap, VecDeque};

use coordinator::machine::{
    Answer, Effect, Event, Happening, Machine, Message, Outcome, RefusalKind, RequestId, SessionId,
    Verified,
};
use coordinator::records::Record;
use coordinator::store::RunStore;
use coordinator::wire;

use crate::event::{Answered, Call, Caller, CoordinatorAct, Do, Told, WorkerAct};
use crate::fault::Node;
use crate::host::Host;
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::{Files, Sim};
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
    store: RunStore,
    /// By its own clock: it neither serves nor writes beyond that.
    valid_until: u64,
    waiting: VecDeque<Told>,
    committing: Option<(u64, Vec<Effect>)>,
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

    /// Keeps the leadership, or takes it where nobody has it.
    fn renew(&mut self, index: usize) {
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
    fn still_leads(&mut self, index: usize) -> bool {
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

    fn step_down(&mut self, index: usize, why: &str) {
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
            store,
            valid_until: valid_until(alone, clock, ttl),
            waiting: VecDeque::new(),
            committing: None,
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
        }
        // What was uploaded and never recorded is removed when the folder opens.
        let kept = &self.rules.checkpoints;
        self.checkpoints.retain(|id, _| kept.contains_key(id));
    }

    /// The operator asks whoever leads to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        let leads = |node: &CoordinatorNode| node.leading.is_some() && !node.host.is_paused();
        if let Some(index) = self.coordinators.iter().position(leads) {
            self.coordinator_hears(index, Told::Event(Event::ShutdownAsked));
        }
    }

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
        let mut effects = Vec::new();
        while let Some(leading) = &mut self.coordinators[index].leading
            && let Some(told) = leading.waiting.pop_front()
        {
            let event = match told {
                Told::Event(event) => event,
                Told::Call(caller, call) => match self.call_event(index, caller, call) {
                    Some(event) => event,
                    None => continue,
                },
            };
            if let Some(leading) = &mut self.coordinators[index].leading {
                effects.extend(leading.machine.apply(now, event));
            }
        }
        self.carry_out(index, effects);
    }

    fn call_event(&mut self, index: usize, caller: Caller, mut call: Call) -> Option<Event> {
        let request = RequestId(self.number());
        if let Call::Checkpoint {
            checkpoint,
            weights,
            is_new,
            ..
        } = &mut call
        {
            // The files are in their place before the record; torn ones never are.
            *is_new = !self.checkpoints.contains_key(&checkpoint.id);
            let files = self.checkpoints.entry(checkpoint.id.clone());
            files.or_insert_with(|| Files {
                weights: weights.clone(),
                is_damaged: false,
            });
        }
        let leading = self.coordinators[index].leading.as_mut()?;
        leading.calls.insert(request, (caller, call.clone()));
        let ours = leading.machine.world().term;
        match call {
            Call::Join(joining) => Some(Event::Join { request, joining }),
            // Whoever follows a newer leader is sent there.
            Call::Page { term, .. } | Call::Checkpoint { term, .. } if term > ours => {
                self.answer(index, caller, Answered::Unavailable);
                None
            }
            Call::Page {
                worker, slot, row, ..
            } => Some(Event::PagePut {
                request,
                worker,
                slot,
                row,
            }),
            Call::Checkpoint { checkpoint, .. } => Some(Event::CheckpointStored {
                request,
                checkpoint: *checkpoint,
            }),
        }
    }

    /// Records first and together, then the rest: as the driver does it.
    fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
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

    fn committed(&mut self, index: usize, commit: u64, kept: bool) {
        let Some(leading) = &mut self.coordinators[index].leading else {
            return;
        };
        let Some((_, others)) = leading.committing.take_if(|(of, _)| *of == commit) else {
            return;
        };
        if !kept {
            return self.step_down(index, "the store refused its write");
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
        if *outcome == Outcome::Stopped && self.config.coordinators == 1 {
            return;
        }
        // A standby again.
        let delay = self.dice.within(200..600);
        self.after(delay, Do::Boot(node));
    }

    fn reply(
        &mut self,
        index: usize,
        request: RequestId,
        answer: Result<Answer, coordinator::machine::Refusal>,
    ) {
        let life = self.coordinators[index].host.life;
        let leading = self.coordinators[index].leading.as_mut();
        let Some((caller, call)) = leading.and_then(|leading| leading.calls.remove(&request))
        else {
            return;
        };
        if let Call::Checkpoint {
            checkpoint,
            is_new: true,
            ..
        } = &call
            && answer.is_err()
            && !self.rules.checkpoints.contains_key(&checkpoint.id)
        {
            self.checkpoints.remove(&checkpoint.id);
        }
        let answered = match answer {
            Ok(Answer::Joined { worker, world }) => Answered::Joined {
                coordinator: index,
                life,
                worker,
                world,
            },
            Ok(Answer::PageKept | Answer::CheckpointKept(_) | Answer::RoomMade(_)) => {
                Answered::Kept
            }
            Err(refusal) if refusal.kind == RefusalKind::Again => Answered::Unavailable,
            Err(refusal) => Answered::Refused(refusal),
        };
        self.answer(index, caller, answered);
    }

    fn answer(&mut self, index: usize, caller: Caller, answered: Answered) {
        let Caller {
            worker,
            life,
            attempt,
        } = caller;
        let reaches = self.reaches(Node::Coordinator(index), Node::Worker(worker));
        if !reaches || self.loses_call() {
            return;
        }
        let delay = self.dice.within(1..12);
        let act = WorkerAct::Answer { attempt, answered };
        self.worker_after(delay, worker, life, act);
    }

    fn show(&mut self, index: usize, happening: &Happening) {
        let node = Node::Coordinator(index);
        self.history
            .note(self.now, node, || format!("{happening:.0?}"));
        if !self.config.only_restarts {
            return;
        }
        match happening {
            Happening::Leaving {
                generation,
                at_once: true,
                reason,
                // It waits for a page, and a change cannot wait with it.
            } if self.has_met(*generation) && !reason.contains("after a step in time") => self
                .broken(Rule::RestartKeepsGeneration, || {
                    format!("generation {generation} ends: {reason}")
                }),
            Happening::Formed {
                generation,
                rolled_back: 1..,
                ..
            } => self.broken(Rule::RestartKeepsGeneration, || {
                format!("generation {generation} rolls steps back")
            }),
            _ => {}
        }
    }

    /// What members must be told when their generation ends at once.
    fn check_members_told(&mut self, index: usize, effects: &[Effect]) {
        let leader = (index, self.coordinators[index].host.life);
        for effect in effects {
            let Effect::Tell(Happening::Leaving {
                generation,
                at_once: true,
                reason,
            }) = effect
            else {
                continue;
            };
            let Some(members) = self.rules.members_of(*generation) else {
                continue;
            };
            let told = |session: u64| {
                effects.iter().any(|effect| {
                    matches!(effect, Effect::Send { session: SessionId(to), message: Message::Abort { .. }, .. }
                        if *to == session)
                })
            };
            let closed = |session: u64| {
                effects.iter().any(|effect| {
                    matches!(effect, Effect::Close { session: SessionId(of), .. } if *of == session)
                })
            };
            // The one because of whom it ends is out, or cannot be told.
            let others = members.iter();
            for name in others.filter(|name| !reason.contains(&format!("worker {name} "))) {
                let worker = self.workers.iter().find(|worker| worker.name == *name);
                let Some(worker) = worker else { continue };
                let process = &worker.process;
                let is_in = worker.host.is_up && process.is_in(*generation);
                let connection = process.connection.and_then(|id| {
                    let connection = self.connections.get(&id)?;
                    let here = (connection.coordinator, connection.coordinator_life) == leader;
                    let hears = connection.session.is_some() && !connection.is_broken;
                    (here && hears).then_some(id)
                });
                if let Some(id) = connection
                    && is_in
                    && !process.has_been_told(*generation)
                    && !told(id)
                    && !closed(id)
                {
                    let (name, generation) = (name.clone(), *generation);
                    return self.broken(Rule::MembersTold, || {
                        format!("generation {generation} ends, and worker {name} is not told")
                    });
                }
            }
        }
    }
}

fn valid_until(alone: bool, clock: u64, ttl: u64) -> u64 {
    match alone {
        true => u64::MAX,
        // Before the store can think that it has run out, by this clock.
        false => clock + ttl * 4 / 5,
    }
}
