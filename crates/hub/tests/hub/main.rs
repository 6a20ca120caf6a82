//! The client against a local Hub that can be made to fail, and against servers
//! that mean harm.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared fails the test")]

mod account;
mod common;
mod download;
mod endpoint;
mod hostile;
mod publish;
mod reconcile;
mod transfer;
mod verify;
mod waits;
