//! What can be measured, and how.
//!
//! Every comparison is a ratio of figures from one run, taken in turn.

mod recovery;
mod train;
mod upload;

use clap::Subcommand;

use crate::workspace::Workspace;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How long a cluster stands still when it loses someone, beside torchrun
    Recovery(recovery::RecoveryArgs),
    /// Tokens per second of training, and where a step's time goes
    Train(train::TrainArgs),
    /// Throughput and memory of publishing 489 MB, beside huggingface_hub
    Upload(upload::UploadArgs),
}

/// Runs `cargo xtask bench`.
pub(crate) fn run(workspace: &Workspace, command: &BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Recovery(args) => recovery::run(workspace, args),
        BenchCommand::Train(args) => train::run(workspace, args),
        BenchCommand::Upload(args) => upload::run(workspace, args),
    }
}
