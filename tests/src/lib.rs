//! Cluster tests on the real binaries, and the stand-ins they talk to.
//!
//! The tests in `tests/cluster/` start coordinator, workers and publisher as
//! processes ([`local_cluster`]) and hold them to what the project promises:
//! the same losses whatever the number of workers, every page fetched once,
//! every sequence trained once, a resume that changes nothing, refusals before
//! anything starts, and no trace of a process that was asked to end. This
//! library is what they share: [`TestCluster`], text to train on
//! ([`text`]), a dataset server that counts ([`RowsServer`]), and broken model
//! directories ([`models`]).
//!
//! A test binary does not build the programs of other packages: `cargo xtask
//! test` does, and a plain `cargo test` of this package tells when they are
//! missing.
//!
//! Architecture invariant: no test waits by sleeping. It waits for a condition
//! that it names, with a deadline that only a defect reaches.

mod cluster;
pub mod models;
mod rows_server;
pub mod text;

pub use cluster::{LIMIT, Run, TestCluster};
pub use rows_server::{PageFault, RowsServer};
