//! Whole clusters in simulated time, under every trouble that can be drawn.
//!
//! The mental model: a *schedule* is one cluster's life, and a seed says all of
//! it: how many workers and coordinators, how fast their clocks run, how long
//! everything takes, what goes wrong and when. What decides is real: the
//! coordinator's state machine and records, the worker's membership, the
//! ledger. What they touch is modelled: network, clocks, disk, election, the
//! trainer's thread, collectives. After every event the rules ([`Rule`]) are
//! checked, and at the end the ledger is audited.
//!
//! ```text
//!  seed ─► config, faults ─► Sim ─► violation? ─► history in words, made small
//!                             │
//!        network  clocks  store + election  collectives  weights      modelled
//!        machine::Machine   membership::Membership   ledger, RunStore     real
//! ```
//!
//! Weights are modelled as the list of steps that were applied to them, so that
//! a step that is lost, doubled or trained by two groups is visible.
//!
//! Architecture invariant: a schedule is a function of its seed and its faults.
//! No clock, no thread and no hash map's order enters, so every failure
//! replays.

mod config;
mod coordinator_shell;
mod dice;
mod event;
mod fabric;
mod fault;
mod history;
mod host;
mod network;
mod rule;
mod rules;
mod runner;
mod sabotage;
mod schedule;
mod sim;
mod store;
mod trainer;
mod weights;
mod worker_shell;

pub use config::Config;
pub use fault::{Fault, Node, Plan};
pub use history::Line;
pub use rule::{Rule, Violation};
pub use runner::{Failure, Totals, first_to_notice, many};
pub use sabotage::{OfShell, Sabotage};
pub use schedule::{Outcome, Replay, plan_of, replay, run, run_sabotaged, shrink};
