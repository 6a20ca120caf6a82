//! The coordinator's entry point.

use coordinator::args::{Command, CoordinatorArgs};
use coordinator::commands;

fn main() -> std::process::ExitCode {
    cli::main(|args: CoordinatorArgs, shutdown| async move {
        match args.command {
            Some(Command::Status(args)) => commands::status(args, shutdown).await,
            Some(Command::Steps(args)) => commands::steps(args, shutdown).await,
            Some(Command::Events(args)) => commands::events(args, shutdown).await,
            Some(Command::Audit(args)) => commands::audit(args, shutdown).await,
            Some(Command::Backup(args)) => commands::backup(args, shutdown).await,
            Some(Command::Restore(args)) => commands::restore(args, shutdown).await,
            None => coordinator::run(args.lead, shutdown).await,
        }
    })
}
