//! `cargo xtask rehearse`: the demo, published for real, to nowhere.
//!
//! The programs are the real ones, and so is what they do: the publisher opens
//! a wallet, uploads through Xet, verifies, signs, commits, and reads back. Only
//! Hub and chain are stand-ins on this machine, which behave by the documented
//! protocols of the real ones.

mod standins;
mod wallet;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use local_cluster::{Binaries, Cluster};
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::standins::{StandIn, TOKEN};
use crate::Refused;
use crate::build::{self, Profile};
use crate::demo;
use crate::follow::follow;
use crate::progress::section;
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

/// Namespace and name of the repository on the local Hub.
const NAMESPACE: &str = "peregrine";
const REPO: &str = "peregrine/rehearsal";
/// The subnet on the development chain.
const NETUID: u16 = 9;

/// Train a small model and publish it to a local Hub and a development chain.
///
/// Ends with `publisher status` and what the chain says was committed. Nothing
/// leaves this machine. Ctrl-C ends every process.
#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// Worker processes, which share this machine's cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,

    /// Seed of the initial weights and of the order of the pages
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Run the programs in this folder, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

impl RehearseArgs {
    /// The default rehearsal, for other commands.
    pub(crate) fn with_programs(programs: Option<PathBuf>) -> Self {
        Self {
            workers: 1,
            seed: 0,
            json: false,
            programs,
        }
    }
}

/// What a rehearsal did. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Rehearsed {
    /// What `publisher status --json` says at the end.
    pub(crate) status: Value,
    /// The chain string that the publisher read back.
    pub(crate) chain_string: String,
    /// The Hub's commit.
    pub(crate) commit: String,
    /// The block that the chain gives for the commitment.
    pub(crate) block: u64,
    /// The staged directory whose bytes were published: an absolute path.
    pub(crate) checkpoint_dir: PathBuf,
}

/// A finished rehearsal whose Hub and chain still serve.
pub(crate) struct Rehearsal {
    pub(crate) cluster: Cluster,
    pub(crate) hub: StandIn,
    pub(crate) repo: &'static str,
    pub(crate) rehearsed: Rehearsed,
    _chain: StandIn,
}

/// Runs `cargo xtask rehearse`.
pub(crate) fn run(workspace: &Workspace, args: &RehearseArgs) -> anyhow::Result<()> {
    let mut rehearsal = Rehearsal::perform(workspace, args)?;
    let rehearsed = &rehearsal.rehearsed;
    if args.json {
        println!("{}", serde_json::to_string(rehearsed)?);
    } else {
        println!("{}", rehearsal.status_in_words()?);
        println!(
            "read back from the chain, block {}: {}",
            rehearsed.block, rehearsed.chain_string
        );
    }
    rehearsal.hub.expect_running()
}

impl Rehearsal {
    /// Trains, publishes, and waits until all is read back.
    pub(crate) fn perform(workspace: &Workspace, args: &RehearseArgs) -> anyhow::Result<Self> {
        setup::ensure(workspace, Parts::Cpu)?;
        let binaries = match &args.programs {
            Some(folder) => Binaries::in_folder(
                &std::path::absolute(folder)?,
                "cargo build --workspace --bins",
            )
            .map_err(|error| Refused(format!("--programs: {error}")))?,
            None => build::programs_and_standins(workspace, Profile::Dev)?,
        };
        let folder = folder(workspace)?;
        section(&format!(
            "rehearsal: a cluster, a local Hub and a development chain; logs are in {}",
            folder.display()
        ));
        let mut hub = StandIn::hub(&binaries, &folder, NAMESPACE)?;
        let mut chain = StandIn::chain(&binaries, &folder, NETUID)?;
        let wallets = folder.join("wallets");
        wallet::write(&wallets)?;

        let mut cluster = Cluster::new(binaries, &folder)?;
        cluster.start_coordinator(&demo::coordinator_flags(workspace, args.workers, args.seed))?;
        let environment = [
            ("HF_ENDPOINT", hub.endpoint.as_str()),
            ("HF_ACCESS_TOKEN", TOKEN),
            ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ];
        cluster.start_online_publisher(&publisher_flags(&chain, &wallets), &environment)?;
        demo::start_workers(&mut cluster, args.workers)?;
        follow(&mut cluster, |_| false)?;
        hub.expect_running()?;
        chain.expect_running()?;
        let rehearsed = read_back(&cluster)?;
        Ok(Self {
            cluster,
            hub,
            repo: REPO,
            rehearsed,
            _chain: chain,
        })
    }

    fn status_in_words(&self) -> anyhow::Result<String> {
        let output = self
            .cluster
            .command("publisher")
            .args(["status", "--state-dir"])
            .arg(self.cluster.publisher_dir())
            .output()?;
        if !output.status.success() {
            bail!(
                "publisher status: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }
}

fn publisher_flags(chain: &StandIn, wallets: &Path) -> Vec<String> {
    let mut flags: Vec<String> = demo::WHAT_TO_PUBLISH.map(str::to_owned).into();
    for (flag, value) in [
        ("--hf_repo_id", REPO.to_owned()),
        ("--netuid", NETUID.to_string()),
        ("--subtensor.chain_endpoint", chain.endpoint.clone()),
        ("--wallet.path", wallets.display().to_string()),
        ("--wallet.name", wallet::NAME.to_owned()),
        ("--wallet.hotkey", wallet::NAME.to_owned()),
    ] {
        flags.push(format!("{flag}={value}"));
    }
    flags
}

/// The last publication of the journal, which must have come all the way.
fn read_back(cluster: &Cluster) -> anyhow::Result<Rehearsed> {
    let status: Value = cluster.ask(
        "publisher",
        [
            "status",
            "--json",
            "--state-dir",
            &cluster.publisher_dir().display().to_string(),
        ],
    )?;
    let publications = status["publications"].as_array();
    let last = publications
        .into_iter()
        .flatten()
        .rfind(|publication| publication["stage"] == "read_back")
        .with_context(|| format!("nothing was published and read back: {status:#}"))?;
    let text = |field: &str| {
        let value = last[field].as_str().map(str::to_owned);
        value.with_context(|| format!("publisher status has no {field}"))
    };
    let (chain_string, commit) = (text("chain_string")?, text("commit")?);
    let (checkpoint_dir, block) = (text("checkpoint_dir")?, last["block"].as_u64());
    Ok(Rehearsed {
        chain_string,
        commit,
        block: block.context("publisher status has no block")?,
        checkpoint_dir: checkpoint_dir.into(),
        status,
    })
}

/// An empty folder, in place of the last rehearsal's.
fn folder(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = workspace.scratch().join("rehearsal");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
