//! Running schedules, and making failures small.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::config::Config;
use crate::fault::{self, Fault, Plan};
use crate::history::Line;
use crate::rule::{Rule, Violation};
use crate::sabotage::Sabotage;
use crate::sim::Sim;

/// How a schedule ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Events handled.
    pub events: u64,
    /// Faults that were part of it.
    pub faults: usize,
    /// The rule that it broke, if it broke one.
    pub violation: Option<Violation>,
}

/// A schedule with its history.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The cluster.
    pub config: Config,
    /// What went wrong, and when.
    pub plan: Plan,
    /// How it ended.
    pub outcome: Outcome,
    /// What happened.
    pub history: Vec<Line>,
}

/// Runs the schedule of a seed.
pub fn run(seed: u64) -> Outcome {
    run_sabotaged(seed, None)
}

/// Runs the schedule of a seed with something broken on purpose.
pub fn run_sabotaged(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let config = config(seed, sabotage);
    let plan = fault::draw(&config, seed);
    simulate(config, seed, plan, false).outcome
}

/// What goes wrong in the schedule of a seed.
pub fn plan_of(seed: u64) -> Plan {
    fault::draw(&Config::draw(seed), seed)
}

/// Runs the schedule of a seed with given faults, and keeps its history.
pub fn replay(seed: u64, plan: Plan, sabotage: Option<Sabotage>) -> Replay {
    simulate(config(seed, sabotage), seed, plan, true)
}

/// The faults of a seed, less all without which it breaks the same rule.
pub fn shrink(seed: u64, rule: Rule, sabotage: Option<Sabotage>) -> Plan {
    let config = config(seed, sabotage);
    let mut plan = fault::draw(&config, seed);
    let mut index = plan.len();
    while index > 0 {
        index -= 1;
        let mut fewer: Vec<(u64, Fault)> = plan.clone();
        fewer.remove(index);
        let outcome = simulate(config.clone(), seed, fewer.clone(), false).outcome;
        if outcome
            .violation
            .is_some_and(|violation| violation.rule == rule)
        {
            plan = fewer;
            index = index.min(plan.len());
        }
    }
    plan
}

fn config(seed: u64, sabotage: Option<Sabotage>) -> Config {
    Config {
        sabotage,
        ..Config::draw(seed)
    }
}

fn simulate(config: Config, seed: u64, plan: Plan, keep_history: bool) -> Replay {
    let mut sim = Sim::new(config.clone(), seed, plan.clone(), keep_history);
    // A panic of what is tested is a finding like any other.
    let ended = catch_unwind(AssertUnwindSafe(|| sim.run()));
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        sim.broken(Rule::NoPanic, || text.unwrap_or_default());
    }
    Replay {
        config,
        outcome: Outcome {
            simulated_ms: sim.now,
            events: sim.events,
            faults: plan.len(),
            violation: sim.violation.take(),
        },
        plan,
        history: std::mem::take(&mut sim.history.lines),
    }
}
