//! The coordinator's decisions: a state machine without IO.
//!
//! The mental model: [`Machine::apply`] is told what happened and when, and
//! returns what to do about it, in order. It knows who has joined
//! (`members`), forms generations of them (`gathering`, `formation`), keeps them
//! until they are left (`generation`, `leaving`), leaves behind who holds the
//! others up (`straggling`, `set_aside`), keeps
//! the page table ahead of the steps by assigning pages (`assign`, `table`),
//! takes in reports, evaluations and checkpoints (`reports`, `checkpoints`),
//! and knows when the run is over (`ending`).
//!
//! ```text
//!         enough ready               rank 0 listens           all finished
//! gathering ─────────► forming ─────────────────► running ─────────────────► complete
//!     ▲                   │   a member is lost, drains, │
//!     └──── all left ◄── leaving ◄── hangs, joins ──────┘
//! ```
//!
//! Architecture invariant: no IO, no clock, no async, no randomness. The same
//! events at the same times give the same effects, so thousands of histories
//! can be tried in a second and any of them replayed.
//!
//! Architecture invariant: whatever a worker may rely on is durable first. An
//! [`Effect::Persist`] stands before every effect that follows from it.
//!
//! Architecture invariant: at most one generation is alive. The next one is
//! formed only when a member of the last one has left it, so that none of its
//! collectives can finish, or when its members' leases have run out.

mod assign;
mod checkpoints;
mod coming;
mod doubts;
mod effect;
mod ending;
mod epoch_loss;
mod event;
mod formation;
mod gathering;
mod generation;
mod happening;
mod history;
mod leaving;
mod members;
mod reports;
mod retention;
mod sabotage;
mod sessions;
mod set_aside;
mod settings;
mod status;
mod straggling;
mod table;
#[cfg(test)]
mod tests;

use ledger::Order;

pub use effect::{
    Answer, Assignment, Effect, Form, FormMember, Message, Origin, Outcome, Refusal, RefusalKind,
    StopReason,
};
pub use event::{
    Activity, Event, FromWorker, Heartbeat, Joining, Millis, RequestId, RoomWanted, SessionId,
    Verified, World,
};
pub use happening::Happening;
pub use history::History;
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
#[cfg(not(feature = "sabotage"))]
use sabotage::Sabotage;
pub use settings::{SetAside, Settings, Straggling};
pub use status::{Status, WorkerStatus};

use crate::records::{KeptGeneration, Record, WorkerId};
use assign::Assignments;
use checkpoints::Checkpoints;
use ending::RunState;
use generation::{Generation, Predecessor};
use members::Members;
use reports::Reports;
use set_aside::Offenders;
use table::Table;

/// The state of a coordinator.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    order: Order,
    term: u64,
    /// The highest generation number that anyone has used.
    highest_generation: u64,
    members: Members,
    table: Table,
    assignments: Assignments,
    reports: Reports,
    checkpoints: Checkpoints,
    generations: Vec<KeptGeneration>,
    /// The generation that is alive, if one is.
    current: Option<Generation>,
    /// A generation that may be alive out of sight.
    predecessor: Option<Predecessor>,
    /// How many members the last generation had of which this coordinator
    /// knows more than its record.
    last_size: Option<usize>,
    /// Until when the members of a generation that was lost as a whole are
    /// waited for.
    gather_until: Millis,
    offenders: Offenders,
    run: RunState,
    /// Why the run cannot go on, if it cannot.
    failure: Option<String>,
    watchers: usize,
    /// What keeps the next generation from being formed.
    waiting: String,
    /// What of it was last told, and when.
    waiting_told: (String, Millis),
    /// Why the next generation is formed, once it can be.
    next_reason: String,
    /// Since when the machine exists.
    started: Millis,
    now: Millis,
    effects: Vec<Effect>,
}

impl Machine {
    /// A machine that continues a history, and what it must do first.
    pub fn start(
        settings: Settings,
        order: Order,
        history: History,
        now: Millis,
    ) -> (Machine, Vec<Effect>) {
        let last = history.generations.last();
        let highest_generation = last.map_or(0, |generation| generation.record.number);
        let run = RunState::new(history.complete, settings.epochs, now);
        // It may be stepping at this moment: whoever leads is not asked.
        let current = last
            .filter(|generation| !generation.ended && run == RunState::Open)
            .filter(|_| !settings.breaks(Sabotage::ForgetGeneration))
            .map(|generation| Generation::adopt(generation, now, settings.outlived_ms(last)));
        let mut generations = history.generations.clone();
        let raised = match (generations.last_mut(), &current) {
            // Its members will be granted this coordinator's lease from now on.
            (Some(newest), Some(_)) if newest.lease_ms < settings.lease_ms => {
                newest.lease_ms = settings.lease_ms;
                Some(newest.clone())
            }
            _ => None,
        };
        let next_reason = match last {
            Some(_) => "the coordinator was started again".to_owned(),
            None => "the run begins".to_owned(),
        };
        let mut machine = Machine {
            term: history.term + u64::from(!settings.breaks(Sabotage::KeepTerm)),
            highest_generation,
            members: Members::default(),
            assignments: Assignments::default(),
            reports: Reports::new(&history),
            checkpoints: Checkpoints::new(history.checkpoints, settings.keep_checkpoints),
            run,
            table: Table::new(&order, history.rows),
            generations,
            last_size: current.as_ref().map(|generation| generation.seats.len()),
            current,
            predecessor: None,
            gather_until: 0,
            offenders: Offenders::default(),
            failure: None,
            watchers: 0,
            waiting: String::new(),
            waiting_told: (String::new(), now),
            next_reason,
            started: now,
            now,
            effects: Vec::new(),
            settings,
            order,
        };
        machine.persist(Record::Term(machine.term));
        if let Some(generation) = raised {
            machine.persist(Record::Generation(generation));
        }
        machine.drop_rolled_back();
        machine.tell_of_adoption();
        machine.settle();
        let effects = std::mem::take(&mut machine.effects);
        (machine, effects)
    }

    /// Takes in one event and decides what to do. `now` never goes back.
    pub fn apply(&mut self, now: Millis, event: Event) -> Vec<Effect> {
        self.apply_all(now, [event])
    }

    /// Takes in events that came together, in order, and then decides what to do
    /// about all of them. `now` never goes back.
    pub fn apply_all(
        &mut self,
        now: Millis,
        events: impl IntoIterator<Item = Event>,
    ) -> Vec<Effect> {
        debug_assert!(now >= self.now, "the clock went back");
        self.now = now;
        let reported = self.reports.reported().step;
        let mut is_small_talk = true;
        for event in events {
            is_small_talk &= self.is_small_talk(&event);
            self.take_in(event);
        }
        let stepped = self.reports.reported().step != reported;
        if stepped {
            self.assignments.look_again();
        }
        if !is_small_talk || stepped {
            self.settle();
        }
        let mut effects = std::mem::take(&mut self.effects);
        // Whatever came together with the last event is still dealt with.
        let is_exit = |effect: &Effect| matches!(effect, Effect::Exit(_));
        if let Some(at) = effects.iter().position(is_exit) {
            let exit = effects.remove(at);
            effects.push(exit);
        }
        effects
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Join { request, joining } => self.on_join(request, joining),
            Event::ComingPagesAsked { request } => self.on_coming_pages_asked(request),
            Event::SessionOpened { session, worker } => self.on_session_opened(session, &worker),
            Event::SessionClosed { session } => self.on_session_closed(session),
            Event::Said {
                session,
                world,
                message,
            } => self.on_said(session, world, message),
            Event::PagePut {
                request,
                worker,
                slot,
                row,
            } => self.on_page_put(request, &worker, slot, row),
            Event::CheckpointStored {
                request,
                checkpoint,
            } => self.on_checkpoint_stored(request, checkpoint),
            Event::RoomWanted { request, room } => self.on_room_wanted(request, &room),
            Event::CheckpointDoubted { id, reason } => self.on_checkpoint_doubted(&id, reason),
            Event::CheckpointVerified { id, verified } => {
                self.on_checkpoint_verified(&id, verified);
            }
            Event::Watching { watchers } => self.on_watching(watchers),
            Event::ShutdownAsked => self.on_shutdown_asked(),
            Event::Tick => self.on_tick(),
        }
    }

    /// Whether an event is one of those that members of a generation send all
    /// the time, and that by themselves leave nothing to settle before the next
    /// tick. With many workers nearly all events are: what they cost may not
    /// grow with the number of workers.
    fn is_small_talk(&self, event: &Event) -> bool {
        let Event::Said { message, .. } = event else {
            return false;
        };
        self.run == RunState::Open
            && self.current.is_some()
            && matches!(
                message,
                FromWorker::Heartbeat(_) | FromWorker::StepReports(_)
            )
    }

    /// The world that the coordinator lives in.
    pub fn world(&self) -> World {
        World {
            term: self.term,
            generation: self.highest_generation,
        }
    }

    /// Steps of the surviving lineage that are reported.
    pub fn reported_steps(&self) -> u64 {
        self.reports.reported().step
    }

    fn on_tick(&mut self) {
        if !self.settings.breaks(Sabotage::LeaveNobodyBehind) {
            self.lose_silent_workers();
        }
        self.expire_generation_deadline();
        self.expect_stragglers();
        self.expire_missing_reports();
        self.readmit_workers();
        self.expire_page_leases();
        self.assignments.look_again();
    }

    /// What follows from any change: a generation, assignments, the end.
    fn settle(&mut self) {
        if !self.pauses_after_breaks() {
            self.form_if_possible();
        }
        self.admit_newcomers();
        self.assign_pages();
        self.leave_if_done();
    }

    fn persist(&mut self, record: Record) {
        self.effects.push(Effect::Persist(record));
    }

    fn tell(&mut self, happening: Happening) {
        self.effects.push(Effect::Tell(happening));
    }

    fn reply(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        self.effects.push(Effect::Reply { request, answer });
    }

    /// Says something to a worker, if it is connected.
    fn send(&mut self, worker: &WorkerId, message: Message) {
        let current = self.current.as_ref().map(|generation| generation.number);
        let generation = current.unwrap_or(self.highest_generation);
        self.send_about(worker, generation, message);
    }

    /// Says something about a generation, which need not be the current one.
    fn send_about(&mut self, worker: &WorkerId, generation: u64, message: Message) {
        if let Some(session) = self.members.session_of(worker) {
            self.expect_longer_life(worker);
            let is_end = matches!(message, Message::Abort { .. });
            if let Some(member) = self.members.get_mut(worker).filter(|_| is_end) {
                member.told_out = Some((session, generation));
            }
            let world = World {
                term: self.term,
                generation,
            };
            self.effects.push(Effect::Send {
                session,
                world,
                message,
            });
        }
    }

    fn fault(&mut self, worker: &WorkerId, what: impl Into<String>) {
        self.tell(Happening::Fault {
            worker: worker.clone(),
            what: what.into(),
        });
    }
}
