//! A worker's process: the session's streams and timers around the real
//! membership, the pages that it packs, and the checkpoints that it uploads.

use std::collections::{BTreeMap, VecDeque};

use coordinator::machine::{Joining, World};
use coordinator::records::{Checkpoint, CheckpointId, Evaluation, WorkerId};
use ledger::{Cursor, Ordinal, PageId, PageRow, PageTable, Slot, StepReport};
use membership::{Input, Membership, Output};
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;

use crate::config::{is_unreadable, packed};
use crate::coordinator_shell::RUN_ID;
use crate::event::{Answered, Call, Caller, CoordinatorAct, Do, WorkerAct};
use crate::fabric::Contribution;
use crate::fault::{Node, worker_name};
use crate::host::Host;
use crate::rule::Rule;
use crate::sim::Sim;
use crate::trainer::{Command, Trainer};
use crate::weights::{Trained, Weights};

/// How long a worker waits for the answer to a call.
const ANSWER_MS: u64 = 400;

/// A machine that trains.
pub(crate) struct WorkerNode {
    pub(crate) host: Host,
    pub(crate) name: String,
    /// How many times as long as usual everything takes.
    pub(crate) slowness: u64,
    /// Messages of sessions that are over.
    pub(crate) stragglers: Vec<v1::CoordinatorMessage>,
    pub(crate) process: Process,
}

/// A checkpoint that waits to be stored.
pub(crate) struct Job {
    pub(crate) id: CheckpointId,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) weights: Weights,
}

/// What a worker's process knows; gone with it.
#[derive(Default)]
pub(crate) struct Process {
    pub(crate) membership: Option<Membership>,
    pub(crate) connection: Option<u64>,
    joining: Option<u64>,
    /// Calls that wait for an answer: what for.
    calls: BTreeMap<u64, Waiting>,
    /// The highest world that it was told of, as this crate counts.
    highest: (u64, u64),
    /// When heartbeats were sent that nobody has answered, by its own clock.
    unanswered: VecDeque<u64>,
    /// The lease as this crate counts it, by the process's own clock.
    pub(crate) lease_end: u64,
    lease_timer: Option<u64>,
    flush_is_due: bool,
    pub(crate) rows: BTreeMap<Ordinal, PageRow>,
    pub(crate) table: Option<PageTable>,
    /// What its weights really are, and whether they are half overwritten.
    pub(crate) weights: Option<Weights>,
    pub(crate) is_torn: bool,
    /// What it says that they have applied.
    pub(crate) claimed: Option<Cursor>,
    pub(crate) applied_in: u64,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) trainer: Trainer,
    /// The generation that the trainer was last in, and whether the coordinator
    /// still counts it as a member.
    pub(crate) last_generation: u64,
    pub(crate) is_member: bool,
    pub(crate) has_finished: bool,
    pub(crate) jobs: VecDeque<Job>,
    last_job: Option<CheckpointId>,
    pub(crate) is_uploading: bool,
    /// What ranks agreed on in the step that is just applied, and its report if
    /// that is not said yet.
    pub(crate) unsaid: Option<(Option<v1::StepReport>, Contribution)>,
    /// The last checkpoint's generation, and why it was refused, if it was.
    pub(crate) refused: Option<(u64, String)>,
    pub(crate) turn: u64,
}

#[derive(Clone, Debug)]
enum Waiting {
    Join,
    Page(Slot, PageId),
    Checkpoint(CheckpointId),
}

impl Process {
    /// Whether it takes part in a generation, or is about to.
    pub(crate) fn is_in(&self, generation: u64) -> bool {
        let live = self.membership.as_ref().and_then(Membership::live);
        live == Some(generation)
    }

    /// Whether it knows that a generation is over.
    pub(crate) fn has_been_told(&self, generation: u64) -> bool {
        let membership = self.membership.as_ref();
        membership.is_some_and(|membership| membership.is_over(generation))
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.trainer, Trainer::Idle)
    }

    /// Whether it goes on where a lineage ends, with steps of its last generation
    /// that it has not told of.
    pub(crate) fn owes_reports_of(&self, steps: &[StepReport], last: Option<u64>) -> bool {
        let Some(weights) = &self.weights else {
            return false;
        };
        let known = steps.len().min(weights.trained.len());
        let (known, own) = weights.trained.split_at(known);
        let same = known.iter().zip(steps);
        let mut same = same.map(|(t, r)| *t == Trained::of(&r.step, r.generation, r.fed));
        same.all(|same| same) && own.iter().all(|trained| Some(trained.generation) == last)
    }
}

impl WorkerNode {
    pub(crate) fn new(index: usize, drift: i64) -> WorkerNode {
        WorkerNode {
            host: Host::new(drift),
            name: worker_name(index),
            slowness: 1,
            stragglers: Vec::new(),
            process: Process::default(),
        }
    }

    /// Whether nothing but others could keep it from training in a generation.
    pub(crate) fn could_go_on_in(&self, generation: u64, now: u64) -> bool {
        let clock = self.host.clock(now);
        let membership = self.process.membership.as_ref();
        self.host.is_up && membership.is_some_and(|m| m.is_live(generation, clock))
    }
}

impl Sim {
    pub(crate) fn note_worker(&mut self, index: usize, what: impl FnOnce() -> String) {
        self.history.note(self.now, Node::Worker(index), what);
    }

    pub(crate) fn worker_starts(&mut self, index: usize) {
        self.note_worker(index, || "starts".to_owned());
        self.workers[index].process = Process::default();
        self.workers[index].name = worker_name(index);
        self.workers[index].stragglers.clear();
        let delay = self.dice.within(1..30);
        self.act_later(index, delay, WorkerAct::Join);
        let beat = self.config.heartbeat_ms;
        self.act_later(index, beat, WorkerAct::Beat);
    }

    pub(crate) fn worker_died(&mut self, index: usize) {
        self.leave_its_group(index);
        self.workers[index].process = Process::default();
    }

    pub(crate) fn act_later(&mut self, index: usize, delay: u64, act: WorkerAct) {
        let life = self.workers[index].host.life;
        self.worker_after(delay, index, life, act);
    }

    pub(crate) fn worker_acts(&mut self, index: usize, act: WorkerAct) {
        match act {
            WorkerAct::Join => self.join(index),
            WorkerAct::Answer { attempt, answered } => self.answered(index, attempt, answered),
            WorkerAct::Unanswered { attempt } => {
                if let Some(waiting) = self.workers[index].process.calls.remove(&attempt) {
                    self.try_again(index, waiting);
                }
            }
            WorkerAct::SessionLost(id) => {
                let process = &mut self.workers[index].process;
                if process.connection == Some(id) {
                    process.connection = None;
                    self.tell(index, Input::Disconnected);
                    let delay = self.dice.within(1..80);
                    self.act_later(index, delay, WorkerAct::Join);
                }
            }
            WorkerAct::Beat => {
                let beat = self.config.heartbeat_ms;
                self.act_later(index, beat, WorkerAct::Beat);
                if self.workers[index].process.connection.is_some() {
                    let waited = self.waited(index);
                    self.tell(index, Input::Beat { waited });
                }
            }
            WorkerAct::LeaseTimer => {
                self.workers[index].process.lease_timer = None;
                self.tell(index, Input::Tick);
            }
            WorkerAct::Flush => {
                self.workers[index].process.flush_is_due = false;
                if self.workers[index].process.connection.is_some() {
                    self.tell(index, Input::Flush);
                }
            }
            WorkerAct::Packed { slot, page } => self.packed(index, slot, page),
            WorkerAct::PutPage { slot, page } => self.put_page(index, slot, page),
            WorkerAct::Upload { id } => self.upload(index, &id),
            WorkerAct::Exit => {
                self.kill(Node::Worker(index));
                // Whoever wanted it to leave wants it back.
                let delay = self.dice.within(500..2500);
                self.after(delay, Do::Boot(Node::Worker(index)));
            }
            WorkerAct::Straggle => self.straggle(index),
            WorkerAct::Built
            | WorkerAct::Trainer { .. }
            | WorkerAct::CallDone { .. }
            | WorkerAct::CallFailed { .. }
            | WorkerAct::Leave { .. } => self.trainer_acts(index, act),
        }
    }

    /// Tells the membership something, and does what follows.
    pub(crate) fn tell(&mut self, index: usize, input: Input) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        let Some(membership) = &mut process.membership else {
            return;
        };
        let outputs = membership.apply(clock, input);
        let is_due = !membership.has_said_all() && !process.flush_is_due;
        if is_due && process.connection.is_some() {
            process.flush_is_due = true;
            let delay = self.dice.within(0..3);
            self.act_later(index, delay, WorkerAct::Flush);
        }
        for output in outputs {
            self.output(index, output);
        }
        self.set_lease_timer(index);
    }

    fn set_lease_timer(&mut self, index: usize) {
        let now = self.now;
        let worker = &mut self.workers[index];
        let Some(deadline) = worker
            .process
            .membership
            .as_ref()
            .and_then(Membership::deadline)
        else {
            return;
        };
        if worker.process.lease_timer.is_none() {
            let delay = worker.host.until(deadline, now) + self.dice.within(0..4);
            worker.process.lease_timer = Some(deadline);
            self.act_later(index, delay, WorkerAct::LeaseTimer);
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::GiveUp { generation } => {
                self.note_worker(index, || {
                    format!("gives generation {generation} up: its lease has run out")
                });
                self.abort(index, generation);
            }
            Output::Abort { generation, reason } => {
                self.note_worker(index, || format!("is told to leave {generation}: {reason}"));
                self.abort(index, generation);
            }
            Output::Form {
                generation,
                base,
                form,
            } => {
                self.note_worker(index, || format!("is asked into generation {generation}"));
                self.begin_book(index, base);
                let command = Command::Form {
                    generation,
                    base,
                    form: Box::new(form),
                };
                self.command(index, command);
            }
            Output::Rendezvous { generation, .. } => {
                self.command(index, Command::Rendezvous { generation });
            }
            Output::Paused { generation, reason } => {
                self.note_worker(index, || format!("is told to pause {generation}: {reason}"));
            }
            Output::Prepare(assignments) => {
                for (slot, page) in assignments {
                    let slow = self.dice.chance(2);
                    let delay = self.dice.within(5..80) + if slow { 2500 } else { 0 };
                    let delay = delay * self.workers[index].slowness;
                    self.act_later(index, delay, WorkerAct::Packed { slot, page });
                }
            }
            Output::Rows(rows) => {
                for row in rows {
                    if let Ok((slot, row)) = <(Slot, PageRow)>::try_from(row) {
                        self.learn(index, slot, row);
                    }
                }
                self.rows_came(index);
            }
            Output::Stop { reason, .. } => {
                self.note_worker(index, || format!("is told to stop: {reason:?}"));
                self.tell(index, Input::Quit);
                self.act_later(index, 1, WorkerAct::Exit);
            }
            Output::Say(message) => self.say(index, message),
            Output::Ignored(ignored) => self.note_worker(index, || format!("ignores {ignored}")),
        }
    }

    fn say(&mut self, index: usize, message: v1::WorkerMessage) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        if matches!(message.body, Some(Body::Heartbeat(_))) {
            process.unanswered.push_back(clock);
        } else if self.history.is_kept {
            let what = format!("says {}", in_words(&message));
            self.note_worker(index, || what);
        }
        if let Some(id) = self.workers[index].process.connection {
            self.send_up(id, message);
        }
    }

    fn begin_book(&mut self, index: usize, base: Cursor) {
        let mut table = PageTable::new(self.order.clone(), self.config.global_batch, base);
        let process = &mut self.workers[index].process;
        process.rows = process.rows.split_off(&base.page.ordinal);
        let mut refused = None;
        for (ordinal, row) in &process.rows {
            refused = refused.or(table.insert(*ordinal, row.clone()).err());
        }
        process.table = Some(table);
        if let Some(error) = refused {
            self.broken(Rule::StepsMonotone, || error.to_string());
        }
    }

    fn learn(&mut self, index: usize, slot: Slot, row: PageRow) {
        let Slot::Training(ordinal) = slot else {
            return;
        };
        let process = &mut self.workers[index].process;
        let table = process.table.as_mut();
        let table = table.filter(|table| ordinal.0 >= table.known_ordinals().start);
        let refused = table.and_then(|table| table.insert(ordinal, row.clone()).err());
        process.rows.insert(ordinal, row);
        if let Some(error) = refused {
            self.broken(Rule::StepsMonotone, || error.to_string());
        }
    }

    /// Hears something in the present session.
    pub(crate) fn worker_hears(&mut self, index: usize, message: v1::CoordinatorMessage) {
        if matches!(message.body, Some(Directive::Ack(_))) {
            let lease = self.config.lease_ms;
            let process = &mut self.workers[index].process;
            if let Some(sent) = process.unanswered.pop_front() {
                process.lease_end = process.lease_end.max(sent + lease);
            }
        }
        self.hears_anything(index, message);
    }

    fn hears_anything(&mut self, index: usize, message: v1::CoordinatorMessage) {
        let context = message.context.clone().unwrap_or_default();
        let is_form = matches!(message.body, Some(Directive::Form(_)));
        let concerns_generation = matches!(
            message.body,
            Some(Directive::Form(_) | Directive::Rendezvous(_) | Directive::Pause(_))
        );
        let process = &mut self.workers[index].process;
        let (term, generation) = process.highest;
        let is_older = context.term < term
            || (concerns_generation && context.generation < generation)
            || (is_form && context.generation <= generation);
        if !is_older {
            process.highest.0 = context.term;
            if is_form {
                process.highest.1 = context.generation;
            }
        }
        // What time alone does is not the message's doing.
        self.tell(index, Input::Tick);
        let heard = self.number_of_commands(index);
        let before = self.workers[index].process.membership.clone();
        self.tell(index, Input::Heard(message));
        if is_older {
            let process = &self.workers[index].process;
            let believed = match (before, &process.membership) {
                (Some(before), Some(after)) => {
                    before.is_pausing() != after.is_pausing()
                        || before.deadline() != after.deadline()
                        || before.live() != after.live() && after.live().is_some()
                }
                _ => false,
            };
            if believed || self.number_of_commands(index) > heard {
                let name = self.workers[index].name.clone();
                self.broken(Rule::OlderRefused, || {
                    format!(
                        "worker {name} has seen term {term} and generation {generation}, and \
                         believes a message of term {} about generation {}",
                        context.term, context.generation
                    )
                });
            }
        }
    }

    /// A message of an earlier session arrives, or one arrives again.
    fn straggle(&mut self, index: usize) {
        let count = self.workers[index].stragglers.len();
        if count == 0 || self.workers[index].process.connection.is_none() {
            return;
        }
        let which = self.dice.among(count);
        let message = self.workers[index].stragglers[which].clone();
        // An answer is one to a heartbeat of its own session; no network moves
        // it to another.
        if !matches!(message.body, Some(Directive::Ack(_) | Directive::Stop(_))) {
            self.hears_anything(index, message);
        }
    }

    /// Remembers a message that may come again.
    pub(crate) fn may_straggle(&mut self, index: usize, message: &v1::CoordinatorMessage) {
        let matters = matches!(
            message.body,
            Some(Directive::Form(_) | Directive::Rendezvous(_) | Directive::Pause(_))
        );
        if matters && self.workers[index].stragglers.len() < 32 {
            self.workers[index].stragglers.push(message.clone());
        }
    }

    pub(crate) fn drain_worker(&mut self, index: usize) {
        let host = &self.workers[index].host;
        if !host.is_up || host.is_paused() {
            return;
        }
        let reason = "it was told to stop".to_owned();
        self.tell(index, Input::Drain { reason });
        self.command(index, Command::Stop);
    }

    // Calls.

    fn join(&mut self, index: usize) {
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
            host: "host".to_owned(),
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
    fn call(&mut self, index: usize, call: Call, waiting: Waiting) -> u64 {
        let attempt = self.number();
        let life = self.workers[index].host.life;
        self.workers[index].process.calls.insert(attempt, waiting);
        self.act_later(index, ANSWER_MS, WorkerAct::Unanswered { attempt });
        let connected = self.workers[index].process.connection;
        let connected = connected.and_then(|id| self.connections.get(&id));
        let to = match connected {
            Some(connection) if !connection.is_broken => connection.coordinator,
            _ => self.dice.among(self.coordinators.len()),
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

    fn answered(&mut self, index: usize, attempt: u64, answered: Answered) {
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

    fn try_again(&mut self, index: usize, waiting: Waiting) {
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
                // Someone else has its name for the moment.
                return self.try_again(index, Waiting::Join);
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

    fn packed(&mut self, index: usize, slot: Slot, page: PageId) {
        let permanent = is_unreadable(page);
        if permanent || self.dice.chance(3) {
            let body = Body::PageFailed(v1::PageFailed {
                slot: Some(slot.into()),
                reason: "it cannot be read".to_owned(),
                permanent,
            });
            return self.tell(
                index,
                Input::Say {
                    generation: 0,
                    body,
                },
            );
        }
        self.put_page(index, slot, page);
    }

    fn put_page(&mut self, index: usize, slot: Slot, page: PageId) {
        let Some(term) = self.term_of(index) else {
            return;
        };
        let call = Call::Page {
            worker: WorkerId(self.workers[index].name.clone()),
            slot,
            row: packed(page).row(),
            term,
        };
        self.call(index, call, Waiting::Page(slot, page));
    }

    fn term_of(&self, index: usize) -> Option<u64> {
        let membership = self.workers[index].process.membership.as_ref();
        membership.map(Membership::term)
    }

    /// Hands a checkpoint to the background.
    pub(crate) fn keep_checkpoint(
        &mut self,
        index: usize,
        generation: u64,
        evaluation: Option<Evaluation>,
    ) {
        let process = &mut self.workers[index].process;
        let Some(weights) = process.weights.clone() else {
            return;
        };
        let id = CheckpointId::of(weights.cursor.step, generation);
        if process.last_job.as_ref() == Some(&id) {
            return;
        }
        process.last_job = Some(id.clone());
        process.jobs.push_back(Job {
            checkpoint: Checkpoint {
                id: id.clone(),
                generation,
                cursor: weights.cursor,
                evaluation,
                training_loss: 1.0,
                parameters: 1,
                files: Vec::new(),
                created_unix_ms: 0,
            },
            id: id.clone(),
            weights,
        });
        if !process.is_uploading {
            process.is_uploading = true;
            let delay = self.dice.within(20..300);
            self.act_later(index, delay, WorkerAct::Upload { id });
        }
    }

    fn upload(&mut self, index: usize, id: &CheckpointId) {
        let Some(term) = self.term_of(index) else {
            return;
        };
        let Some(job) = self.workers[index].process.jobs.front() else {
            return;
        };
        if job.id != *id {
            return;
        }
        let (checkpoint, weights) = (job.checkpoint.clone(), job.weights.clone());
        let call = Call::Checkpoint {
            checkpoint: Box::new(checkpoint),
            weights,
            term,
            is_new: false,
        };
        self.call(index, call, Waiting::Checkpoint(id.clone()));
    }

    fn stored(&mut self, index: usize, id: &CheckpointId, refused: Option<String>) {
        let process = &mut self.workers[index].process;
        if process.jobs.front().is_none_or(|job| job.id != *id) {
            return;
        }
        let job = process.jobs.pop_front();
        let generation = job.map_or(0, |job| job.checkpoint.generation);
        process.refused = refused.map(|reason| (generation, reason));
        let next = process.jobs.front().map(|job| job.id.clone());
        process.is_uploading = next.is_some();
        if let Some(id) = next {
            let delay = self.dice.within(20..300);
            self.act_later(index, delay, WorkerAct::Upload { id });
        }
        self.checkpoints_stored(index);
    }
}

fn in_words(message: &v1::WorkerMessage) -> String {
    let generation = message.context.as_ref().map_or(0, |c| c.generation);
    match &message.body {
        Some(Body::StepReports(reports)) => {
            let steps: Vec<u64> = reports.reports.iter().map(|r| r.number).collect();
            format!("that steps {steps:?} are done (generation {generation})")
        }
        Some(Body::Ready(ready)) => format!(
            "that it is ready, with {} steps of generation {} applied",
            ready.applied.map_or(0, |cursor| cursor.step),
            ready.applied_generation
        ),
        Some(Body::Left(left)) => {
            format!("that it has left generation {generation}: {}", left.reason)
        }
        Some(body) => format!("{body:?} (generation {generation})"),
        None => "nothing".to_owned(),
    }
}
