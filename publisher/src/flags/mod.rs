//! The command line.

mod check;
mod comparison;
mod outside;
mod publish;
mod upload;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use check::CheckFlags;
pub use publish::PublishFlags;
pub use upload::UploadFlags;

/// Exit codes, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  the run is complete (whether or not its best checkpoint was published: the
     summary says which, and why), or a first SIGINT or SIGTERM asked to stop
  1  something failed that a person must mend: a full disk, a refusal by the Hub,
     the chain or the coordinator; the message says what to do
  2  a flag, a folder, the wallet or a contradiction between them was refused, or
     another publisher has the hotkey
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
    /// Uploads a model directory by hand: one commit on the Hub, verified; and
    /// its commitment on the chain, when a wallet is named.
    Upload(UploadFlags),
    /// Tries everything that publishing needs without writing anything, and
    /// says what would happen.
    Check(CheckFlags),
    /// Lists the places at which a test can kill this build, as JSON.
    #[command(name = "crash-points", hide = true)]
    CrashPoints,
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

fn loss_threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(loss) if loss >= 0.0 => Ok(loss),
        _ => Err("a loss in nats per token is a number from 0 on, such as 3.2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use client::RetryPolicy;
    use subnet::Criteria;

    use super::*;
    use crate::Config;

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
            (&["--offline"][..], &["--hf_repo_id"][..]),
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
                &["--publish-if-better-by", "1.5"],
                &["--publish-if-better-by", "such as 0.005"],
            ),
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
