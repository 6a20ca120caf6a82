//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cli::Refused;
use client::{Address, RetryPolicy};
use subnet::{Criteria, RepoId};

use crate::config::{Chain, Config, Network, Wallet};

/// Exit codes, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  the run is complete (whether or not its best checkpoint was published: the
     summary says which, and why), or a first SIGINT or SIGTERM asked to stop
  1  something failed: a full disk, a refusal by the coordinator
  2  a flag, a folder or a contradiction between them was refused
  4  the coordinator was out of reach for longer than --give-up-after";

/// Watches a coordinator and takes its best checkpoint towards the Hub and the chain.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "publisher",
    version,
    after_long_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Flags {
    /// Something other than publishing.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to publish, when there is no subcommand.
    #[command(flatten)]
    pub publish: PublishFlags,
}

/// What a publisher's binary does beside publishing.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Shows the publications of a state folder and what each waits for, also
    /// while a publisher works there.
    Status(StatusFlags),
}

/// The flags of `publisher status`.
#[derive(Args, Clone, Debug)]
pub struct StatusFlags {
    /// The publisher's state folder.
    #[arg(long = "state-dir", value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

const DEFAULT_STATE_DIR: &str = "publisher-state";

/// The flags of publishing.
#[derive(Args, Clone, Debug)]
pub struct PublishFlags {
    /// The coordinator whose checkpoints are published.
    // Required, unless there is a subcommand: hence an Option.
    #[arg(
        long,
        value_name = "HOST:PORT",
        required = true,
        help_heading = "Coordinator"
    )]
    coordinator: Option<Address>,

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
    /// below this. No loss is below 0, so with the default nothing is ever
    /// published: say what is worth publishing. `inf` publishes whatever the loss.
    #[arg(
        long = "avg_loss_upload_threshold",
        value_name = "LOSS",
        default_value_t = 0.0,
        value_parser = loss_threshold,
        allow_negative_numbers = true,
        help_heading = "What is published"
    )]
    avg_loss_upload_threshold: f64,

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
    /// check and stage, and say what would be uploaded and committed.
    #[arg(long, help_heading = "Hub and chain")]
    offline: bool,

    /// The subnet on whose behalf is committed.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 9,
        help_heading = "Hub and chain"
    )]
    netuid: u16,

    /// The chain's network.
    #[arg(
        long = "subtensor.network",
        value_name = "NETWORK",
        value_enum,
        default_value_t = Network::Finney,
        help_heading = "Hub and chain"
    )]
    network: Network,

    /// The wallet that holds the hotkey. With --offline it is not opened.
    #[arg(
        long = "wallet.name",
        value_name = "NAME",
        default_value = "default",
        value_parser = wallet_part,
        help_heading = "Hub and chain"
    )]
    wallet_name: String,

    /// The hotkey that signs. With --offline it is not opened.
    #[arg(
        long = "wallet.hotkey",
        value_name = "NAME",
        default_value = "default",
        value_parser = wallet_part,
        help_heading = "Hub and chain"
    )]
    wallet_hotkey: String,

    /// The folder of all wallets.
    #[arg(
        long = "wallet.path",
        value_name = "DIR",
        default_value = "~/.bittensor/wallets",
        help_heading = "Hub and chain"
    )]
    wallet_path: PathBuf,

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
    /// [`Refused`], naming the flag and what to do, when --offline is missing
    /// or the state folder cannot be written to.
    pub fn into_config(self) -> Result<Config, Refused> {
        let required = |flag: &str| Refused::new(format!("{flag} is missing"));
        let coordinator = self
            .coordinator
            .ok_or_else(|| required("--coordinator HOST:PORT"))?;
        let repo = self
            .hf_repo_id
            .ok_or_else(|| required("--hf_repo_id NS/NAME"))?;
        if !self.offline {
            return Err(Refused::new(
                "publishing to the Hub and the chain is not part of this version; add --offline, \
                 which stages the checkpoint and prints the chain string",
            ));
        }
        cli::writable_directory("--state-dir", &self.state_dir)?;
        Ok(Config {
            coordinator,
            repo,
            loss_threshold: self.avg_loss_upload_threshold,
            criteria: Criteria::at_block(self.criteria_block.unwrap_or(u64::MAX)),
            state_dir: self.state_dir,
            chain: Chain {
                network: self.network,
                netuid: self.netuid,
            },
            wallet: Wallet {
                path: self.wallet_path,
                name: self.wallet_name,
                hotkey: self.wallet_hotkey,
            },
            patience: RetryPolicy {
                give_up_after: self.give_up_after.map(Duration::from_secs),
                ..RetryPolicy::PATIENT
            },
        })
    }
}

fn loss_threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(loss) if loss >= 0.0 => Ok(loss),
        _ => Err("a loss in nats per token is a number from 0 on, such as 3.2".to_owned()),
    }
}

fn wallet_part(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') || text == "." || text == ".." {
        return Err("it is the name of a file in the wallets' folder, not a path".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Flags, String> {
        let command = cli::spelling::either_way(Flags::command());
        let arguments = ["publisher"].iter().chain(flags);
        let matches = command
            .try_get_matches_from(arguments)
            .map_err(|error| error.to_string())?;
        clap::FromArgMatches::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    fn config(flags: &[&str]) -> Result<Config, String> {
        let state_dir = tempfile::tempdir().unwrap();
        let mut all = vec!["--state-dir", state_dir.path().to_str().unwrap()];
        all.extend(["--coordinator", "127.0.0.1:7400"]);
        all.extend(flags);
        let flags = parse(&all)?.publish;
        flags.into_config().map_err(|refused| refused.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn either_spelling_gives_the_same_settings() {
        let seed = [
            "--hf_repo_id",
            "ns/name",
            "--avg_loss_upload_threshold",
            "3.5",
        ];
        let hyphenated = [
            "--hf-repo-id",
            "ns/name",
            "--avg-loss-upload-threshold",
            "3.5",
        ];
        for flags in [seed, hyphenated] {
            let mut flags = flags.to_vec();
            flags.push("--offline");
            let config = config(&flags).unwrap();
            assert_eq!(config.repo.to_string(), "ns/name");
            assert!((config.loss_threshold - 3.5).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn what_is_not_said_is_as_documented() {
        let config = config(&["--hf_repo_id", "ns/name", "--offline"]).unwrap();
        assert_eq!(config.loss_threshold, 0.0);
        assert_eq!(config.chain.to_string(), "subnet 9 of finney");
        assert_eq!(config.criteria, Criteria::at_block(u64::MAX));
        assert_eq!(config.patience, RetryPolicy::PATIENT);
    }

    #[test]
    fn a_block_chooses_the_criteria() {
        let flags = [
            "--hf_repo_id",
            "ns/name",
            "--offline",
            "--criteria-block",
            "7",
        ];
        assert_eq!(config(&flags).unwrap().criteria, Criteria::at_block(7));
    }

    #[test]
    fn every_refusal_names_the_flag_and_the_remedy() {
        let long_name = format!("namespace/{}", "x".repeat(33));
        for (flags, said) in [
            (&["--hf_repo_id", "ns/name"][..], &["--offline"][..]),
            (&["--offline"], &["--hf_repo_id"]),
            (
                &["--offline", "--hf_repo_id", &long_name],
                &["--hf_repo_id", "room for 41", "at most 32"],
            ),
            (
                &["--offline", "--hf_repo_id", "name"],
                &["--hf_repo_id", "NAMESPACE/NAME"],
            ),
            (
                &["--avg_loss_upload_threshold", "NaN"],
                &["--avg_loss_upload_threshold", "such as 3.2"],
            ),
            (
                &["--avg_loss_upload_threshold", "-1"],
                &["--avg_loss_upload_threshold", "such as 3.2"],
            ),
            (&["--wallet.name", "../x"], &["--wallet.name", "not a path"]),
            (
                &["--subtensor.network", "mars"],
                &["--subtensor.network", "finney, test, local"],
            ),
        ] {
            let message = config(flags).unwrap_err();
            for part in said {
                assert!(message.contains(part), "{flags:?}: {message}");
            }
        }
    }

    #[test]
    fn status_needs_none_of_the_flags_of_publishing() {
        let flags = parse(&["status", "--json", "--state_dir", "x"]).unwrap();
        let Some(Command::Status(status)) = flags.command else {
            panic!("status is a subcommand");
        };
        assert!(status.json && status.state_dir.ends_with("x"));
    }
}
