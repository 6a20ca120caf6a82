//! What goes wrong, and when: drawn from the seed before the schedule runs, so
//! that single faults can be left out when a failure is made small.

use std::collections::BTreeSet;
use std::fmt;

use crate::config::Config;
use crate::dice::Dice;

/// A machine of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A coordinator, by number.
    Coordinator(usize),
    /// A worker, by number.
    Worker(usize),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Coordinator(index) => write!(f, "coordinator {}", index + 1),
            Node::Worker(index) => write!(f, "worker {}", worker_name(*index)),
        }
    }
}

/// The name under which a worker joins.
pub(crate) fn worker_name(index: usize) -> String {
    char::from(b'a' + (index % 26) as u8).to_string()
}

/// Something that goes wrong. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends without a word, and is started again after a while.
    Kill {
        /// Whose.
        node: Node,
        /// How long nobody starts it again.
        gone: u64,
    },
    /// The process stands still, and then goes on as if nothing had happened.
    Pause {
        /// Whose.
        node: Node,
        /// For how long.
        stands: u64,
    },
    /// Everything loses power.
    PowerCut {
        /// For how long.
        gone: u64,
    },
    /// Nothing passes from one machine to the other.
    Cut {
        /// Who is not heard.
        from: Node,
        /// By whom.
        to: Node,
        /// Whether the other way is cut as well.
        both_ways: bool,
        /// For how long.
        lasts: u64,
    },
    /// A machine reaches nobody, and nobody reaches it.
    Isolate {
        /// Which.
        node: Node,
        /// For how long.
        lasts: u64,
    },
    /// The connection of a worker to its coordinator breaks.
    Break {
        /// Which worker's.
        worker: usize,
    },
    /// A message of a session that is over arrives after all, or arrives twice.
    Straggle {
        /// To which worker.
        worker: usize,
    },
    /// Commits take longer.
    SlowDisk {
        /// By how much.
        by: u64,
        /// For how long.
        lasts: u64,
    },
    /// The store answers nobody.
    StoreAway {
        /// For how long.
        lasts: u64,
    },
    /// A coordinator cannot reach the store, and nobody else is hindered.
    LeaseLost {
        /// Which.
        coordinator: usize,
        /// For how long.
        lasts: u64,
    },
    /// A worker is told to leave in good order, and started again later.
    Drain {
        /// Which.
        worker: usize,
        /// How long nobody starts it again.
        gone: u64,
    },
    /// The leading coordinator is told to stop in good order.
    StopCoordinator {
        /// How long nobody starts it, and the workers, again.
        gone: u64,
    },
    /// The newest checkpoint's files are damaged, which is found out when they
    /// are read.
    DamageCheckpoint,
    /// A worker's device hangs in the step that it is in, if it is in one. Its
    /// process lives on until its watchdog ends it, and is then started again.
    Hang {
        /// Which.
        worker: usize,
    },
    /// A worker computes more slowly.
    Slow {
        /// Which.
        worker: usize,
        /// How many times as long everything takes it.
        times: u64,
        /// For how long.
        lasts: u64,
    },
}

impl Fault {
    /// How long it hinders anyone.
    pub(crate) fn lasts(&self) -> u64 {
        match self {
            Fault::Kill { gone, .. } | Fault::PowerCut { gone } => *gone,
            Fault::Drain { gone, .. } | Fault::StopCoordinator { gone } => *gone + 3000,
            Fault::Pause { stands, .. } => *stands,
            Fault::Cut { lasts, .. }
            | Fault::Isolate { lasts, .. }
            | Fault::SlowDisk { lasts, .. }
            | Fault::StoreAway { lasts }
            | Fault::LeaseLost { lasts, .. }
            | Fault::Slow { lasts, .. } => *lasts,
            // Until it is noticed where nobody waits for it, and started again.
            Fault::Hang { .. } => 8000,
            Fault::Break { .. } | Fault::Straggle { .. } | Fault::DamageCheckpoint => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill { node, gone } => write!(f, "{node} is killed, for {gone} ms"),
            Fault::Pause { node, stands } => write!(f, "{node} stands still for {stands} ms"),
            Fault::PowerCut { gone } => write!(f, "everything loses power for {gone} ms"),
            Fault::Cut {
                from,
                to,
                both_ways,
                lasts,
            } => {
                let way = if *both_ways { "and" } else { "to" };
                write!(
                    f,
                    "the network from {from} {way} {to} is cut for {lasts} ms"
                )
            }
            Fault::Isolate { node, lasts } => write!(f, "{node} is cut off for {lasts} ms"),
            Fault::Break { worker } => {
                write!(f, "the session of {} breaks", Node::Worker(*worker))
            }
            Fault::Straggle { worker } => {
                write!(f, "{} hears an old message again", Node::Worker(*worker))
            }
            Fault::SlowDisk { by, lasts } => {
                write!(f, "commits take {by} ms longer, for {lasts} ms")
            }
            Fault::StoreAway { lasts } => write!(f, "the store is away for {lasts} ms"),
            Fault::LeaseLost { coordinator, lasts } => write!(
                f,
                "{} cannot reach the store for {lasts} ms",
                Node::Coordinator(*coordinator)
            ),
            Fault::Drain { worker, gone } => write!(
                f,
                "{} is told to leave, for {gone} ms",
                Node::Worker(*worker)
            ),
            Fault::StopCoordinator { gone } => {
                write!(f, "the coordinator is told to stop, for {gone} ms")
            }
            Fault::DamageCheckpoint => write!(f, "the newest checkpoint is damaged"),
            Fault::Hang { worker } => {
                write!(f, "the device of {} hangs", Node::Worker(*worker))
            }
            Fault::Slow {
                worker,
                times,
                lasts,
            } => write!(
                f,
                "{} is {times} times slower for {lasts} ms",
                Node::Worker(*worker)
            ),
        }
    }
}

/// Faults with their times, in order.
pub type Plan = Vec<(u64, Fault)>;

/// Draws what goes wrong in a schedule.
pub(crate) fn draw(config: &Config, seed: u64) -> Plan {
    let mut dice = Dice::new(seed, 1);
    if config.only_restarts {
        return restarts(config, &mut dice);
    }
    if config.only_one_worker {
        return one_worker(config, &mut dice);
    }
    // Some schedules are calm, some are wild.
    let count = match dice.within(0..10) {
        0 => 0,
        1..4 => dice.within(1..4),
        4..9 => dice.within(3..10),
        _ => dice.within(10..25),
    };
    let span = dice.within(1000..8000);
    let mut plan = Plan::new();
    for _ in 0..count {
        let at = dice.within(100..span);
        plan.push((at, one(config, &mut dice)));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// Coordinators die now and then, and are back well within a lease.
fn restarts(config: &Config, dice: &mut Dice) -> Plan {
    let mut at = dice.within(0..3000);
    let mut kill = |dice: &mut Dice| {
        // An election takes a while; the next death must not add to it.
        at += match config.coordinators {
            1 => dice.within(1500..3000),
            _ => dice.within(4000..6000),
        };
        let node = Node::Coordinator(dice.among(config.coordinators));
        let gone = dice.within(1..400);
        (at, Fault::Kill { node, gone })
    };
    (0..4).map(|_| kill(dice)).collect()
}

/// One worker is in nobody's way for longer than anyone may wait for it.
fn one_worker(config: &Config, dice: &mut Dice) -> Plan {
    let worker = dice.among(config.workers_in_all());
    let node = Node::Worker(worker);
    let at = dice.within(300..1800);
    let lasts = dice.within(8000..12_000);
    let fault = match dice.within(0..4) {
        0 => Fault::Kill { node, gone: lasts },
        1 => Fault::Pause {
            node,
            stands: lasts,
        },
        2 => Fault::Isolate { node, lasts },
        _ => Fault::Hang { worker },
    };
    vec![(at, fault)]
}

/// Whether all that goes wrong concerns fewer than half of the workers, and leaves
/// enough of them to train. What keeps pages, connections or everyone from being as
/// fast as usual does not count as that.
pub(crate) fn spares_a_majority(config: &Config, plan: &Plan) -> bool {
    let mut hindered = BTreeSet::new();
    for (_, fault) in plan {
        match fault {
            Fault::Kill {
                node: Node::Worker(worker),
                ..
            }
            | Fault::Pause {
                node: Node::Worker(worker),
                ..
            }
            | Fault::Isolate {
                node: Node::Worker(worker),
                ..
            }
            | Fault::Break { worker }
            | Fault::Hang { worker } => hindered.insert(*worker),
            _ => return false,
        };
    }
    let all = config.workers_in_all();
    let others = all - hindered.len();
    2 * hindered.len() < all && others >= config.min_workers as usize
}

fn one(config: &Config, dice: &mut Dice) -> Fault {
    let workers = config.workers_in_all();
    let worker = dice.among(workers);
    let coordinator = dice.among(config.coordinators);
    // Around the lease, where decisions are close.
    let a_while = match dice.within(0..3) {
        0 => dice.within(20..400),
        1 => dice.within(400..config.lease_ms * 3 / 2),
        _ => dice.within(config.lease_ms..4 * config.lease_ms),
    };
    let node = |dice: &mut Dice| match dice.chance(30) {
        true => Node::Coordinator(dice.among(config.coordinators)),
        false => Node::Worker(dice.among(workers)),
    };
    match dice.within(0..100) {
        0..14 => Fault::Kill {
            node: Node::Worker(worker),
            gone: a_while,
        },
        14..26 => Fault::Kill {
            node: Node::Coordinator(coordinator),
            gone: a_while,
        },
        26..40 => Fault::Pause {
            node: Node::Worker(worker),
            stands: a_while,
        },
        40..48 => Fault::Pause {
            node: Node::Coordinator(coordinator),
            stands: a_while,
        },
        48..60 => Fault::Cut {
            from: node(dice),
            to: node(dice),
            both_ways: dice.chance(50),
            lasts: a_while,
        },
        60..68 => Fault::Isolate {
            node: node(dice),
            lasts: a_while,
        },
        68..76 => Fault::Break { worker },
        76..80 => Fault::Straggle { worker },
        80..83 => Fault::SlowDisk {
            by: dice.within(20..400),
            lasts: a_while,
        },
        83..86 => Fault::StoreAway { lasts: a_while },
        86..90 => Fault::LeaseLost {
            coordinator,
            lasts: a_while,
        },
        90..93 => Fault::Drain {
            worker,
            gone: a_while,
        },
        93..94 => Fault::StopCoordinator { gone: a_while },
        94..95 => Fault::DamageCheckpoint,
        95..96 => Fault::PowerCut { gone: a_while },
        96..98 => Fault::Hang { worker },
        _ => Fault::Slow {
            worker,
            times: dice.within(2..20),
            lasts: a_while,
        },
    }
}
