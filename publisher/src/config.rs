//! What a publisher is told to do.

use std::fmt;
use std::path::PathBuf;

use client::{Address, RetryPolicy};
use subnet::{Criteria, RepoId};

/// A publisher's settings, checked as far as they can be without a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose checkpoints are published.
    pub coordinator: Address,
    /// The repository on the Hub.
    pub repo: RepoId,
    /// A checkpoint is published only if its evaluation loss, in nats per
    /// token, is below this.
    pub loss_threshold: f64,
    /// What validators demand.
    pub criteria: Criteria,
    /// Where downloads, staged directories and the journal are kept.
    pub state_dir: PathBuf,
    /// Where the chain string would be committed.
    pub chain: Chain,
    /// Who would sign it.
    pub wallet: Wallet,
    /// How long to keep trying while the coordinator does not answer.
    pub patience: RetryPolicy,
}

/// A subnet of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The chain's network.
    pub network: Network,
    /// The subnet's number.
    pub netuid: u16,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subnet {} of {}", self.netuid, self.network)
    }
}

/// A network of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// The main network.
    Finney,
    /// The test network.
    Test,
    /// A node on this machine.
    Local,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Finney => "finney",
            Network::Test => "test",
            Network::Local => "local",
        })
    }
}

/// A wallet's place, as Bittensor's tools lay wallets out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// The folder of all wallets.
    pub path: PathBuf,
    /// The wallet.
    pub name: String,
    /// The hotkey within it.
    pub hotkey: String,
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hotkey {} of wallet {}", self.hotkey, self.name)
    }
}
