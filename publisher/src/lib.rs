//! Takes a run's best checkpoint to the Hub and the chain.
//!
//! The mental model: the coordinator announces which checkpoint is the best so
//! far; each new one is a [candidate] that first passes the [gate] (evaluated,
//! its loss below the threshold, small enough for validators), is then
//! downloaded and [inspected], and so becomes a [publication](Publication):
//! a staged directory that never changes again, and a record in the journal
//! that says how far it has come. If it is better than what the hotkey has
//! committed already (its [verdict]), it goes on, station by station:
//!
//! ```text
//! staged ──► uploaded ──► verified ──► committed ──► read back
//!        Hub's commit   Hub serves   chain string   chain says
//!                       the bytes    finalized      the same
//! ```
//!
//! Each arrow is durable in the journal before the next begins, and a process
//! that starts in the middle reads the stage and goes on from there. Before the
//! two acts that cannot be taken back, the commit on the Hub and the commitment
//! on the chain, the journal also says that they are about to happen; after a
//! crash the Hub and the chain are read before anything is written again. So
//! there is one commit and one commitment, or none and a reason.
//!
//! A later, better candidate supersedes a publication that is still waiting,
//! once it has proved that it is worth publishing; one that is refused leaves
//! it in place. With `--offline` everything ends at [`Stage::Staged`].
//!
//! Everything on disk is under one `--state-dir`:
//!
//! ```text
//! lock                         held by the one publisher that works here
//! downloads/CHECKPOINT/        on its way in; resumed after a restart
//! staged/CHECKPOINT/           complete, verified, read-only; or absent
//! publications/CHECKPOINT.json the journal: one record each, replaced whole
//! refused/CHECKPOINT.json      checkpoints that did not become one, and why
//! incumbents/COMMIT/           what the hotkey has committed, to compare with
//! transfers/                   what an interrupted upload needs to go on
//! ```
//!
//! Beside publishing there are [`upload()`] for a model directory by hand,
//! [`check()`] for a dry run, and [`status()`].
//!
//! Architecture invariant: a hotkey has one publisher. The coordinator lends it,
//! and nothing irreversible begins unless the coordinator has confirmed that
//! within seconds.
//!
//! Architecture invariant: the bytes that are hashed are the bytes that are
//! staged. They are read from the disk again after the download, and compared
//! with the coordinator's manifest; the Hub's are compared with them.
//!
//! Architecture invariant: with `--offline` no wallet is opened and neither Hub
//! nor chain is contacted.
//!
//! Architecture invariant: libtorch is not linked. Weights are looked at as
//! bytes, and scored by the worker's binary.
//!
//! [candidate]: Candidate
//! [gate]: Refusal
//! [inspected]: Inspected
//! [verdict]: Verdict

mod announced;
mod blocking;
mod candidate;
mod check;
mod clock;
pub mod commitment;
mod config;
mod crash;
mod error;
mod flags;
mod gate;
mod inspect;
mod journal;
mod online;
mod publisher;
mod stage;
mod state_dir;
mod status;
mod summary;
mod upload;

pub use candidate::Candidate;
pub use chain::Network;
pub use check::{Check, CheckConfig, Finding, Findings, check};
pub use config::{Chain, ComparisonConfig, Config, HubAccess, Online, Wallet};
pub use crash::Point;
pub use error::Error;
pub use flags::{CheckFlags, Command, Flags, PublishFlags, StatusFlags, UploadFlags};
pub use gate::{Comparison, Incumbent, Refusal, Verdict};
pub use inspect::Inspected;
pub use journal::{
    Committer, Ended, Intent, Mishaps, Publication, PublishedFile, RefusedCheckpoint, Stage,
    Waiting,
};
pub use publisher::run;
pub use status::{PublicationStatus, Status, status};
pub use summary::Summary;
pub use upload::{CommitConfig, UploadConfig, Uploaded, upload};
