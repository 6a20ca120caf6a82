//! `cargo xtask simulate`: random histories of a whole cluster in simulated time.
//!
//! The suite runs a few thousand schedules; this runs as many as are asked for,
//! and tells one again.

use clap::Args;

use crate::build::{self, cargo};
use crate::workspace::Workspace;

/// Run random histories of a whole cluster in simulated time, and check the rules
/// that each must keep: never two live generations, every sequence trained once,
/// no two leaders' writes, progress once the trouble is over.
///
/// Exits with 1 when a rule is broken, and tells what happened, in words, with no
/// more faults than it takes.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many schedules
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    schedules: u64,

    /// The seed of the first schedule; the others' follow it
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Tell the history of this seed's schedule instead
    #[arg(long, value_name = "SEED", conflicts_with_all = ["schedules", "seed", "json"])]
    replay: Option<u64>,

    /// With --replay: keep faults without which the same rule breaks too
    #[arg(long, requires = "replay")]
    whole: bool,

    /// Compile with optimisation first: worth it for millions
    #[arg(long)]
    release: bool,
}

/// Runs `cargo xtask simulate`.
pub(crate) fn run(workspace: &Workspace, args: &SimulateArgs) -> anyhow::Result<()> {
    let mut command = cargo(workspace);
    command.args(["run", "--quiet", "--package", "simulation"]);
    if args.release {
        command.arg("--release");
    }
    command.arg("--");
    match args.replay {
        Some(seed) => {
            command.args(["--replay", &seed.to_string()]);
            if args.whole {
                command.arg("--whole");
            }
        }
        None => {
            command.args(["--schedules", &args.schedules.to_string()]);
            command.args(["--seed", &args.seed.to_string()]);
            if args.json {
                command.arg("--json");
            }
        }
    }
    build::run(&mut command)
}
