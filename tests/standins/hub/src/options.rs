//! How a Hub starts, and why it may not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::CasError;

/// How a Hub starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of its state; made if it is not there.
    pub state_dir: PathBuf,
    /// Its address; port 0 takes a free one. The CAS's address is on the same
    /// interface, on a free port.
    pub listen: SocketAddr,
    /// The account that its tokens belong to.
    pub namespace: String,
    /// The organizations that the account may write to.
    pub organizations: Vec<String>,
    /// A token with the role `write`.
    pub token: String,
}

impl Options {
    /// A Hub on a free port of the loopback interface, with the account `standin`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Options {
        Options {
            state_dir: state_dir.into(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            namespace: "standin".to_owned(),
            organizations: Vec::new(),
            token: "hf_standinStandinStandinStandinStand".to_owned(),
        }
    }
}

/// Why a Hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its runtime did not.
    #[error("the runtime did not start: {0}")]
    Runtime(#[source] io::Error),
    /// Its address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// Its state cannot be read or written.
    #[error("the state in {} cannot be opened: {source}", dir.display())]
    State {
        /// The folder.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Its content store did not start.
    #[error(transparent)]
    Cas(#[from] CasError),
}
