//! What a publisher is told to do.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use chain::{Endpoint, Network};
use cli::Secret;
use client::{Addresses, RetryPolicy};
use subnet::{Criteria, RepoId};
use wallet::Password;

/// A publisher's settings, checked as far as they can be without a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose checkpoints are published.
    pub coordinators: Addresses,
    /// The repository on the Hub.
    pub repo: RepoId,
    /// A checkpoint is published only if its evaluation loss, in nats per
    /// token, is below this.
    pub loss_threshold: f64,
    /// What validators demand.
    pub criteria: Criteria,
    /// Where downloads, staged directories and the journal are kept.
    pub state_dir: PathBuf,
    /// Where the chain string is committed.
    pub chain: Chain,
    /// Who signs it.
    pub wallet: Wallet,
    /// How long to keep trying while the coordinator does not answer.
    pub patience: RetryPolicy,
    /// How to reach Hub and chain; none with `--offline`, which ends with a
    /// staged directory.
    pub online: Option<Online>,
}

/// What publishing needs beyond staging.
#[derive(Clone, Debug)]
pub struct Online {
    /// The Hub.
    pub hub: HubAccess,
    /// Nodes of the chain; none for the network's own.
    pub chain_endpoints: Vec<Endpoint>,
    /// Where the hotkey's password comes from.
    pub password: Password,
    /// Whether the chain string's hash is taken over the hotkey too.
    pub hotkey_in_hash: bool,
    /// How a checkpoint is compared with what the hotkey has committed; none
    /// publishes without comparing.
    pub comparison: Option<ComparisonConfig>,
}

/// How the Hub is reached.
#[derive(Clone, Debug)]
pub struct HubAccess {
    /// Its address.
    pub endpoint: String,
    /// The token of the account that publishes.
    pub token: Option<Secret>,
    /// Whether the repository may be private, and is made so.
    pub private: bool,
}

/// How a checkpoint is compared with the model that its hotkey has committed.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonConfig {
    /// By which fraction its loss must be lower.
    pub better_by: f64,
    /// The worker's binary, which scores; none for the one beside this binary,
    /// or on the PATH.
    pub scorer: Option<PathBuf>,
    /// How many pages are scored; none for as many as the run evaluates on.
    pub pages: Option<NonZeroU32>,
    /// The device to score on.
    pub device: String,
    /// Where this machine keeps the run's local dataset, if not where the
    /// coordinator does.
    pub data: Option<PathBuf>,
    /// The run's tokenizer, if not GPT-2's.
    pub tokenizer: Option<PathBuf>,
    /// The variable of the environment that holds the hotkey's password, which
    /// the scorer is not given.
    pub password_env: Option<String>,
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
