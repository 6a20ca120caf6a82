//! publisher's entry point: flags in, exit code out.

use std::io::{self, Write as _};
use std::process::ExitCode;

use cli::Failure;
use publisher::{Command, Error, Flags, PublishFlags, StatusFlags};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    cli::main(|flags: Flags, shutdown| async move {
        match flags.command {
            Some(Command::Status(flags)) => status(&flags),
            None => publish(flags.publish, shutdown).await,
        }
    })
}

async fn publish(flags: PublishFlags, shutdown: CancellationToken) -> Result<(), Failure> {
    let json = flags.json;
    let config = flags.into_config()?;
    let summary = publisher::run(config, shutdown)
        .await
        .map_err(Error::into_failure)?;
    if json {
        print_line(&serde_json::to_string(&summary)?)
    } else {
        print_line(&summary.to_string())
    }
}

fn status(flags: &StatusFlags) -> Result<(), Failure> {
    let status = publisher::status(&flags.state_dir).map_err(Error::into_failure)?;
    if flags.json {
        print_line(&serde_json::to_string(&status)?)
    } else {
        print_line(&status.to_string())
    }
}

fn print_line(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{text}")?)
}
