//! The crate's tests: one binary, because each rank of a cluster is this binary again.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod alone;
mod cluster;
mod collectives;
mod failures;
mod model;
mod reducer;
