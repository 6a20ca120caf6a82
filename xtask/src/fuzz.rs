//! `cargo xtask fuzz`: foreign input by the million.
//!
//! Every parser of what strangers write (keyfiles, chain strings, commitments,
//! the Hub's answers) has a test target named `fuzz` in its crate. The suite
//! runs a few thousand cases of each; this runs as many as are asked for.

use clap::Args;

use crate::build::{self, cargo};
use crate::progress::section;
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

/// The crates that parse what strangers write.
const CRATES: [&str; 4] = ["subnet", "wallet", "chain", "hub"];

/// Feed a million broken inputs to every parser of foreign input.
///
/// Fails with the smallest input that a parser panics on, or misunderstands.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Cases for each parser
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,

    /// Only parsers whose test's name contains this
    filter: Option<String>,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(workspace: &Workspace, args: &FuzzArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    section(&format!("{} cases for each parser", args.cases));
    let mut command = cargo(workspace);
    command.args(["test", "--test", "fuzz"]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    command
        .args(args.filter.as_deref())
        .args(["--", "--nocapture"])
        .env("PEREGRINE_FUZZ_CASES", args.cases.to_string());
    build::run(&mut command)
}
