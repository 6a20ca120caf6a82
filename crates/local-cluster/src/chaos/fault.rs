//! What can be done to a running cluster, and a seeded sequence of it.

use std::fmt;
use std::time::Duration;

use super::dice::Dice;
use crate::Cut;

/// A way to disturb a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A worker is killed (SIGKILL), and started again later.
    KillWorker,
    /// A worker stops (SIGSTOP), and goes on later (SIGCONT).
    PauseWorker,
    /// A worker's cable is cut, and mended later.
    CutWorker,
    /// A worker is asked to end (SIGTERM), and started again later.
    DrainWorker,
    /// The coordinator is killed, and started again at once.
    KillCoordinator,
    /// The coordinator stops, and goes on later.
    PauseCoordinator,
    /// The coordinator's cable is cut, and mended later.
    CutCoordinator,
    /// Of several coordinators, the one that leads is killed, and started again
    /// when another leads.
    KillLeader,
    /// Of several coordinators, the one that leads stops, and goes on later.
    PauseLeader,
    /// Of several coordinators, the one that leads is cut off from the store that
    /// they share, and mended later.
    CutLeader,
    /// The store that coordinators share is killed, and started again later.
    KillStore,
    /// The store that coordinators share stops, and goes on later.
    PauseStore,
    /// The store's cable to all coordinators is cut, and mended later.
    CutStore,
}

impl Kind {
    /// Those that can happen to a cluster with one coordinator, in a network
    /// that can be cut.
    pub const ONE_COORDINATOR: [Self; 7] = [
        Self::KillWorker,
        Self::PauseWorker,
        Self::CutWorker,
        Self::DrainWorker,
        Self::KillCoordinator,
        Self::PauseCoordinator,
        Self::CutCoordinator,
    ];

    /// Those that can happen to a cluster whose coordinators share a store.
    pub const SEVERAL_COORDINATORS: [Self; 9] = [
        Self::KillWorker,
        Self::PauseWorker,
        Self::DrainWorker,
        Self::KillLeader,
        Self::PauseLeader,
        Self::CutLeader,
        Self::KillStore,
        Self::PauseStore,
        Self::CutStore,
    ];

    /// Its name in reports: `kill-worker`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillWorker => "kill-worker",
            Self::PauseWorker => "pause-worker",
            Self::CutWorker => "cut-worker",
            Self::DrainWorker => "drain-worker",
            Self::KillCoordinator => "kill-coordinator",
            Self::PauseCoordinator => "pause-coordinator",
            Self::CutCoordinator => "cut-coordinator",
            Self::KillLeader => "kill-leader",
            Self::PauseLeader => "pause-leader",
            Self::CutLeader => "cut-leader",
            Self::KillStore => "kill-store",
            Self::PauseStore => "pause-store",
            Self::CutStore => "cut-store",
        }
    }

    /// Whether a worker is the victim.
    #[must_use]
    pub fn strikes_worker(self) -> bool {
        matches!(
            self,
            Self::KillWorker | Self::PauseWorker | Self::CutWorker | Self::DrainWorker
        )
    }

    /// Whether others can make good what was done while it lasts; then recovery
    /// counts from the fault, otherwise from when it was undone.
    #[must_use]
    pub fn leaves_someone_who_can(self) -> bool {
        self.strikes_worker() || self.strikes_leader()
    }

    /// Whether it is the leader of several coordinators.
    #[must_use]
    pub fn strikes_leader(self) -> bool {
        matches!(self, Self::KillLeader | Self::PauseLeader | Self::CutLeader)
    }

    /// Whether a cable is cut.
    #[must_use]
    pub fn cuts(self) -> bool {
        matches!(
            self,
            Self::CutWorker | Self::CutCoordinator | Self::CutLeader | Self::CutStore
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One disturbance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// What is done.
    pub kind: Kind,
    /// To which worker: an index into those there are.
    pub victim: usize,
    /// How long a pause or a cut lasts at least.
    pub lasts: Duration,
    /// What a cut loses.
    pub cut: Cut,
    /// How many steps the whole cluster takes before it.
    pub after_steps: u64,
}

/// Faults without an end, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Schedule {
    dice: Dice,
    kinds: Vec<Kind>,
    workers: usize,
    lease: Duration,
    calm: u64,
}

impl Schedule {
    /// Faults of these kinds for so many workers. Three of four pauses and cuts
    /// outlast `lease`, up to twice; the others are shorter than half of it.
    /// Between two faults lie `calm` to twice `calm` steps.
    #[must_use]
    pub fn new(seed: u64, kinds: &[Kind], workers: usize, lease: Duration, calm: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            kinds: kinds.to_vec(),
            workers,
            lease,
            calm,
        }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let dice = &mut self.dice;
        // Always as many throws, so that a fault's number and the seed say all
        // about it.
        let kind = dice.below(self.kinds.len() as u64) as usize;
        let victim = dice.below(self.workers as u64) as usize;
        let outlasts_the_lease = dice.below(4) != 0;
        let fraction = dice.fraction();
        let leases = match outlasts_the_lease {
            true => 1.2 + 0.8 * fraction,
            false => 0.1 + 0.4 * fraction,
        };
        let cut = [Cut::Both, Cut::Both, Cut::Outgoing, Cut::Incoming][dice.below(4) as usize];
        let after_steps = self.calm + dice.below(self.calm + 1);
        Some(Fault {
            kind: *self.kinds.get(kind)?,
            victim,
            lasts: self.lease.mul_f64(leases),
            cut,
            after_steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Vec<Fault> {
        let lease = Duration::from_secs(4);
        Schedule::new(seed, &Kind::ONE_COORDINATOR, 3, lease, 12)
            .take(200)
            .collect()
    }

    #[test]
    fn a_seed_says_all_about_a_schedule() {
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
    }

    #[test]
    fn every_kind_victim_and_length_comes_up() {
        let faults = schedule(1);
        for kind in Kind::ONE_COORDINATOR {
            assert!(faults.iter().any(|fault| fault.kind == kind), "{kind}");
        }
        let lease = Duration::from_secs(4);
        let of_several = Schedule::new(1, &Kind::SEVERAL_COORDINATORS, 3, lease, 12);
        let of_several: Vec<Fault> = of_several.take(200).collect();
        for kind in Kind::SEVERAL_COORDINATORS {
            assert!(of_several.iter().any(|fault| fault.kind == kind), "{kind}");
        }
        for victim in 0..3 {
            assert!(faults.iter().any(|fault| fault.victim == victim));
        }
        let longer = faults.iter().filter(|fault| fault.lasts > lease).count();
        assert!((100..200).contains(&longer), "{longer} of 200");
        assert!(faults.iter().all(|f| (12..=24).contains(&f.after_steps)));
    }

    #[test]
    fn without_kinds_there_are_no_faults() {
        let lease = Duration::from_secs(4);
        assert_eq!(Schedule::new(1, &[], 3, lease, 12).next(), None);
    }
}
