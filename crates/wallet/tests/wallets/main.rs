//! Wallets on disk, as Bittensor's tools write them and as people leave them.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod files;
mod keyfiles;
mod secrets;
mod support;
