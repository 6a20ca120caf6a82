use std::ptr;

use crate::ffi;

/// Why an operation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The generation was ended by [`AbortHandle::abort`](crate::AbortHandle::abort),
    /// with this reason.
    #[error("aborted: {0}")]
    Aborted(String),
    /// A deadline passed: a peer is slow, stopped, or out of reach.
    #[error("timed out: {0}")]
    Timeout(String),
    /// A connection to a peer ended: its process is gone.
    #[error("a peer is gone: {0}")]
    PeerLost(String),
    /// Another failure of the transport.
    #[error("communication failed: {0}")]
    Transport(String),
    /// A request that can never succeed.
    #[error("{0}")]
    Invalid(String),
    /// An NCCL communicator could not be aborted in time. The device is of no use to
    /// this process any more: leave with [`exit_now`](crate::exit_now).
    #[error("abort did not finish: {0}")]
    AbortHung(String),
    /// libtorch refused or failed an operation that involves no peer.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl Error {
    /// Whether the group is to blame rather than the request: the way on is a new
    /// generation.
    pub fn ends_generation(&self) -> bool {
        matches!(
            self,
            Self::Aborted(_) | Self::Timeout(_) | Self::PeerLost(_) | Self::Transport(_)
        )
    }
}

/// Runs a C function that reports through a [`ffi::Error`].
pub(crate) fn checked<T>(call: impl FnOnce(*mut ffi::Error) -> T) -> Result<T, Error> {
    let mut error = ffi::Error {
        code: ffi::OK,
        message: ptr::null_mut(),
    };
    let value = call(&mut error);
    if error.code == ffi::OK {
        return Ok(value);
    }
    let message = ffi::take_text(error.message).unwrap_or_default();
    Err(match error.code {
        ffi::ABORTED => Error::Aborted(message),
        ffi::TIMEOUT => Error::Timeout(message),
        ffi::PEER_LOST => Error::PeerLost(message),
        ffi::TRANSPORT => Error::Transport(message),
        ffi::INVALID => Error::Invalid(message),
        ffi::ABORT_HUNG => Error::AbortHung(message),
        _ => Error::Torch(message),
    })
}
