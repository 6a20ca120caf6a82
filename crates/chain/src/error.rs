//! What can go wrong while reading the chain.

use crate::{Endpoint, Hash};

/// Why something could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainError {
    /// No endpoint was named.
    #[error("no chain endpoint is named: give at least one")]
    NoEndpoint,
    /// None of the endpoints could be connected to.
    #[error("no chain endpoint can be reached: {0}")]
    Unreachable(String),
    /// An endpoint belongs to another chain than the one read so far.
    #[error(
        "{endpoint} is a node of another chain (its genesis is {found:?}, and that of the first \
         endpoint is {expected:?}): name endpoints of one chain"
    )]
    OtherChain {
        /// The endpoint.
        endpoint: Endpoint,
        /// Its genesis.
        found: Hash,
        /// The genesis of the chain read so far.
        expected: Hash,
    },
    /// A request failed, was not answered in time, or was answered with an error.
    #[error("{endpoint}: {doing}: {reason}")]
    Request {
        /// The endpoint.
        endpoint: Endpoint,
        /// What was being read.
        doing: String,
        /// What the node or the connection said.
        reason: String,
    },
    /// The runtime has not what is to be read.
    #[error(
        "{endpoint}: the chain's runtime (version {spec_version}) has no {missing}; it is another \
         kind of chain, or has changed beyond what this program knows"
    )]
    Missing {
        /// The endpoint.
        endpoint: Endpoint,
        /// The runtime's version.
        spec_version: u32,
        /// What it lacks.
        missing: String,
    },
    /// The bytes read are not what the runtime's own metadata says, or not the kind
    /// of thing expected.
    #[error("{endpoint}: the chain's runtime (version {spec_version}): {doing}: {reason}")]
    Layout {
        /// The endpoint.
        endpoint: Endpoint,
        /// The runtime's version.
        spec_version: u32,
        /// What was being read.
        doing: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such subnet.
    #[error("there is no subnet {0} on this chain: check --netuid and --subtensor.network")]
    NoSubnet(u16),
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same attempt would fail again.
    Fatal,
    /// The same attempt may succeed a little later.
    Retry,
}

impl ChainError {
    /// What to do about it.
    ///
    /// Bytes that cannot be decoded count as passing, because storage that an
    /// upgrade of the runtime has yet to migrate looks the same for one block.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            ChainError::Unreachable(_) | ChainError::Request { .. } | ChainError::Layout { .. } => {
                Class::Retry
            }
            ChainError::NoEndpoint
            | ChainError::OtherChain { .. }
            | ChainError::Missing { .. }
            | ChainError::NoSubnet(_) => Class::Fatal,
        }
    }

    /// Whether the same attempt would fail again.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.class() == Class::Fatal
    }
}
