//! publisher's entry point: flags in, exit code out.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use cli::Failure;
use publisher::{Command, Error, Flags, Point, PublishFlags};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    cli::main(|flags: Flags, shutdown| async move {
        match flags.command {
            None => publish(flags.publish, shutdown).await,
            Some(Command::Status(flags)) => {
                let status = publisher::status(&flags.state_dir).map_err(Error::into_failure)?;
                print(&status, flags.json)
            }
            Some(Command::Upload(flags)) => {
                let json = flags.json;
                let uploaded = publisher::upload(flags.into_config()?, shutdown).await;
                print(&uploaded.map_err(Error::into_failure)?, json)
            }
            Some(Command::Check(flags)) => {
                let json = flags.json;
                let config = flags.into_config();
                let checking = publisher::check(&config);
                let Some(findings) = shutdown.run_until_cancelled(checking).await else {
                    return Ok(());
                };
                print(&findings, json)?;
                match findings.missing_count() {
                    0 => Ok(()),
                    missing => Err(Error::NotReady(missing).into_failure()),
                }
            }
            Some(Command::CrashPoints) => {
                let names: Vec<_> = Point::compiled_in().iter().map(|at| at.name()).collect();
                print_line(&serde_json::to_string(&names)?)
            }
        }
    })
}

async fn publish(flags: PublishFlags, shutdown: CancellationToken) -> Result<(), Failure> {
    let json = flags.json;
    let config = flags.into_config()?;
    let summary = publisher::run(config, shutdown)
        .await
        .map_err(Error::into_failure)?;
    print(&summary, json)
}

fn print(what: &(impl Serialize + Display), json: bool) -> Result<(), Failure> {
    if json {
        print_line(&serde_json::to_string(what)?)
    } else {
        print_line(&what.to_string())
    }
}

fn print_line(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{text}")?)
}
