//! Everything that defines a run, validated once, and its identity.
//!
//! The mental model: a run is one value, a [`RunConfig`]. The coordinator builds
//! it from flags in two stages, so that as much as possible is refused before
//! any network is asked: [`RunArgs`] and the chosen model become [`Settings`],
//! and these with the data set that was found become the [`RunConfig`]. From
//! then on it does not change. It is kept and sent to workers as JSON, and
//! [`RunConfig::identity`] is a digest of all in it that a resume may not change.
//!
//! A [`Recipe`] fills in how to train where flags do not say; each of its parts
//! has a flag of its own.
//!
//! Resuming goes the same way, except that flags which are not given take their
//! values from the stored run, and [`RunConfig::resumed_as`] refuses what
//! contradicts it, flag by flag.
//!
//! Architecture invariant: what is local to a machine (device, precision,
//! addresses, folders) is no part of a run, and no part of this crate. The path
//! of local data is kept for convenience, and is no part of the identity.
//!
//! Architecture invariant: nothing here does any IO but reading the config.json
//! that `--model_config` names.

mod args;
mod config;
mod data;
mod error;
mod optimization;
mod recipe;
mod resume;
mod settings;

pub use args::{RunArgs, ScheduleKind};
pub use config::{Init, RunConfig};
pub use data::{DataManifest, PACKING_VERSION, ROWS_PER_PAGE, Source};
pub use error::RunError;
pub use optimization::{AdamW, Decay, Schedule};
pub use recipe::{Recipe, scratch_learning_rate, untuned_warmup_steps};
pub use resume::{Contradiction, contradictions};
pub use settings::{Dataset, LoadedModel, Settings};
