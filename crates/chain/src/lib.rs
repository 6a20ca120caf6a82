//! Reads a subnet from the chain: who is registered, who earns what, and what
//! each miner has committed.
//!
//! The mental model: a [`Chain`] is a connection that mends itself, to the first
//! of several endpoints that answers. What is read is read at one finalized block:
//! [`Chain::finalized`] gives a [`View`] of it, and all that one view says is true
//! at the same moment. Reading through the [`Chain`] directly takes a new view each
//! time. [`FinalizedHeads`] follows the chain as it grows, and notices when a
//! subscription has died without a word.
//!
//! Names, types and hashers come from the metadata of the block that is read, and
//! are read again whenever the runtime's version changes, so an upgrade of the
//! runtime needs no new program and no reconnection. What strangers have committed
//! is decoded by a pure function ([`decode_commitment`]) that has words for
//! everything it cannot read.
//!
//! Architecture invariant: nothing here can sign. There is no key and no signer in
//! this crate; [`View::submit`] passes on bytes that someone else signed.
//!
//! Architecture invariant: no request waits for ever. Each has the deadline of
//! [`ChainConfig::request_timeout`], and an endpoint that breaks or is silent is
//! left for the next one.
//!
//! Architecture invariant: nothing is generated from a runtime's metadata at
//! compile time; the runtime changes every few weeks.

mod chain;
mod commitments;
mod config;
mod decode;
mod error;
mod heads;
mod inclusion;
mod link;
mod neurons;
mod quota;
mod submit;
mod view;

pub use chain::Chain;
pub use commitments::Commitment;
pub use config::{ChainConfig, Endpoint, EndpointError, Network};
pub use decode::{CommitmentData, decode_commitment, decode_stored};
pub use error::{ChainError, Class};
pub use heads::FinalizedHeads;
pub use inclusion::{DispatchFailure, Inclusion};
pub use neurons::{Metagraph, Neuron};
pub use quota::{Quota, QuotaRule};
pub use submit::{PoolRefusal, PoolStatus, PoolWatch, SubmitError};
/// A hash of a block or of an extrinsic.
pub use subxt::utils::H256 as Hash;
pub use view::{Block, View};

/// The configuration of subxt that fits Bittensor's chain: accounts of 32 bytes,
/// addresses that are accounts, BLAKE2b-256.
pub type Config = subxt::PolkadotConfig;

/// How often the chain makes a block.
pub const BLOCK_TIME: std::time::Duration = std::time::Duration::from_secs(12);
