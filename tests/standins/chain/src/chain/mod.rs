//! The node's view of the chain: blocks, forks, finality, the pool.
//!
//! Architecture invariant: a pure state machine. It has no clock (whoever makes a
//! block says what time it is), no sockets and no tasks; what happened is read from it
//! as [`Notice`]s.

mod author;
mod block;
mod faults;
mod node;
mod pool;
mod state;

use subxt::utils::H256;

pub(crate) use self::block::{Block, Header, SLOT_MS, hex};
pub use self::faults::Returning;
pub(crate) use self::node::{Node, Rules, StateError};
pub(crate) use self::pool::Refused;
pub(crate) use self::state::State;

/// Something that subscribers hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A block was imported.
    NewBlock {
        hash: H256,
        parent: H256,
        changes_runtime: bool,
    },
    /// The best block is another one.
    Best { hash: H256 },
    /// Blocks became final, from the oldest; others were dropped with their forks.
    Finalized {
        hashes: Vec<H256>,
        pruned: Vec<H256>,
    },
    /// Something happened to an extrinsic.
    Extrinsic { extrinsic: H256, status: Status },
}

/// What a pool tells those who watch an extrinsic (`TransactionStatus` of
/// `sc-transaction-pool-api`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Future,
    Ready,
    Broadcast,
    InBlock { block: H256, index: usize },
    Retracted { block: H256 },
    FinalityTimeout { block: H256 },
    Finalized { block: H256, index: usize },
    Usurped(H256),
    Invalid,
}

impl Status {
    /// Whether nothing follows it.
    pub(crate) fn is_last(&self) -> bool {
        matches!(
            self,
            Self::FinalityTimeout { .. }
                | Self::Finalized { .. }
                | Self::Usurped(_)
                | Self::Invalid
        )
    }
}
