//! The coordinator of a training cluster: who takes part, who prepares which
//! page, what was trained, and which checkpoints there are.
//!
//! The mental model is a clerk with a ledger. Workers tell it what happened;
//! a state machine without IO ([`machine`]) decides; one task, the driver,
//! writes the decision down ([`store`]) and only then says it aloud
//! (`services`). Two kinds of bulk pass it by: packed pages ([`packed`]) and
//! checkpoints ([`checkpoints`]) go straight to disk, and only their digests
//! to the machine.
//!
//! ```text
//!  gRPC ──► services ──► driver ──► machine      decides, pure
//!   ▲           │           │ ▲        │
//!   │           │           │ └────────┘ effects
//!   │           │           ├──► store           durable before said
//!   └───────────┼───────────┘
//!               └──► packed, checkpoints         bulk, by digest
//! ```
//!
//! Architecture invariant: the coordinator is off the hot path. A generation
//! steps without asking it anything, as far as the page table reaches.
//!
//! Architecture invariant: it does not link libtorch and computes nothing from
//! weights; it compares files with hashes and tensors with shapes.

pub mod args;
pub mod audit;
pub mod backup;
pub mod checkpoints;
pub mod clock;
pub mod commands;
mod crash;
mod dataset;
mod driver;
mod election;
pub mod events;
mod foreseen;
mod lead;
mod loading;
pub mod machine;
mod mirror;
pub mod packed;
mod plan;
mod progress;
pub mod records;
mod serve;
mod server;
mod services;
mod standby;
mod state_dir;
pub mod store;
pub mod wire;

pub use serve::{Coordinator, run};
