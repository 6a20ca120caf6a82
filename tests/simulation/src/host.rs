//! A machine with one process: whether it runs, and what its clock shows.

use crate::event::Do;
use crate::event::{Healing, WorkerAct};
use crate::fault::{Fault, Node};
use crate::sim::{Cut, Sim};

/// What every machine has.
pub(crate) struct Host {
    /// Counts its processes.
    pub(crate) life: u64,
    pub(crate) is_up: bool,
    paused_until: Option<u64>,
    /// What waits for a process that stands still.
    pub(crate) backlog: Vec<Do>,
    /// How much faster than true time its clock is, in thousandths.
    drift: i64,
    started: u64,
}

impl Host {
    pub(crate) fn new(drift: i64) -> Host {
        Host {
            life: 0,
            is_up: false,
            paused_until: None,
            backlog: Vec::new(),
            drift,
            started: 0,
        }
    }

    /// Whether the process is there, standing still or not.
    pub(crate) fn is(&self, life: u64) -> bool {
        self.is_up && self.life == life
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Milliseconds since the process started, by its own clock.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.started) as i64;
        (passed * (1000 + self.drift) / 1000) as u64
    }

    /// After how many true milliseconds, from `now` on, the clock shows `time`.
    pub(crate) fn until(&self, time: u64, now: u64) -> u64 {
        let true_time = time as i64 * 1000 / (1000 + self.drift) + 1;
        (self.started + true_time as u64).saturating_sub(now)
    }

    fn start(&mut self, now: u64) {
        self.life += 1;
        self.is_up = true;
        self.paused_until = None;
        self.backlog.clear();
        self.started = now;
    }
}

impl Sim {
    pub(crate) fn begin_fault(&mut self, index: usize) {
        let fault = self.plan[index].1.clone();
        self.history.note(self.now, "FAULT", || fault.to_string());
        match fault {
            Fault::Kill { node, gone } => {
                self.kill(node);
                self.after(gone, Do::Boot(node));
            }
            Fault::Pause { node, stands } => self.pause(node, stands),
            Fault::PowerCut { gone } => {
                for node in self.nodes() {
                    self.kill(node);
                    let delay = gone + self.dice.within(0..300);
                    self.after(delay, Do::Boot(node));
                }
            }
            Fault::Cut {
                from,
                to,
                both_ways,
                lasts,
            } => {
                if from != to {
                    self.cut(Some(from), Some(to), lasts);
                    if both_ways {
                        self.cut(Some(to), Some(from), lasts);
                    }
                }
            }
            Fault::Isolate { node, lasts } => {
                self.cut(Some(node), None, lasts);
                self.cut(None, Some(node), lasts);
            }
            Fault::Break { worker } => {
                if let Some(id) = self.workers[worker].process.connection {
                    self.break_connection(id);
                }
            }
            Fault::Straggle { worker } => {
                let life = self.workers[worker].host.life;
                for _ in 0..3 {
                    let delay = self.dice.within(0..600);
                    self.worker_after(delay, worker, life, WorkerAct::Straggle);
                }
            }
            Fault::SlowDisk { by, lasts } => {
                self.store.slowness = by;
                self.after(lasts, Do::Heal(Healing::Disk));
            }
            Fault::StoreAway { lasts } => {
                self.store.is_down = true;
                self.after(lasts, Do::Heal(Healing::Store));
            }
            Fault::LeaseLost { coordinator, lasts } => {
                self.coordinators[coordinator].is_cut_from_store = true;
                self.after(lasts, Do::Heal(Healing::Leadership(coordinator)));
            }
            Fault::Drain { worker, gone } => {
                self.drain_worker(worker);
                self.after(gone + 2000, Do::Boot(Node::Worker(worker)));
            }
            Fault::StopCoordinator { gone } => {
                self.ask_to_stop();
                self.stop_ends = self.now + gone + 2000;
                for node in self.nodes() {
                    self.after(gone + 2000, Do::Boot(node));
                }
            }
            Fault::DamageCheckpoint => {
                // Damage is found when a coordinator starts.
                if let Some(files) = self.checkpoints.values_mut().next_back() {
                    files.is_damaged = true;
                }
            }
            Fault::Hang { worker } => self.hang(worker),
            Fault::Slow {
                worker,
                times,
                lasts,
            } => {
                self.workers[worker].slowness = times;
                self.after(lasts, Do::Heal(Healing::Slow(worker)));
            }
        }
    }

    pub(crate) fn heal(&mut self, healing: Healing) {
        match healing {
            Healing::Disk => self.store.slowness = 0,
            Healing::Store => self.store.is_down = false,
            Healing::Leadership(index) => self.coordinators[index].is_cut_from_store = false,
            Healing::Slow(index) => self.workers[index].slowness = 1,
        }
    }

    fn nodes(&self) -> Vec<Node> {
        let coordinators = (0..self.coordinators.len()).map(Node::Coordinator);
        coordinators
            .chain((0..self.workers.len()).map(Node::Worker))
            .collect()
    }

    fn cut(&mut self, from: Option<Node>, to: Option<Node>, lasts: u64) {
        let until = self.now + lasts;
        self.cuts.retain(|cut| cut.until > self.now);
        self.cuts.push(Cut { from, to, until });
    }

    fn pause(&mut self, node: Node, stands: u64) {
        let until = self.now + stands;
        let host = self.host(node);
        if host.is_up {
            let until = host.paused_until.map_or(until, |before| before.max(until));
            host.paused_until = Some(until);
            let life = host.life;
            self.at(until, Do::Resume { node, life });
        }
    }

    /// The process goes on; what waited for it happens now, in any order that
    /// connections allow.
    pub(crate) fn resume(&mut self, node: Node, life: u64) {
        let now = self.now;
        let host = self.host(node);
        if !host.is(life) || host.paused_until.is_none_or(|until| until > now) {
            return;
        }
        host.paused_until = None;
        let waiting = std::mem::take(&mut host.backlog);
        for what in waiting {
            let delay = self.dice.within(0..4);
            self.after(delay, what);
        }
    }

    pub(crate) fn kill(&mut self, node: Node) {
        let host = self.host(node);
        if !host.is_up {
            return;
        }
        let life = host.life;
        host.is_up = false;
        host.paused_until = None;
        host.backlog.clear();
        self.break_connections_of(node, life);
        match node {
            Node::Coordinator(index) => self.coordinator_died(index, life),
            Node::Worker(index) => self.worker_died(index),
        }
    }

    pub(crate) fn boot(&mut self, node: Node) {
        let now = self.now;
        let host = self.host(node);
        if host.is_up {
            return;
        }
        host.start(now);
        match node {
            Node::Coordinator(index) => self.coordinator_starts(index),
            Node::Worker(index) => self.worker_starts(index),
        }
    }
}
