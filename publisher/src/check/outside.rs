//! One function for each thing that publishing needs.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use chain::Chain;
use client::ConnectOptions;
use hub::{Hub, HubError, Repository, WriteAccess};
use subnet::{Account, MAX_CHAIN_BYTES};
use tokio::process::Command;
use tokio::time::timeout;
use wallet::{Hotkey, WalletLocation};

use super::{CheckConfig, Findings};
use crate::clock::{in_words, unix_ms};
use crate::gate::Scorer;
use crate::online::{self, Stop};
use crate::state_dir::StateDir;

/// How far a clock may be off before it is worth a word: transactions and
/// tokens tolerate minutes, and a finalized block is some half a minute old.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long the coordinator and the scorer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn hub(config: &CheckConfig, findings: &mut Findings) {
    const TOKEN: &str = "Hub token";
    if config.hub.token.is_none() {
        findings.missing(
            TOKEN,
            "HF_ACCESS_TOKEN is not set: make a token with write access in the Hub's settings, \
             under Access Tokens, and put it into the environment or into .env",
        );
    }
    let state = match StateDir::at(&config.state_dir) {
        Ok(state) => state,
        Err(error) => return findings.missing(TOKEN, error),
    };
    let reader = match online::open_hub(&config.hub, &state) {
        Ok((_, reader)) => reader,
        Err(error) => return findings.missing("Hub", error),
    };
    let access = match &config.hub.token {
        Some(_) => token(config, &reader, findings).await,
        None => WriteAccess::Unknown,
    };
    match reader.repository(&config.repo).await {
        Ok(found) => repository(config, found, &access, findings),
        Err(error) => findings.missing("Hub repository", with_advice(&error)),
    }
}

/// Whose it is, and whether it may write to the repository.
async fn token(config: &CheckConfig, reader: &Hub, findings: &mut Findings) -> WriteAccess {
    const TOKEN: &str = "Hub token";
    let account = match reader.whoami().await {
        Ok(account) => account,
        Err(error) => {
            findings.missing(TOKEN, with_advice(&error));
            return WriteAccess::Unknown;
        }
    };
    let access = account.may_write(&config.repo);
    let (name, repo) = (&account.name, &config.repo);
    match &access {
        WriteAccess::Yes => findings.ok(TOKEN, format!("{name}'s, which may write to {repo}")),
        WriteAccess::OnlyIfExists => findings.ok(
            TOKEN,
            format!("{name}'s, which may write to {repo} but not make it"),
        ),
        WriteAccess::No(why) => findings.missing(TOKEN, format!("{name}'s, and {why}")),
        WriteAccess::Unknown => findings.warning(
            TOKEN,
            format!("{name}'s; whether it may write to {repo}, only trying will tell"),
        ),
    }
    hub_clock(reader, findings).await;
    access
}

async fn hub_clock(reader: &Hub, findings: &mut Findings) {
    const CLOCK: &str = "Hub clock";
    let now = SystemTime::now();
    let there = match reader.clock().await {
        Ok(Some(there)) => there,
        Ok(None) => return findings.warning(CLOCK, "the Hub does not say what time it is"),
        Err(error) => return findings.missing(CLOCK, with_advice(&error)),
    };
    let (off, side) = match now.duration_since(there) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let found = format!("this machine's is {} {side} the Hub's", in_words(off));
    if off <= CLOCK_SKEW {
        findings.ok(CLOCK, found);
    } else {
        findings.warning(CLOCK, format!("{found}: set the clock"));
    }
}

fn repository(
    config: &CheckConfig,
    found: Option<Repository>,
    access: &WriteAccess,
    findings: &mut Findings,
) {
    const REPOSITORY: &str = "Hub repository";
    let repo = &config.repo;
    let Some(found) = found else {
        if *access == WriteAccess::OnlyIfExists {
            return findings.missing(
                REPOSITORY,
                format!("there is no {repo}, and the token may not make it: make it by hand"),
            );
        }
        let kind = if config.hub.private {
            "private"
        } else {
            "public"
        };
        findings.would(format!("make the {kind} repository {repo}"));
        return findings.ok(REPOSITORY, format!("there is no {repo} yet"));
    };
    if found.gated || found.disabled {
        return findings.missing(
            REPOSITORY,
            format!("{repo} is gated or switched off, and validators cannot read it"),
        );
    }
    match (found.private, config.hub.private) {
        (true, false) => findings.missing(
            REPOSITORY,
            format!(
                "{repo} is private, and validators cannot read it: make it public, or give \
                 --private if you will do so later"
            ),
        ),
        (true, true) => findings.warning(
            REPOSITORY,
            format!("{repo} is private: validators cannot read it until you make it public"),
        ),
        (false, _) => findings.ok(
            REPOSITORY,
            format!(
                "{repo} is public and has {} files of {:.1} MB in all",
                found.files.len(),
                found.bytes as f64 / 1e6
            ),
        ),
    }
}

fn with_advice(error: &HubError) -> String {
    match error.advice() {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// Opens the hotkey, and tells its address.
pub(super) fn wallet(config: &CheckConfig, findings: &mut Findings) -> Option<Account> {
    const WALLET: &str = "wallet";
    let wallet = &config.wallet;
    let opened = WalletLocation::new(&wallet.path, &wallet.name, &wallet.hotkey)
        .and_then(|location| Ok((Hotkey::open(&location, &config.password)?, location)));
    let ((hotkey, warnings), location) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            findings.missing(WALLET, error);
            return None;
        }
    };
    findings.ok(WALLET, format!("the {wallet} is {}", hotkey.account()));
    for warning in warnings {
        findings.warning(WALLET, warning);
    }
    if let Ok(Some(coldkey)) = wallet::coldkey(&location) {
        findings.ok(WALLET, format!("its coldkey is {coldkey}"));
    }
    Some(*hotkey.account())
}

pub(super) async fn chain(config: &CheckConfig, hotkey: Option<&Account>, findings: &mut Findings) {
    const CHAIN: &str = "chain";
    let chain_config = online::chain_config(&config.chain, &config.chain_endpoints);
    let chain = match Chain::connect(&chain_config).await {
        Ok(chain) => chain,
        Err(error) => return findings.missing(CHAIN, error),
    };
    match chain.finalized().await {
        Ok(view) => findings.ok(
            CHAIN,
            format!(
                "{} at block {}, runtime version {}",
                view.endpoint(),
                view.number(),
                view.spec_version()
            ),
        ),
        Err(error) => return findings.missing(CHAIN, error),
    }
    clock(&chain, findings).await;
    match hotkey {
        Some(hotkey) => on_the_chain(config, &chain, hotkey, findings).await,
        None => findings.warning("registration", "not looked at, since the wallet is missing"),
    }
}

async fn clock(chain: &Chain, findings: &mut Findings) {
    const CLOCK: &str = "clock";
    let block = match chain.finalized_block().await {
        Ok(block) => block,
        Err(error) => return findings.missing(CLOCK, error),
    };
    let now = unix_ms();
    let off = Duration::from_millis(now.abs_diff(block.timestamp_ms));
    let side = if now < block.timestamp_ms {
        "behind"
    } else {
        "ahead of"
    };
    let found = format!(
        "this machine's is {} {side} the chain's last finalized block",
        in_words(off)
    );
    if off <= CLOCK_SKEW {
        findings.ok(CLOCK, found);
    } else {
        findings.warning(
            CLOCK,
            format!("{found}: set the clock, or use a node that follows the chain"),
        );
    }
}

async fn on_the_chain(
    config: &CheckConfig,
    chain: &Chain,
    hotkey: &Account,
    findings: &mut Findings,
) {
    let netuid = config.chain.netuid;
    match chain.registration(netuid, hotkey).await {
        Ok(Some(uid)) => findings.ok("registration", format!("uid {uid} of {}", config.chain)),
        Ok(None) => findings.missing(
            "registration",
            format!(
                "{hotkey} is not registered on {}: register it",
                config.chain
            ),
        ),
        Err(error) => findings.missing("registration", error),
    }
    match chain.quota(netuid, hotkey).await {
        Ok(quota) if quota.allows(MAX_CHAIN_BYTES) => findings.ok("quota", quota),
        Ok(quota) => {
            findings.warning("quota", quota);
            match quota.next_allowed_block(MAX_CHAIN_BYTES) {
                Some(block) => findings.would(format!("wait for block {block} to commit")),
                None => findings.would("wait until the chain takes commitments again"),
            }
        }
        Err(error) => findings.missing("quota", error),
    }
    match chain.commitment(netuid, hotkey).await {
        Ok(Some(commitment)) => {
            let (data, block) = (&commitment.data, commitment.block);
            findings.ok("commitment", format!("{data} of block {block}"));
            if let Some(comparison) = &config.comparison {
                findings.would(format!(
                    "publish what is better than that by more than {}%",
                    comparison.better_by * 100.0
                ));
            }
        }
        Ok(None) => findings.ok("commitment", "none yet"),
        Err(error) => findings.missing("commitment", error),
    }
}

pub(super) async fn coordinator(config: &CheckConfig, findings: &mut Findings) {
    const COORDINATOR: &str = "coordinator";
    let Some(addresses) = &config.coordinators else {
        return findings.warning(
            COORDINATOR,
            "not looked at, since --coordinator is not given",
        );
    };
    let connection = match client::connect(addresses, &ConnectOptions::default()).await {
        Ok(connection) => connection,
        Err(error) => return findings.missing(COORDINATOR, error),
    };
    let mut operator = connection.operator();
    match timeout(ANSWER_TIMEOUT, operator.status(proto::v1::StatusRequest {})).await {
        Ok(Ok(answer)) => {
            let status = answer.into_inner();
            findings.ok(
                COORDINATOR,
                format!(
                    "{}: {}, {}",
                    connection.address(),
                    status.state,
                    status.detail
                ),
            );
        }
        Ok(Err(status)) => findings.missing(COORDINATOR, client::Error::call("Status", status)),
        Err(_) => findings.missing(
            COORDINATOR,
            format!("{addresses} does not answer within {ANSWER_TIMEOUT:?}"),
        ),
    }
}

pub(super) async fn scorer(config: &CheckConfig, findings: &mut Findings) {
    const SCORER: &str = "scorer";
    let Some(comparison) = &config.comparison else {
        return findings.ok(SCORER, "not needed with --publish-if-better-by off");
    };
    let scorer = match Scorer::find(comparison) {
        Ok(scorer) => scorer,
        Err(Stop::Fatal { reason, advice }) => {
            let advice = advice.unwrap_or_default();
            return findings.missing(SCORER, format!("{reason}: {advice}"));
        }
        Err(_) => return findings.missing(SCORER, "it cannot be looked for"),
    };
    let program = scorer.program().display();
    let running = Command::new(scorer.program())
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(ANSWER_TIMEOUT, running).await {
        Ok(Ok(output)) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
            findings.ok(SCORER, format!("{program}: {}", version.trim()));
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            findings.missing(SCORER, format!("{program} does not run: {}", said.trim()));
        }
        Ok(Err(error)) => findings.missing(SCORER, format!("{program}: {error}")),
        Err(_) => findings.missing(SCORER, format!("{program} does not answer")),
    }
}

/// Without making it.
pub(super) fn state_dir(config: &CheckConfig, findings: &mut Findings) {
    const STATE_DIR: &str = "state folder";
    let path = config.state_dir.display();
    if !config.state_dir.exists() {
        return findings.ok(STATE_DIR, format!("{path} would be made"));
    }
    match crate::status(&config.state_dir) {
        Ok(status) => findings.ok(
            STATE_DIR,
            format!("{path} has {} publications", status.publications.len()),
        ),
        Err(error) => findings.missing(STATE_DIR, error),
    }
}
