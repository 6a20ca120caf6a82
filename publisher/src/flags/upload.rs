//! The flags of `publisher upload`.

use std::path::PathBuf;

use clap::Args;
use cli::Refused;
use client::{Address, Addresses};
use subnet::{Criteria, RepoId};

use super::DEFAULT_STATE_DIR;
use super::outside::{ChainFlags, HubFlags, WalletFlags, token_is_needed};
use crate::upload::{CommitConfig, UploadConfig};

/// The flags of uploading a model by hand.
#[derive(Args, Clone, Debug)]
pub struct UploadFlags {
    /// The model directory, as transformers writes it.
    #[arg(long = "load_model_dir", value_name = "DIR")]
    load_model_dir: PathBuf,

    /// The repository on the Hugging Face Hub. Namespace and name may have 41
    /// characters together: the chain has no room for more.
    #[arg(long = "hf_repo_id", value_name = "NS/NAME")]
    hf_repo_id: RepoId,

    /// Hold the model to what the subnet demanded at this block of its chain;
    /// without this, to its newest demands. GPT-2 was allowed below block
    /// 2786061.
    #[arg(long = "criteria-block", value_name = "BLOCK")]
    criteria_block: Option<u64>,

    /// A running coordinator, which makes sure that no other publisher uses the
    /// hotkey meanwhile. Without it, only other publishers on this machine are
    /// noticed. Of several, separated by commas or given again, the one that leads
    /// is asked.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    coordinator: Vec<Address>,

    /// The Hub.
    #[command(flatten)]
    hub: HubFlags,

    /// The chain.
    #[command(flatten)]
    chain: ChainFlags,

    /// The wallet. When one is named, the upload is committed on the chain.
    #[command(flatten)]
    wallet: WalletFlags,

    /// Where the staged copy and the journal are kept.
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

impl UploadFlags {
    /// Checks what can be checked before anything starts.
    ///
    /// # Errors
    /// [`Refused`] when the Hub's token is missing or the state folder cannot
    /// be written to.
    pub fn into_config(self) -> Result<UploadConfig, Refused> {
        let hub = self.hub.access();
        token_is_needed(&hub)?;
        cli::writable_directory("--state-dir", &self.state_dir)?;
        Ok(UploadConfig {
            model_dir: self.load_model_dir,
            repo: self.hf_repo_id,
            criteria: Criteria::at_block(self.criteria_block.unwrap_or(u64::MAX)),
            coordinators: Addresses::of(self.coordinator),
            hub,
            commit: self.wallet.names_one().then(|| CommitConfig {
                chain: self.chain.chain(),
                chain_endpoints: self.chain.chain_endpoint.clone(),
                wallet: self.wallet.wallet(),
                password: self.wallet.password(),
                hotkey_in_hash: self.chain.use_hotkey_in_hash,
            }),
            state_dir: self.state_dir,
        })
    }
}
