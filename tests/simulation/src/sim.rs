//! The scheduler: simulated time, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use coordinator::records::CheckpointId;
use ledger::{Order, PageId};

use crate::config::Config;
use crate::coordinator_shell::CoordinatorNode;
use crate::dice::Dice;
use crate::event::{CoordinatorAct, Do, WorkerAct};
use crate::fabric::Group;
use crate::fault::{Node, Plan, spares_a_majority};
use crate::history::History;
use crate::host::Host;
use crate::network::Connection;
use crate::rule::{Rule, Violation};
use crate::rules::Rules;
use crate::sabotage::OfShell;
use crate::store::Store;
use crate::weights::Weights;
use crate::worker_shell::WorkerNode;

/// Nothing passes between two machines; `None` stands for all of them.
pub(crate) struct Cut {
    pub(crate) from: Option<Node>,
    pub(crate) to: Option<Node>,
    pub(crate) until: u64,
}

/// A checkpoint's files.
pub(crate) struct Files {
    pub(crate) weights: Weights,
    pub(crate) is_damaged: bool,
}

struct Scheduled {
    at: u64,
    number: u64,
    what: Do,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A cluster in simulated time.
pub(crate) struct Sim {
    pub(crate) config: Config,
    pub(crate) order: Order,
    /// True milliseconds, which no machine's clock shows exactly.
    pub(crate) now: u64,
    /// Until when the coordinator that was told to stop is meant to be away.
    pub(crate) stop_ends: u64,
    pub(crate) dice: Dice,
    queue: BinaryHeap<Reverse<Scheduled>>,
    numbers: u64,
    pub(crate) plan: Plan,
    /// When the last fault is over.
    pub(crate) quiet_since: u64,
    /// Whether most workers are never hindered.
    pub(crate) has_majority: bool,
    pub(crate) store: Store,
    pub(crate) coordinators: Vec<CoordinatorNode>,
    pub(crate) workers: Vec<WorkerNode>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) checkpoints: BTreeMap<CheckpointId, Files>,
    /// Those that were found damaged at a start, and are kept no longer.
    pub(crate) found_damaged: BTreeSet<CheckpointId>,
    /// How often each page could not be read, and could have been later.
    pub(crate) passing_failures: BTreeMap<PageId, u32>,
    pub(crate) rules: Rules,
    pub(crate) violation: Option<Violation>,
    pub(crate) history: History,
    /// When a step was last applied anywhere.
    pub(crate) last_step_at: u64,
    /// Events handled.
    pub(crate) events: u64,
}

impl Sim {
    pub(crate) fn new(config: Config, seed: u64, plan: Plan, keep_history: bool) -> Sim {
        let mut dice = Dice::new(seed, 2);
        let quiet = plan.iter().map(|(at, fault)| at + fault.lasts()).max();
        let mut store = Store::new();
        store.fences = !config.breaks(OfShell::SkipFencing);
        let drift = |dice: &mut Dice| dice.within(0..81) as i64 - 40;
        let mut sim = Sim {
            order: config.order(),
            now: 0,
            stop_ends: 0,
            queue: BinaryHeap::new(),
            numbers: 0,
            quiet_since: quiet.unwrap_or(0),
            has_majority: spares_a_majority(&config, &plan),
            store,
            coordinators: (0..config.coordinators)
                .map(|_| CoordinatorNode::new(drift(&mut dice)))
                .collect(),
            workers: (0..config.workers_in_all())
                .map(|index| WorkerNode::new(index, drift(&mut dice)))
                .collect(),
            connections: BTreeMap::new(),
            cuts: Vec::new(),
            groups: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            found_damaged: BTreeSet::new(),
            passing_failures: BTreeMap::new(),
            rules: Rules::default(),
            violation: None,
            history: History {
                is_kept: keep_history,
                lines: Vec::new(),
            },
            last_step_at: 0,
            events: 0,
            plan,
            dice,
            config,
        };
        for index in 0..sim.coordinators.len() {
            let delay = sim.dice.within(0..200);
            sim.after(delay, Do::Boot(Node::Coordinator(index)));
        }
        for index in 0..sim.workers.len() {
            let delay = sim.dice.within(0..400);
            sim.after(delay, Do::Boot(Node::Worker(index)));
        }
        for index in 0..sim.plan.len() {
            sim.at(sim.plan[index].0, Do::Fault(index));
        }
        sim
    }

    /// Runs until the run is complete, a rule is broken, or patience ends.
    pub(crate) fn run(&mut self) {
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.events += 1;
            self.handle(next.what);
            if self.violation.is_some() {
                return;
            }
            if self.rules.complete.is_some() {
                self.check_the_end();
                return;
            }
            self.check_progress();
        }
        self.broken(Rule::Progress, || "nothing is left to happen".to_owned());
    }

    pub(crate) fn broken(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let at = self.now;
            let what = what();
            self.history
                .note(at, "RULE BROKEN", || format!("{}: {what}", rule.in_words()));
            self.violation = Some(Violation { rule, at, what });
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn at(&mut self, at: u64, what: Do) {
        let number = self.number();
        self.queue.push(Reverse(Scheduled { at, number, what }));
    }

    pub(crate) fn after(&mut self, delay: u64, what: Do) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn worker_after(&mut self, delay: u64, index: usize, life: u64, act: WorkerAct) {
        self.after(delay, Do::Worker { index, life, act });
    }

    pub(crate) fn coordinator_after(
        &mut self,
        delay: u64,
        index: usize,
        life: u64,
        act: CoordinatorAct,
    ) {
        self.after(delay, Do::Coordinator { index, life, act });
    }

    pub(crate) fn host(&mut self, node: Node) -> &mut Host {
        match node {
            Node::Coordinator(index) => &mut self.coordinators[index].host,
            Node::Worker(index) => &mut self.workers[index].host,
        }
    }

    fn handle(&mut self, what: Do) {
        match what {
            Do::Fault(index) => self.begin_fault(index),
            Do::Heal(healing) => self.heal(healing),
            Do::Boot(node) => self.boot(node),
            Do::Resume { node, life } => self.resume(node, life),
            Do::Up(id) => self.deliver_up(id),
            Do::Down(id) => self.deliver_down(id),
            Do::StoreArrives(commit) => self.store_arrives(commit),
            Do::Coordinator { index, life, act } => {
                let host = &mut self.coordinators[index].host;
                if !host.is(life) {
                    return;
                }
                if host.is_paused() {
                    let act = Do::Coordinator { index, life, act };
                    return host.backlog.push(act);
                }
                self.coordinator_acts(index, act);
            }
            Do::Worker { index, life, act } => {
                let host = &mut self.workers[index].host;
                if !host.is(life) {
                    return;
                }
                if host.is_paused() {
                    let act = Do::Worker { index, life, act };
                    return host.backlog.push(act);
                }
                self.worker_acts(index, act);
            }
        }
    }
}
