//! What a commitment is given, what it tells on its way, and what it returns.

use std::time::Duration;

use super::Pending;

/// How a commitment is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// In how many blocks, from the last finalized one on, the transaction may be
    /// included. The chain rounds it up to a power of two, at least 4.
    pub era_blocks: u64,
    /// How long the whole may take. Longer than the era, so that a doubt can end.
    pub deadline: Duration,
    /// A transaction that an earlier attempt left in doubt, in this process or in
    /// one before it.
    pub pending: Option<Pending>,
}

impl Default for Options {
    /// 64 blocks are 13 minutes: longer than a node that restarts or a burst of
    /// other transactions takes, and short enough to wait for when in doubt.
    fn default() -> Self {
        Self {
            era_blocks: 64,
            deadline: Duration::from_secs(20 * 60),
            pending: None,
        }
    }
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A transaction is signed and about to be submitted. Whoever keeps a journal
    /// writes it down now.
    Submitting(Pending),
    /// A node has taken it.
    Accepted {
        /// The node.
        endpoint: String,
    },
    /// It is in a block that is not final yet.
    InBlock {
        /// The block's hash.
        block: String,
    },
    /// The block that it was in is no longer part of the chain.
    Retracted {
        /// The block's hash.
        block: String,
    },
    /// What became of it is not known; the finalized chain is asked.
    InDoubt {
        /// Why, in words.
        why: String,
        /// The last block in which it could still be included.
        until_block: u64,
    },
    /// Something went wrong, and another attempt follows.
    Again {
        /// Why, in words.
        why: String,
    },
}

/// A commitment that is on the finalized chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The block that the chain gives for it.
    pub block: u64,
    /// The transaction's hash, `0x…`; absent if it was found, not made.
    pub extrinsic: Option<String>,
    /// What the chain charged for it, in its smallest unit, if it says.
    pub fee: Option<u128>,
    /// Whether the chain held the string already.
    pub adopted: bool,
}
