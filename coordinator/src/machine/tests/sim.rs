//! A machine, its workers, and what is durable; the rules are checked with
//! every effect.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use ledger::{Cursor, Order, OrderConfig, PackedPage, PageId, PageRow, Slot, StepReport, lineage};

use super::worker::SimWorker;
use crate::machine::{
    Answer, Effect, Event, Form, Happening, History, Machine, Message, Millis, Origin, Outcome,
    Refusal, RequestId, SessionId, Settings, World,
};
use crate::records::{Checkpoint, CheckpointId, KeptGeneration, Record, Reported, StepTimes};

/// Token ids in a sequence of the simulated run.
const SL: u32 = 2;

/// What survives the coordinator.
#[derive(Debug, Default)]
pub(super) struct Durable {
    pub(super) term: u64,
    pub(super) rows: BTreeMap<Slot, PageRow>,
    pub(super) generations: BTreeMap<u64, KeptGeneration>,
    pub(super) steps: BTreeMap<(u64, u64), Reported>,
    pub(super) checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    pub(super) complete: Option<Cursor>,
}

pub(super) struct Sim {
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) order: Order,
    pub(super) now: Millis,
    pub(super) workers: Vec<SimWorker>,
    pub(super) durable: Durable,
    pub(super) answers: BTreeMap<RequestId, Result<Answer, Refusal>>,
    pub(super) told: Vec<Happening>,
    /// Sessions that the machine closed, with the reason.
    pub(super) closed: Vec<Refusal>,
    /// What every step is reported to take.
    pub(super) step_times: StepTimes,
    pub(super) exit: Option<Outcome>,
    /// Checkpoints whose files the machine wants to be looked at.
    pub(super) to_verify: Vec<CheckpointId>,
    /// Who was last assigned a page, and until when it is theirs.
    pub(super) assigned: BTreeMap<Slot, (SessionId, Millis)>,
    next_number: u64,
}

pub(super) fn settings(workers: u32) -> Settings {
    let workers = NonZeroU32::new(workers).unwrap();
    let global_batch = NonZeroU32::new(3).unwrap();
    Settings {
        min_workers: workers,
        max_workers: workers,
        lease_ms: 1000,
        collective_ms: 500,
        abort_ms: 500,
        page_lease_ms: 2000,
        ..Settings::new(workers, global_batch, Some(2))
    }
}

/// What the simulated data packs to: some pages are too short for a sequence.
pub(super) fn packed(page: PageId) -> PackedPage {
    let sequences = page.0 % 4;
    let ids = (0..sequences * u64::from(SL)).map(|i| (page.0 * 7 + i) as u32);
    PackedPage::new(page, SL, 1, ids.collect()).unwrap()
}

impl Sim {
    /// A new run for workers `a`, `b`, … of which none has joined. Its
    /// generations have `workers` members, and nobody joins or leaves them.
    pub(super) fn new(workers: u32, spare: u32) -> Sim {
        Sim::with_settings(settings(workers), workers + spare)
    }

    /// A new run for `processes` workers of which none has joined.
    pub(super) fn with_settings(settings: Settings, processes: u32) -> Sim {
        let order = Order::new(OrderConfig {
            seed: 7,
            total_pages: 40,
            evaluation_pages: 2,
            pages_per_epoch: 6,
        });
        let order = order.unwrap();
        let history = History::default();
        let (machine, effects) = Machine::start(settings.clone(), order.clone(), history, 0);
        let names = ('a'..='z').map(|letter| SimWorker::new(&letter.to_string()));
        let mut sim = Sim {
            machine,
            settings,
            order,
            now: 0,
            workers: names.take(processes as usize).collect(),
            durable: Durable::default(),
            answers: BTreeMap::new(),
            told: Vec::new(),
            closed: Vec::new(),
            step_times: StepTimes::default(),
            exit: None,
            to_verify: Vec::new(),
            assigned: BTreeMap::new(),
            next_number: 0,
        };
        sim.absorb(effects);
        sim
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn event(&mut self, event: Event) {
        let effects = self.machine.apply(self.now, event);
        self.absorb(effects);
    }

    /// Time passes, for the coordinator and for workers' leases.
    pub(super) fn advance(&mut self, ms: Millis) {
        self.now += ms;
        for index in 0..self.workers.len() {
            // A worker whose lease has run out stops, connected or not.
            if self.now > self.workers[index].lease_from + self.settings.lease_ms {
                self.leave(index);
            }
        }
        self.event(Event::Tick);
    }

    /// The coordinator dies and is started again on what is durable.
    pub(super) fn restart_coordinator(&mut self) {
        for worker in &mut self.workers {
            worker.session = None;
            worker.inbox.clear();
        }
        self.assigned.clear();
        let history = self.history();
        let (settings, order) = (self.settings.clone(), self.order.clone());
        let (machine, effects) = Machine::start(settings, order, history, self.now);
        self.machine = machine;
        self.absorb(effects);
    }

    fn history(&self) -> History {
        let generations: Vec<_> = self.durable.generations.values().cloned().collect();
        let records: Vec<_> = generations.iter().map(|g| g.record.clone()).collect();
        let reports: Vec<_> = self
            .durable
            .steps
            .values()
            .map(|step| step.report)
            .collect();
        let surviving = lineage(&records, &reports).steps;
        let key = |report: &StepReport| (report.generation, report.step.number);
        let steps = surviving
            .values()
            .map(|report| self.durable.steps[&key(report)]);
        History {
            term: self.durable.term,
            generations,
            rows: self.durable.rows.clone(),
            steps: steps.collect(),
            evaluations: Vec::new(),
            checkpoints: self.durable.checkpoints.values().cloned().collect(),
            complete: self.durable.complete,
        }
    }

    fn absorb(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert_eq!(self.exit, None, "nothing follows an exit");
            match effect {
                Effect::Persist(record) => self.persist(record),
                Effect::Send {
                    session,
                    world,
                    message,
                } => self.deliver_later(session, world, message),
                Effect::Reply { request, answer } => {
                    self.answers.insert(request, answer);
                }
                Effect::Close { session, refusal } => {
                    self.closed.push(refusal);
                    for worker in &mut self.workers {
                        if worker.session == Some(session) {
                            worker.session = None;
                            worker.inbox.clear();
                        }
                    }
                }
                Effect::DeleteCheckpoint(checkpoint) => {
                    assert!(!self.durable.checkpoints.contains_key(&checkpoint.id));
                }
                Effect::VerifyCheckpoint(checkpoint) => self.to_verify.push(checkpoint.id),
                Effect::Tell(happening) => self.told.push(happening),
                Effect::Exit(outcome) => self.exit = Some(outcome),
            }
        }
    }

    fn persist(&mut self, record: Record) {
        match record {
            Record::Term(term) => {
                assert!(term > self.durable.term, "terms only grow");
                self.durable.term = term;
            }
            Record::Generation(kept) => {
                let number = kept.record.number;
                let newest = self.durable.generations.keys().last().copied();
                let is_update = self.durable.generations.contains_key(&number);
                assert!(is_update || newest.is_none_or(|newest| newest < number));
                self.durable.generations.insert(number, kept);
            }
            Record::Row(slot, row) => {
                let before = self.durable.rows.insert(slot, row);
                assert_eq!(before, None, "a row never changes");
            }
            Record::Step(reported) => {
                let report = &reported.report;
                let key = (report.generation, report.step.number);
                let before = self.durable.steps.insert(key, reported);
                assert_eq!(before, None, "a step is recorded once");
            }
            Record::Evaluation(..) => {}
            Record::Checkpoint(checkpoint) => {
                self.durable
                    .checkpoints
                    .insert(checkpoint.id.clone(), checkpoint);
            }
            Record::CheckpointForgotten(id) => {
                self.durable.checkpoints.remove(&id);
            }
            Record::Complete(cursor) => self.durable.complete = Some(cursor),
        }
    }

    /// What a worker is told must be durable by now.
    fn deliver_later(&mut self, session: SessionId, world: World, message: Message) {
        match &message {
            Message::PageRows(rows) => {
                for (slot, row) in rows.iter() {
                    let durable = self.durable.rows.get(slot);
                    assert_eq!(durable, Some(row), "a row is durable before it is sent");
                }
            }
            Message::Form(form) => {
                let kept = &self.durable.generations[&world.generation];
                assert_eq!(kept.record.base, form.base);
                self.check_one_generation(world.generation);
                self.check_states(form);
            }
            Message::Prepare(assignments) => {
                for assignment in assignments {
                    assert_eq!(self.order.page(assignment.slot), Some(assignment.page));
                    let until = self.now + assignment.lease_ms;
                    let before = self.assigned.insert(assignment.slot, (session, until));
                    if let Some((holder, until)) = before {
                        let holds = self.workers.iter().any(|w| w.session == Some(holder));
                        let free = !holds || until <= self.now;
                        assert!(free, "{} is assigned to two workers", assignment.slot);
                    }
                }
            }
            Message::Ack { reported_steps, .. } => {
                let durable = self.history().reported().step;
                assert!(*reported_steps <= durable, "acknowledged before durable");
            }
            Message::Rendezvous { .. }
            | Message::Abort { .. }
            | Message::Pause { .. }
            | Message::Stop { .. } => {}
        }
        let mut workers = self.workers.iter_mut();
        if let Some(worker) = workers.find(|worker| worker.session == Some(session)) {
            worker.inbox.push_back((world, message));
        }
    }

    /// Whoever is said to have the state holds exactly the surviving steps.
    fn check_states(&self, form: &Form) {
        let surviving = self.surviving_generations(form.base.step);
        for (rank, member) in form.members.iter().enumerate() {
            let gives_state = form.origin == Origin::Rank(rank as u32);
            if gives_state || member.has_state {
                let mut workers = self.workers.iter();
                let worker = workers.find(|worker| worker.name == member.worker).unwrap();
                assert_eq!(
                    worker.weights, surviving,
                    "{} holds other weights",
                    worker.name
                );
            }
        }
    }

    /// The generation of each surviving step before `end`.
    pub(super) fn surviving_generations(&self, end: u64) -> Vec<u64> {
        let generations = self.durable.generations.values().map(|g| g.record.clone());
        let generations: Vec<_> = generations.collect();
        let reports: Vec<_> = self
            .durable
            .steps
            .values()
            .map(|step| step.report)
            .collect();
        let surviving = lineage(&generations, &reports).steps;
        surviving
            .range(..end)
            .map(|(_, report)| report.generation)
            .collect()
    }

    /// No earlier generation can still step: one of its members is out of it.
    fn check_one_generation(&self, formed: u64) {
        for (number, kept) in &self.durable.generations {
            if *number < formed {
                let members = &kept.record.members;
                let inside = |name: &String| {
                    let worker = self.workers.iter().find(|worker| worker.name.0 == *name);
                    worker.is_some_and(|worker| worker.is_in(*number))
                };
                assert!(
                    !members.iter().all(inside),
                    "generations {number} and {formed} are both alive"
                );
            }
        }
    }
}
