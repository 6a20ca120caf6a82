//! The worker's entry point.

use std::time::Duration;

use worker::args::{Command, WorkerArgs};

/// How long collectives that were given up on may take to end.
const REAPER_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> std::process::ExitCode {
    c10d::configure_nccl();
    c10d::keep_freed_memory();
    let exit = cli::run_from(
        std::env::args_os(),
        |args: WorkerArgs, shutdown| async move {
            match args.command {
                Some(Command::Score(args)) => worker::score::run(args, shutdown).await,
                None => worker::run(args.train, shutdown).await,
            }
        },
    );
    if !c10d::join_reaper(REAPER_PATIENCE) {
        c10d::exit_now(exit.code().into());
    }
    exit.into()
}
