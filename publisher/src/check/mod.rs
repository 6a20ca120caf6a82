//! `publisher check`: tries everything that publishing needs, and writes
//! nothing.

mod findings;
mod outside;

use std::path::PathBuf;

use client::Addresses;
use subnet::RepoId;
use wallet::Password;

pub use findings::{Check, Finding, Findings};

use crate::config::{Chain, ComparisonConfig, HubAccess, Wallet};

/// What is looked at.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// The coordinator, if it is to be looked at.
    pub coordinators: Option<Addresses>,
    /// The repository on the Hub.
    pub repo: RepoId,
    /// How the Hub is reached.
    pub hub: HubAccess,
    /// The subnet.
    pub chain: Chain,
    /// Nodes of the chain; none for the network's own.
    pub chain_endpoints: Vec<chain::Endpoint>,
    /// Who signs.
    pub wallet: Wallet,
    /// Where the hotkey's password comes from.
    pub password: Password,
    /// How a checkpoint is to be compared, if it is.
    pub comparison: Option<ComparisonConfig>,
    /// The folder that the publisher will work in.
    pub state_dir: PathBuf,
}

/// Looks at everything that publishing needs. What is missing is among the
/// findings; nothing that can be missing ends the check early.
pub async fn check(config: &CheckConfig) -> Findings {
    let mut findings = Findings::default();
    outside::hub(config, &mut findings).await;
    let hotkey = outside::wallet(config, &mut findings);
    outside::chain(config, hotkey.as_ref(), &mut findings).await;
    outside::coordinator(config, &mut findings).await;
    outside::scorer(config, &mut findings).await;
    outside::state_dir(config, &mut findings);
    findings.conclude(config);
    findings
}
