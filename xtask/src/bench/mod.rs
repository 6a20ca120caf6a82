//! What can be measured, and how.
//!
//! Every comparison is a ratio of figures from one run, taken in turn.

mod coordinator;
mod recovery;
mod train;
mod upload;

use std::fs;

use clap::Subcommand;

use crate::workspace::Workspace;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Latency, memory and CPU of a coordinator with many simulated workers
    Coordinator(coordinator::CoordinatorArgs),
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
        BenchCommand::Coordinator(args) => coordinator::run(workspace, args),
        BenchCommand::Recovery(args) => recovery::run(workspace, args),
        BenchCommand::Train(args) => train::run(workspace, args),
        BenchCommand::Upload(args) => upload::run(workspace, args),
    }
}

/// The most memory that a running process has had resident, in bytes; 0 once
/// it has ended.
fn peak_resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map_or(0, |kibibytes| kibibytes << 10)
}
