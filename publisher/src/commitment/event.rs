//! What a commitment is given, what it tells on its way, and what it returns.

use std::fmt;
use std::time::Duration;

use super::Pending;

/// How a commitment is made.
#[derive(Clone)]
pub struct Options<'a> {
    /// In how many blocks, from the last finalized one on, the transaction may be
    /// included. It is rounded up to a power of two from 4 to 128.
    pub era_blocks: u64,
    /// How long the whole may take. Longer than the era, so that a doubt can end.
    pub deadline: Duration,
    /// A transaction that an earlier attempt left in doubt, in this process or in
    /// one before it. One of another hotkey, subnet or chain is left alone.
    pub pending: Option<Pending>,
    /// How many transactions for this string the chain has executed in vain, for a
    /// reason that may pass ([`CommitError::failed_in_passing`]).
    ///
    /// [`CommitError::failed_in_passing`]: super::CommitError::failed_in_passing
    pub failures: u32,
    /// Asked before each new signature; in words why there may be none. What was
    /// submitted before is followed to its end all the same.
    pub may_sign: &'a MaySign<'a>,
    /// Makes durable that a transaction is about to be submitted; in words why that
    /// cannot be. Then it is not submitted.
    pub journal: &'a Journal<'a>,
}

/// Whether another transaction may be signed, and if not, why, in words.
pub type MaySign<'a> = dyn Fn() -> Result<(), String> + Send + Sync + 'a;

/// Makes a transaction durable before it is submitted.
pub type Journal<'a> = dyn Fn(&Pending) -> Result<(), String> + Send + Sync + 'a;

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("era_blocks", &self.era_blocks)
            .field("deadline", &self.deadline)
            .field("pending", &self.pending)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    /// 64 blocks are 13 minutes: longer than a node that restarts or a burst of
    /// other transactions takes, and short enough to wait for when in doubt.
    fn default() -> Self {
        Self {
            era_blocks: 64,
            deadline: Duration::from_secs(20 * 60),
            pending: None,
            failures: 0,
            may_sign: &|| Ok(()),
            journal: &|_| Ok(()),
        }
    }
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A transaction is signed, and as durable as [`Options::journal`] makes it, and
    /// about to be submitted.
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
