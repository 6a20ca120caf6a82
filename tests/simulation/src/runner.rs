//! Many schedules, on all cores.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde::Serialize;

use crate::rule::Violation;
use crate::sabotage::Sabotage;
use crate::schedule::{run, run_sabotaged};

/// A schedule that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What it broke.
    #[serde(flatten)]
    pub violation: Violation,
}

/// What many schedules came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many ran.
    pub schedules: u64,
    /// Events handled.
    pub events: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Faults.
    pub faults: u64,
    /// Those that broke a rule, by seed.
    pub failures: Vec<Failure>,
}

/// Runs the schedules of `seeds`; `done` hears now and then how many are over.
pub fn many(seeds: Range<u64>, done: impl Fn(u64) + Sync) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    let lock = || totals.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed);
            let mut totals = lock();
            totals.schedules += 1;
            totals.events += outcome.events;
            totals.simulated_ms += outcome.simulated_ms;
            totals.faults += outcome.faults as u64;
            let failure = outcome
                .violation
                .map(|violation| Failure { seed, violation });
            totals.failures.extend(failure);
            done(totals.schedules);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut totals = std::mem::take(&mut *lock());
    totals.failures.sort_by_key(|failure| failure.seed);
    totals
}

/// The first of `seeds` whose schedule breaks a rule when something is broken on
/// purpose.
pub fn first_to_notice(seeds: Range<u64>, sabotage: Sabotage) -> Option<Failure> {
    seeds.into_iter().find_map(|seed| {
        let violation = run_sabotaged(seed, Some(sabotage)).violation?;
        Some(Failure { seed, violation })
    })
}
