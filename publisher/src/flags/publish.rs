//! The flags of publishing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli::Refused;
use client::{Address, Addresses, RetryPolicy};
use subnet::{Criteria, RepoId};

use super::comparison::ComparisonFlags;
use super::outside::{ChainFlags, HubFlags, WalletFlags, token_is_needed};
use super::{DEFAULT_STATE_DIR, loss_threshold};
use crate::config::{Config, Online};

/// The flags of publishing.
#[derive(Args, Clone, Debug)]
pub struct PublishFlags {
    /// The coordinator whose checkpoints are published; of several, separated
    /// by commas or given again, the one that leads is found and followed.
    // Required, unless there is a subcommand.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        required = true,
        help_heading = "Coordinator"
    )]
    coordinator: Vec<Address>,

    /// Give up when the coordinator has been out of reach for so many seconds;
    /// without this, keep trying.
    #[arg(
        long = "give-up-after",
        value_name = "SECONDS",
        help_heading = "Coordinator"
    )]
    give_up_after: Option<u64>,

    /// The repository on the Hugging Face Hub. Namespace and name may have 41
    /// characters together: the chain has no room for more.
    #[arg(
        long = "hf_repo_id",
        value_name = "NS/NAME",
        required = true,
        help_heading = "What is published"
    )]
    hf_repo_id: Option<RepoId>,

    /// Publish a checkpoint only if its evaluation loss, in nats per token, is
    /// below this. `inf` publishes whatever the loss. By default there is no
    /// such threshold where --publish-if-better-by decides. Where nothing else
    /// does, with --offline or --publish-if-better-by off, it is 0, and since no
    /// loss is below 0, nothing is published until you say what is worth it.
    /// With both, a checkpoint must pass both.
    #[arg(
        long = "avg_loss_upload_threshold",
        value_name = "LOSS",
        value_parser = loss_threshold,
        allow_negative_numbers = true,
        help_heading = "What is worth publishing"
    )]
    avg_loss_upload_threshold: Option<f64>,

    /// What the hotkey has committed already.
    #[command(flatten)]
    comparison: ComparisonFlags,

    /// Hold models to what the subnet demanded at this block of its chain;
    /// without this, to its newest demands. GPT-2 was allowed below block
    /// 2786061.
    #[arg(
        long = "criteria-block",
        value_name = "BLOCK",
        help_heading = "What is published"
    )]
    criteria_block: Option<u64>,

    /// Do everything but the last steps, which need the network: download,
    /// check and stage, and say what would be uploaded and committed. Neither
    /// Hub nor chain is contacted and no wallet is opened.
    #[arg(long, help_heading = "What is published")]
    offline: bool,

    /// The Hub.
    #[command(flatten)]
    hub: HubFlags,

    /// The chain.
    #[command(flatten)]
    chain: ChainFlags,

    /// The wallet.
    #[command(flatten)]
    wallet: WalletFlags,

    /// Where downloads, staged checkpoints and the journal are kept. One
    /// publisher works in it at a time.
    #[arg(
        long = "state-dir",
        value_name = "DIR",
        default_value = DEFAULT_STATE_DIR,
        help_heading = "This machine"
    )]
    state_dir: PathBuf,

    /// When the run is complete, print one JSON object instead of text.
    #[arg(long, help_heading = "This machine")]
    pub json: bool,
}

impl PublishFlags {
    /// Checks what can be checked before anything starts.
    ///
    /// # Errors
    /// [`Refused`], naming the flag and what to do, when a flag or the Hub's
    /// token is missing or the state folder cannot be written to.
    pub fn into_config(self) -> Result<Config, Refused> {
        let required = |flag: &str| Refused::new(format!("{flag} is missing"));
        let coordinators =
            Addresses::of(self.coordinator).ok_or_else(|| required("--coordinator HOST:PORT"))?;
        let repo = self
            .hf_repo_id
            .ok_or_else(|| required("--hf_repo_id NS/NAME"))?;
        let online = match self.offline {
            true => None,
            false => Some(Online {
                hub: self.hub.access(),
                chain_endpoints: self.chain.chain_endpoint.clone(),
                password: self.wallet.password(),
                hotkey_in_hash: self.chain.use_hotkey_in_hash,
                comparison: self.comparison.comparison(&self.wallet.password()),
            }),
        };
        if let Some(online) = &online {
            token_is_needed(&online.hub)?;
        }
        let compared = online
            .as_ref()
            .is_some_and(|online| online.comparison.is_some());
        let by_default = if compared { f64::INFINITY } else { 0.0 };
        cli::writable_directory("--state-dir", &self.state_dir)?;
        Ok(Config {
            coordinators,
            repo,
            loss_threshold: self.avg_loss_upload_threshold.unwrap_or(by_default),
            criteria: Criteria::at_block(self.criteria_block.unwrap_or(u64::MAX)),
            state_dir: self.state_dir,
            chain: self.chain.chain(),
            wallet: self.wallet.wallet(),
            patience: RetryPolicy {
                give_up_after: self.give_up_after.map(Duration::from_secs),
                ..RetryPolicy::PATIENT
            },
            online,
        })
    }
}
