//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args as _, Command, CommandFactory, FromArgMatches};
use tokio_util::sync::CancellationToken;

use crate::dotenv::{self, DotenvError};
use crate::logs::{self, LogArgs};
use crate::{Exit, Failure, OrExit as _, Refused, shutdown, spelling};

/// How long threads that block (a file being hashed, a device call) may take to
/// end after the work has, before the process leaves without them.
const PATIENCE_WITH_THREADS: Duration = Duration::from_secs(5);

/// The whole `main` of a binary: parses the process's arguments into `A`, which
/// derives [`clap::Parser`], and runs `work` with them and with a token that is
/// cancelled when the process is asked to stop.
///
/// `A` need not mention logs: [`LogArgs`] are added to it.
///
/// ```no_run
/// # use clap::Parser;
/// #[derive(Parser)]
/// struct Flags {
///     #[arg(long)]
///     listen: std::net::SocketAddr,
/// }
///
/// fn main() -> std::process::ExitCode {
///     cli::main(|flags: Flags, shutdown| async move {
///         println!("would listen on {}", flags.listen);
///         shutdown.cancelled().await;
///         Ok(())
///     })
/// }
/// ```
pub fn main<A, W, F>(work: W) -> ExitCode
where
    A: CommandFactory + FromArgMatches,
    W: FnOnce(A, CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    run_from(std::env::args_os(), work).into()
}

/// [`main`] with arguments from elsewhere; the first is the program's name.
pub fn run_from<A, W, F>(arguments: impl IntoIterator<Item = OsString>, work: W) -> Exit
where
    A: CommandFactory + FromArgMatches,
    W: FnOnce(A, CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    // Before the arguments, which may take values from the environment.
    let environment = dotenv::load(Path::new("."));
    let result = match parse::<A>(arguments, environment) {
        Ok((flags, log_args)) => run(flags, &log_args, work),
        Err(Stop::Clap(help)) => return print_help(&help),
        Err(Stop::Failed(failure)) => Err(failure),
    };
    match result {
        Ok(()) => Exit::Success,
        Err(failure) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit()
        }
    }
}

/// Why there are no flags to run with.
enum Stop {
    /// clap has something to print: help that was asked for, or usage.
    Clap(clap::Error),
    Failed(Failure),
}

fn parse<A: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Result<Vec<String>, DotenvError>,
) -> Result<(A, LogArgs), Stop> {
    let mut command = spelling::either_way(with_log_args(A::command()));
    let parsed = command.try_get_matches_from_mut(arguments);
    match (parsed, environment) {
        // Whoever asks for help gets it, with a broken .env too.
        (Err(help), _) if !help.use_stderr() => Err(Stop::Clap(help)),
        // A flag may be missing just because .env could not give it.
        (_, Err(error)) => Err(Stop::Failed(Refused::because(error).into())),
        (Err(usage), Ok(_)) => Err(Stop::Clap(usage)),
        (Ok(matches), Ok(_)) => {
            let mut as_usage = |error: clap::Error| Stop::Clap(error.format(&mut command));
            let log_args = LogArgs::from_arg_matches(&matches).map_err(&mut as_usage)?;
            let flags = A::from_arg_matches(&matches).map_err(as_usage)?;
            Ok((flags, log_args))
        }
    }
}

/// Adds the log flags, without letting clap take their struct's documentation
/// for the description of the whole binary.
fn with_log_args(command: Command) -> Command {
    let about = command.get_about().cloned();
    let long_about = command.get_long_about().cloned();
    LogArgs::augment_args(command)
        .about(Resettable::from(about))
        .long_about(Resettable::from(long_about))
}

fn print_help(help: &clap::Error) -> Exit {
    // A closed pipe, as in `--help | head -1`, is no failure.
    let _ = help.print();
    if help.use_stderr() {
        Exit::Refused
    } else {
        Exit::Success
    }
}

fn run<A, W, F>(flags: A, log_args: &LogArgs, work: W) -> Result<(), Failure>
where
    W: FnOnce(A, CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    logs::start(log_args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Failure)?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signals()?;
        work(flags, shutdown).await
    });
    runtime.shutdown_timeout(PATIENCE_WITH_THREADS);
    result
}
