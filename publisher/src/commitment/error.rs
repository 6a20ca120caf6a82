//! Why a chain string is not on the chain.

use chain::{ChainError, DispatchFailure, PoolRefusal, Quota};
use subnet::{Account, MAX_CHAIN_BYTES};

use super::Pending;

/// Why a chain string is not on the chain, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// It does not fit into a commitment.
    #[error("the chain string has {0} bytes, and a commitment holds 1 to {MAX_CHAIN_BYTES}")]
    Length(usize),
    /// The hotkey has no place in the subnet.
    #[error(
        "{hotkey} is not registered on subnet {netuid}, and the chain takes commitments of \
         registered hotkeys alone: register it (btcli subnet register), or check --wallet.hotkey, \
         --netuid and --subtensor.network"
    )]
    NotRegistered {
        /// The hotkey.
        hotkey: Account,
        /// The subnet.
        netuid: u16,
    },
    /// The hotkey has committed so much that the chain would refuse more now.
    #[error("the chain would take no commitment now: {quota}")]
    Quota {
        /// How much was used, and of what.
        quota: Quota,
        /// The first block in which the chain would take it; `None` if that cannot
        /// be told.
        until: Option<u64>,
    },
    /// The chain executed the call, and it failed. Nothing was committed.
    #[error("the chain refused the commitment in block {block}: {failure}")]
    Dispatch {
        /// The block.
        block: u64,
        /// The pallet's error.
        failure: DispatchFailure,
        /// What to do about it.
        class: Class,
    },
    /// The node would never take such a transaction.
    #[error("the chain refuses the transaction: {0}{advice}", advice = .1.map(|advice| format!("; {advice}")).unwrap_or_default())]
    Refused(PoolRefusal, Option<&'static str>),
    /// The runtime's `set_commitment` is not the call that is known.
    #[error(
        "the chain's runtime (version {spec_version}) does not take a commitment as this program \
         writes it ({reason}): look for a newer version of this program"
    )]
    Unencodable {
        /// The runtime's version.
        spec_version: u32,
        /// What does not fit.
        reason: String,
    },
    /// The transaction succeeded, but the chain holds something else.
    #[error(
        "the commitment was made in block {block}, but the chain now says {found}: does another \
         program commit with this hotkey?"
    )]
    ReadBack {
        /// The block of the successful transaction.
        block: u64,
        /// What the chain says, in words.
        found: String,
    },
    /// It took too long. A transaction may still be included.
    #[error("{reason}{}", describe_pending(pending.as_ref()))]
    Unfinished {
        /// What happened last, in words.
        reason: String,
        /// The transaction whose fate is not known, if there is one. Hand it to the
        /// next attempt.
        pending: Option<Pending>,
    },
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same attempt would fail again; a person has to do something.
    Fatal,
    /// Wait, and try again.
    Wait {
        /// The first block in which it makes sense; `None` if that cannot be told.
        until: Option<u64>,
    },
    /// Try again a little later.
    Retry,
}

impl CommitError {
    /// What to do about it. After any of them the next attempt is safe: it reads
    /// first.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            CommitError::Length(_)
            | CommitError::NotRegistered { .. }
            | CommitError::Refused(..)
            | CommitError::Unencodable { .. }
            | CommitError::ReadBack { .. } => Class::Fatal,
            CommitError::Quota { until, .. } => Class::Wait { until: *until },
            CommitError::Dispatch { class, .. } => *class,
            CommitError::Unfinished { .. } => Class::Retry,
            CommitError::Chain(error) => match error.class() {
                chain::Class::Fatal => Class::Fatal,
                chain::Class::Retry => Class::Retry,
            },
        }
    }

    /// The transaction whose fate is not known, for the next attempt's
    /// [`Options::pending`](super::Options::pending).
    #[must_use]
    pub fn pending(&self) -> Option<&Pending> {
        match self {
            CommitError::Unfinished { pending, .. } => pending.as_ref(),
            _ => None,
        }
    }
}

fn describe_pending(pending: Option<&Pending>) -> String {
    pending.map_or_else(String::new, |pending| {
        format!(
            "; transaction {} may still be included, up to block {}",
            pending.hash, pending.last_block
        )
    })
}
