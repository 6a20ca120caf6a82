//! A publisher with --offline against a coordinator in the same process.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod binary;
mod checkpoints;
mod fake;
mod refusals;
mod restarts;
mod staging;
