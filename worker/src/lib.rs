//! A member of a training cluster.
//!
//! # Mental model
//!
//! Three things go on at once. The *session* talks with the coordinator and
//! lives as long as the process. The *trainer* is a thread that blocks in
//! libtorch; it is put into one generation after another and steps in each as
//! far as the page table reaches, asking nobody. Between them, *preparation*
//! packs the pages that the coordinator assigns and the *feeder* has the
//! trainer's next shares ready. They share little: commands to the trainer,
//! messages to the session, and in `control` the few facts that cannot wait.
//!
//! ```text
//!   coordinator ◄──── session ────► Command ────► trainer ──► c10d, model
//!        ▲               │   ▲                      ▲   │
//!        │               │   └──── messages ────────┼───┤
//!        │               ▼                          │   ▼
//!        ├──── prepare   book (page table) ──► feeder   checkpoint ──┐
//!        └─────────┴──────── packed pages ───────┘                   │
//!        ▲                                                           │
//!        └───────────────────────────────────────────────────────────┘
//! ```
//!
//! Architecture invariant: a worker decides nothing about the run. What it
//! trains on, when it evaluates and when it stops follow from the run's
//! configuration and the page table, alike on every rank.
//!
//! Architecture invariant: no secret of the miner's is ever here, but a token that
//! may read a gated dataset, where one was given.
//!
//! Architecture invariant: nothing of one generation (store, group, reducer,
//! feeder) is used in another.

pub mod args;
mod arriving;
mod book;
mod cadence;
mod checkpoint;
mod control;
pub mod device;
mod fault;
mod feeder;
mod identity;
mod page_store;
mod prepare;
pub mod score;
mod scratch;
mod session;
pub mod source;
mod start;
mod store_port;
mod supervised;
mod supervisor;
mod trainer;
mod warming;
mod watchdog;

pub use start::run;
