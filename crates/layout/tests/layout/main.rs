//! The tests of the crate's public face, in one binary.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;
mod golden;
mod properties;
mod refusals;
