//! The flags of `publisher check`.

use std::path::PathBuf;

use clap::Args;
use client::{Address, Addresses};
use subnet::RepoId;

use super::DEFAULT_STATE_DIR;
use super::comparison::ComparisonFlags;
use super::outside::{ChainFlags, HubFlags, WalletFlags};
use crate::check::CheckConfig;

/// The flags of the dry run.
#[derive(Args, Clone, Debug)]
pub struct CheckFlags {
    /// The coordinator whose checkpoints are to be published; without this, it
    /// is not looked at. Of several, separated by commas or given again, the one
    /// that leads is asked.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    coordinator: Vec<Address>,

    /// The repository on the Hugging Face Hub.
    #[arg(long = "hf_repo_id", value_name = "NS/NAME")]
    hf_repo_id: RepoId,

    /// The comparison with what the hotkey has committed.
    #[command(flatten)]
    comparison: ComparisonFlags,

    /// The Hub.
    #[command(flatten)]
    hub: HubFlags,

    /// The chain.
    #[command(flatten)]
    chain: ChainFlags,

    /// The wallet.
    #[command(flatten)]
    wallet: WalletFlags,

    /// The folder that the publisher will work in. Nothing is written there.
    #[arg(
        long = "state-dir",
        value_name = "DIR",
        default_value = DEFAULT_STATE_DIR
    )]
    state_dir: PathBuf,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl CheckFlags {
    /// What is to be checked.
    pub fn into_config(self) -> CheckConfig {
        CheckConfig {
            coordinators: Addresses::of(self.coordinator),
            repo: self.hf_repo_id,
            hub: self.hub.access(),
            chain: self.chain.chain(),
            chain_endpoints: self.chain.chain_endpoint.clone(),
            wallet: self.wallet.wallet(),
            password: self.wallet.password(),
            comparison: self.comparison.comparison(&self.wallet.password()),
            state_dir: self.state_dir,
        }
    }
}
