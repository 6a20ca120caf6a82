//! Runs the real binaries as a cluster on this machine.
//!
//! The mental model is a person with several terminals: one for the
//! coordinator, one for each worker, one for a publisher. A [`Cluster`] is that
//! person: it starts the programs, learns the coordinator's address from the
//! file it writes, reads what `coordinator steps`, `status` and `audit` print,
//! and ends every program it started. The demo, the benchmark and the cluster
//! tests differ in their flags only.
//!
//! Every program runs in a process group of its own, so a Ctrl-C at the
//! terminal reaches it only through [`Process::signal`], and a program's own
//! children end with it. Its log and its output are files, which stay when it
//! fails; errors carry the log's last lines.
//!
//! Architecture invariant: nothing of a run passes through this crate but
//! flags, exit codes and JSON. It links none of the project's other crates, so
//! what works here works for any script.
//!
//! Architecture invariant: no process outlives the value that started it.

mod again;
mod asking;
mod binaries;
pub mod chaos;
mod cluster;
mod error;
mod etcd;
mod follower;
mod lines;
mod network;
mod poll;
mod process;
mod reports;
mod several;
mod traces;

pub use binaries::Binaries;
pub use cluster::Cluster;
pub use error::Error;
pub use etcd::{EtcdServer, EtcdTls};
pub use follower::{Follower, Seen};
pub use lines::{Line, Lines, Next};
pub use network::{Cut, Method, Network};
pub use poll::wait_until;
pub use process::Process;
pub use reports::{Audit, Counts, Publication, Step, Times, median};
pub use rustix::process::Signal;
