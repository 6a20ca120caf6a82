//! Takes a run's best checkpoint towards the Hub and the chain.
//!
//! The mental model: the coordinator announces which checkpoint is the best so
//! far; each new one is a [candidate] that first passes the [gate] (evaluated,
//! its loss below the threshold, small enough for validators), is then
//! downloaded and [inspected], and so becomes a [publication](Publication):
//! a staged directory that never changes again, and a record in the journal
//! that says how far it has come. A later, better candidate supersedes a
//! publication that is still waiting; one that is refused leaves it in place.
//!
//! Everything on disk is under one `--state-dir`:
//!
//! ```text
//! lock                        held by the one publisher that works here
//! downloads/CHECKPOINT/       on its way in; resumed after a restart
//! staged/CHECKPOINT/          complete, verified, read-only; or absent
//! publications/CHECKPOINT.json the journal: one record each, replaced whole
//! ```
//!
//! A restart needs no memory of its own: whatever is announced as the best
//! goes through the same stations, and finds done what was done.
//!
//! Architecture invariant: publishing stops at [`Stage::Staged`]. No code here
//! opens a wallet or contacts the Hub or the chain, and without `--offline`
//! nothing starts; so nothing is ever half published.
//!
//! Architecture invariant: the bytes that are hashed are the bytes that are
//! staged. They are read from the disk again after the download, and compared
//! with the coordinator's manifest.
//!
//! Architecture invariant: libtorch is not linked. Weights are looked at as
//! bytes.
//!
//! [candidate]: Candidate
//! [gate]: Refusal
//! [inspected]: Inspected

mod blocking;
mod candidate;
mod config;
mod error;
mod finite;
mod flags;
mod gate;
mod inspect;
mod journal;
mod publisher;
mod stage;
mod state_dir;
mod status;
mod summary;

pub use candidate::Candidate;
pub use config::{Chain, Config, Network, Wallet};
pub use error::Error;
pub use flags::{Command, Flags, PublishFlags, StatusFlags};
pub use gate::Refusal;
pub use inspect::Inspected;
pub use journal::{Publication, PublishedFile, Stage};
pub use publisher::run;
pub use status::{PublicationStatus, Status, status};
pub use summary::Summary;
