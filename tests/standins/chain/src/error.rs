//! Why a stand-in does not start, or does not do as told.

use std::io;
use std::net::SocketAddr;

/// Why a [`StandinChain`](crate::StandinChain) did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metadata that comes with the stand-in is not what it should be.
    #[error("the fixture with mainnet's metadata is unusable: {0}")]
    Metadata(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Why a [`Fault`](crate::Fault) was not injected.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A fork would replace final blocks.
    #[error("a fork of {0} blocks would replace final ones, or none at all")]
    TooDeep(u32),
    /// The metadata has no such error.
    #[error("the metadata has no error {0}; write it as Pallet.Error")]
    UnknownError(String),
    /// The next runtime cannot be made.
    #[error(transparent)]
    Runtime(#[from] StartError),
}
