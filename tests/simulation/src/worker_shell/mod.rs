//! A worker's process: the session's streams and timers around the real
//! membership, the pages that it packs, and the checkpoints that it uploads.

mod calls;
mod checkpoints;
mod hearing;
mod pages;
mod telling;

use std::collections::{BTreeMap, VecDeque};

use coordinator::records::CheckpointId;
use ledger::{Cursor, Ordinal, PageRow, PageTable, StepReport};
use membership::{Input, Membership};
use proto::v1;

use crate::event::{Do, WorkerAct};
use crate::fabric::Contribution;
use crate::fault::{Node, worker_name};
use crate::host::Host;
use crate::sim::Sim;
use crate::trainer::{Command, Trainer};
use crate::weights::{Trained, Weights};
use calls::Waiting;
use checkpoints::Job;

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

/// What a worker's process knows; gone with it.
#[derive(Default)]
pub(crate) struct Process {
    pub(crate) membership: Option<Membership>,
    pub(crate) connection: Option<u64>,
    joining: Option<u64>,
    /// Which coordinator it asks next, while it knows of none that leads.
    asks: usize,
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
    /// Whether the trainer's device hangs, for good.
    pub(crate) hangs: bool,
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

    pub(crate) fn drain_worker(&mut self, index: usize) {
        let host = &self.workers[index].host;
        if !host.is_up || host.is_paused() {
            return;
        }
        let reason = "it was told to stop".to_owned();
        self.tell(index, Input::Drain { reason });
        self.command(index, Command::Stop);
    }
}
