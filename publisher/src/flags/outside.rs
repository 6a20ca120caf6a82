//! Flags about Hub, chain and wallet, which several subcommands share.

use std::path::PathBuf;

use chain::{Endpoint, Network};
use clap::Args;
use cli::{Refused, hub_token};
use wallet::Password;

use crate::config::{Chain, HubAccess, Wallet};

/// The subnet, and where the chain is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Chain")]
pub(super) struct ChainFlags {
    /// The subnet on whose behalf is committed.
    #[arg(long, value_name = "NUMBER", default_value_t = 9)]
    pub(super) netuid: u16,

    /// The chain's network.
    #[arg(
        long = "subtensor.network",
        value_name = "NETWORK",
        value_enum,
        default_value_t = Network::Finney
    )]
    pub(super) network: Network,

    /// A node of the chain to talk to instead of the network's own, as a ws://
    /// or wss:// address. Given several times, the next is tried when one fails.
    #[arg(long = "subtensor.chain_endpoint", value_name = "URL")]
    pub(super) chain_endpoint: Vec<Endpoint>,

    /// Take the hash of the chain string over the hotkey's address too, so that
    /// a copy under another hotkey is recognised. Use it where validators do.
    #[arg(long = "use_hotkey_in_hash")]
    pub(super) use_hotkey_in_hash: bool,
}

impl ChainFlags {
    pub(super) fn chain(&self) -> Chain {
        Chain {
            network: self.network,
            netuid: self.netuid,
        }
    }
}

/// Where the hotkey is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Wallet")]
pub(super) struct WalletFlags {
    /// The wallet that holds the hotkey [default: default]. With --offline it
    /// is not opened.
    #[arg(long = "wallet.name", value_name = "NAME", value_parser = wallet_part)]
    name: Option<String>,

    /// The hotkey that signs [default: default]. With --offline it is not
    /// opened.
    #[arg(long = "wallet.hotkey", value_name = "NAME", value_parser = wallet_part)]
    hotkey: Option<String>,

    /// The folder of all wallets.
    #[arg(
        long = "wallet.path",
        value_name = "DIR",
        default_value = "~/.bittensor/wallets"
    )]
    path: PathBuf,

    /// File whose first line is the password of an encrypted hotkey; without
    /// this, it is asked for.
    #[arg(
        long = "wallet.password-file",
        value_name = "FILE",
        conflicts_with = "password_env"
    )]
    password_file: Option<PathBuf>,

    /// Variable of the environment (or of .env) that holds the password of an
    /// encrypted hotkey.
    #[arg(long = "wallet.password-env", value_name = "VARIABLE")]
    password_env: Option<String>,
}

impl WalletFlags {
    pub(super) fn wallet(&self) -> Wallet {
        let or_default = |name: &Option<String>| name.clone().unwrap_or("default".to_owned());
        Wallet {
            path: self.path.clone(),
            name: or_default(&self.name),
            hotkey: or_default(&self.hotkey),
        }
    }

    /// Whether a wallet was named at all.
    pub(super) fn names_one(&self) -> bool {
        self.name.is_some() || self.hotkey.is_some()
    }

    pub(super) fn password(&self) -> Password {
        match (&self.password_file, &self.password_env) {
            (Some(file), _) => Password::File(file.clone()),
            (None, Some(variable)) => Password::Env(variable.clone()),
            (None, None) => Password::Prompt,
        }
    }
}

/// The Hub, but for what must not stand on a command line: its token.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Hub")]
pub(super) struct HubFlags {
    /// Address of the Hub, such as a mirror's.
    #[arg(
        long = "hf-endpoint",
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = hub::DEFAULT_ENDPOINT
    )]
    endpoint: String,

    /// Make the repository private if it does not exist, and let it be private:
    /// validators cannot read it until you make it public.
    #[arg(long)]
    private: bool,
}

impl HubFlags {
    /// With the token, from the environment or `.env`.
    pub(super) fn access(&self) -> HubAccess {
        HubAccess {
            endpoint: self.endpoint.trim_end_matches('/').to_owned(),
            token: hub_token(),
            private: self.private,
        }
    }
}

pub(super) fn token_is_needed(access: &HubAccess) -> Result<(), Refused> {
    match access.token {
        Some(_) => Ok(()),
        None => Err(Refused::new(
            "HF_ACCESS_TOKEN is not set: make a token with write access in the Hub's settings, \
             under Access Tokens, and put HF_ACCESS_TOKEN=… into the environment or into .env \
             (--offline publishes nothing and needs none)",
        )),
    }
}

fn wallet_part(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') || text == "." || text == ".." {
        return Err("it is the name of a file in the wallets' folder, not a path".to_owned());
    }
    Ok(text.to_owned())
}
