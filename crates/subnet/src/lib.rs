//! What the pretraining subnet (netuid 9) demands of a published model.
//!
//! The mental model: a miner publishes a model in a repository on the Hugging
//! Face Hub and says so in one short string on the chain. The string is a
//! [`ModelId`]: which repository ([`RepoId`]), which commit of it ([`CommitId`])
//! and a hash over the files that make up the model ([`ModelHash`]). A validator
//! reads it, downloads that commit, hashes it again ([`hash_directory`]), checks
//! the model against what is allowed at the block of the string ([`Criteria`]),
//! evaluates it, and compares it with every other model ([`is_win`]). Who the miner
//! is says the [`Account`] of its hotkey.
//!
//! Strings on the chain are written by strangers: parsing them never panics, and
//! what it accepts is written back as the same string.
//!
//! Architecture invariant: nothing here talks to the Hub or the chain, and but
//! for [`hash_directory`] and [`ModelFacts::of`] nothing does any IO.
//!
//! Architecture invariant: no number of a later runtime or of a validator's
//! configuration is guessed; what is not known to have been in force is absent.

mod account;
mod commit;
mod contest;
mod criteria;
mod directory;
mod hash;
mod model_id;
mod repo;

pub use account::{Account, AccountError, SS58_PREFIX};
pub use commit::{CommitError, CommitId, PENDING_COMMIT};
pub use contest::{Contender, EPSILON_JANUARY_2024, EPSILON_LATER, is_win};
pub use criteria::{Criteria, ModelFacts, Violation, Vocabulary};
pub use directory::{FileDigest, HashedDirectory, hash_directory};
pub use hash::{HashError, ModelHash, ModelHashError};
pub use model_id::{MAX_CHAIN_BYTES, ModelId, ModelIdError};
pub use repo::{MAX_REPO_CHARACTERS, RepoError, RepoId};
