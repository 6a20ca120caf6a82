//! Everything about this repository that is not compiling: set-up, the demo,
//! the tests, the benchmark.
//!
//! `cargo xtask` is an alias for running this program. It is compiled first,
//! on a machine that has nothing but Rust, a C++ compiler and Python with pip,
//! so it depends on little and never on libtorch. Each command is a module and
//! begins with [`setup::ensure`], which costs nothing when there is nothing to
//! do.
//!
//! Architecture invariant: standard output is for results (a summary, one JSON
//! object, the tests' lines); progress goes to standard error.

mod bench;
mod build;
mod chaos;
mod check_cuda;
mod demo;
mod follow;
mod fuzz;
mod interop;
mod interrupt;
mod kill_matrix;
mod plot;
mod progress;
mod python;
mod rehearse;
mod setup;
mod simulate;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Set-up, demo, tests and benchmark of Peregrine.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, about)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed, 2 refused (a flag, or something this machine lacks), \
130 interrupted.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring libtorch and the demo corpus, once
    Setup(setup::SetupArgs),
    /// Train a small model with a real cluster on this machine, in minutes
    Demo(demo::DemoArgs),
    /// Check formatting, lints and documentation, and run every test
    Test(test::TestArgs),
    /// Measure
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Disturb a running cluster at random, and check that nothing was lost
    Chaos(chaos::ChaosArgs),
    /// Train a small model and publish it to a local Hub and a development chain
    Rehearse(rehearse::RehearseArgs),
    /// Kill the publisher at every point of a publication, with many seeds
    KillMatrix(kill_matrix::KillMatrixArgs),
    /// Have huggingface_hub and transformers read what a rehearsal published
    Interop(interop::InteropArgs),
    /// Run random histories of a whole cluster in simulated time
    Simulate(simulate::SimulateArgs),
    /// Feed a million broken inputs to every parser of foreign input
    Fuzz(fuzz::FuzzArgs),
    /// Compile and link the worker for GPUs, on a machine that may have none
    CheckCuda,
}

/// Something this machine lacks, or a flag that makes no sense: trying again
/// without changing that is of no use. Leaves with exit code 2.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if interrupt::is_cause_of(&error) => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            let refused = error.chain().any(|cause| cause.is::<Refused>());
            ExitCode::from(if refused { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    interrupt::listen()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Setup(args) => setup::run(&workspace, &args),
        Command::Demo(args) => demo::run(&workspace, &args),
        Command::Test(args) => test::run(&workspace, &args),
        Command::Bench(command) => bench::run(&workspace, &command),
        Command::Chaos(args) => chaos::run(&workspace, &args),
        Command::Rehearse(args) => rehearse::run(&workspace, &args),
        Command::KillMatrix(args) => kill_matrix::run(&workspace, &args),
        Command::Interop(args) => interop::run(&workspace, &args),
        Command::Simulate(args) => simulate::run(&workspace, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::CheckCuda => check_cuda::run(&workspace),
    }
}
