//! The publisher's binary against a Hub, a chain and a coordinator of our own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../offline/checkpoints.rs"]
#[expect(
    dead_code,
    reason = "the tests of --offline need more of them than these"
)]
mod checkpoints;
mod coordinator;
mod scene;

mod check;
mod comparison;
mod failures;
mod kills;
mod locks;
mod ownership;
mod publishing;
mod upload;
mod waits;
