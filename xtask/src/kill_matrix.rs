//! `cargo xtask kill-matrix`: the publisher, killed at every point of every
//! arrow, many times.
//!
//! The suite kills it once at each point. Here each seed adds trouble of its own:
//! a second kill while it makes good the first, and faults of Hub and chain.

use clap::Args;

use crate::build::{self, cargo};
use crate::progress::section;
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

/// Kill the publisher at every point of a publication, with many seeds, and
/// check that exactly one Hub commit and one chain commitment came of it.
#[derive(Debug, Args)]
pub(crate) struct KillMatrixArgs {
    /// Seeds for each crash point; each draws further kills and faults
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
}

/// Runs `cargo xtask kill-matrix`.
pub(crate) fn run(workspace: &Workspace, args: &KillMatrixArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    section(&format!("{} seeds for each crash point", args.seeds));
    let mut command = cargo(workspace);
    command
        .args(["test", "--package", "publisher", "--test", "publishing"])
        .args(["kills::", "--", "--nocapture"])
        .env("PEREGRINE_KILL_SEEDS", args.seeds.to_string());
    build::run(&mut command)
}
