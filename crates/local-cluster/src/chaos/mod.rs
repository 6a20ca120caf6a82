//! Disturbing a running cluster, and measuring how it recovers.
//!
//! The mental model is a mischievous operator with a stopwatch. [`Chaos`] waits
//! until the cluster is whole and has stepped for a while, does one thing to it
//! ([`Fault`]), and stops the time until the next step that a later generation
//! took. Then it undoes what it did (starts a worker again, mends a cable), and
//! waits once more. A [`Schedule`] says what to do, from a seed.
//!
//! Architecture invariant: one fault at a time. How a cluster stands several at
//! once is the simulation's subject, which can try millions.

mod curve;
mod dice;
mod fault;
mod injected;
mod operator;
mod strikes;

pub use curve::largest_difference;
pub use dice::Dice;
pub use fault::{Fault, Kind, Schedule};
pub use injected::Injected;
pub use operator::{Chaos, Return};
