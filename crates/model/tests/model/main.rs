//! The tests of the crate's public face, in one binary.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;
mod forward;
mod golden;
mod initialisation;
mod optimizer;
mod precision;
mod randomness;
mod snapshot;
