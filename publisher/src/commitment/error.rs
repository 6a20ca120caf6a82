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
        "{hotkey} is not registered on subnet {netuid}, and validators look at the commitments of \
         registered hotkeys alone, as does the chain: register it (btcli subnet register), or check --wallet.hotkey, \
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
    #[error("the chain refused the commitment in block {block}: {failure}{}", describe_failures(*.failures))]
    Dispatch {
        /// The block.
        block: u64,
        /// The pallet's error.
        failure: DispatchFailure,
        /// How many of the string's transactions have failed like this in all.
        failures: u32,
        /// What to do about it.
        class: Class,
    },
    /// No new transaction may be signed, and none is on its way.
    #[error("nothing is signed: {0}")]
    MayNotSign(String),
    /// A transaction could not be made durable, and so was not submitted.
    #[error("nothing is sent, since that could not be written down: {0}")]
    NotDurable(String),
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
    #[error("{reason}{}", describe_pending(pending.as_deref()))]
    Unfinished {
        /// What happened last, in words.
        reason: String,
        /// The transaction whose fate is not known, if there is one. Hand it to the
        /// next attempt.
        pending: Option<Box<Pending>>,
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
            | CommitError::NotDurable(_)
            | CommitError::Refused(..)
            | CommitError::Unencodable { .. }
            | CommitError::ReadBack { .. } => Class::Fatal,
            CommitError::MayNotSign(_) => Class::Retry,
            CommitError::Quota { until, .. } => Class::Wait { until: *until },
            CommitError::Dispatch { class, .. } => *class,
            CommitError::Unfinished { .. } => Class::Retry,
            CommitError::Chain(error) => match error.class() {
                chain::Class::Fatal => Class::Fatal,
                chain::Class::Retry => Class::Retry,
            },
        }
    }

    /// Whether the chain executed the transaction in vain, for a reason that may pass
    /// and may not. Whoever tries again counts these, in
    /// [`Options::failures`](super::Options::failures).
    #[must_use]
    pub fn failed_in_passing(&self) -> bool {
        matches!(
            self,
            CommitError::Dispatch {
                class: Class::Retry,
                ..
            }
        )
    }

    /// The transaction whose fate is not known, for the next attempt's
    /// [`Options::pending`](super::Options::pending).
    #[must_use]
    pub fn pending(&self) -> Option<&Pending> {
        match self {
            CommitError::Unfinished { pending, .. } => pending.as_deref(),
            _ => None,
        }
    }
}

fn describe_failures(failures: u32) -> String {
    match failures {
        0 | 1 => String::new(),
        several => format!("; {several} transactions have failed like this"),
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
