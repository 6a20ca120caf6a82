//! The local Hub for tests as a program.
//!
//! ```text
//! standin-hub --state-dir DIR [--listen 127.0.0.1:0] [--address-file FILE]
//! ```
//!
//! It prints its endpoint on standard output once it accepts requests, and runs
//! until SIGTERM or SIGINT. Faults are set over HTTP, at `ENDPOINT/_standin/`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cli::{Failure, Refused};
use standin_hub::{Options, StandinHub};
use tempfile::NamedTempFile;

/// A local Hub for tests, in front of a real Xet CAS server.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to keep repositories and contents
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,

    /// The address to serve on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Keep the endpoint in this file while requests are accepted
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,

    /// The access token, of the role `write`
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// The account, under whose name repositories may be created
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

fn main() -> ExitCode {
    cli::main(|flags: Flags, shutdown| async move {
        let mut options = Options::new(flags.state_dir);
        options.listen = flags.listen;
        options.token = flags.token.unwrap_or(options.token);
        options.namespace = flags.namespace.unwrap_or(options.namespace);
        let hub = StandinHub::start(options).await?;
        if let Some(file) = &flags.address_file {
            write_whole(file, &format!("{}\n", hub.endpoint()))?;
        }
        println!("{}", hub.endpoint());
        shutdown.cancelled().await;
        hub.stop().await;
        if let Some(file) = &flags.address_file {
            // It is no longer true; someone may have removed it already.
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    })
}

/// Writes a file so that who sees it sees all of it.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let refused =
        |error: io::Error| Refused::new(format!("--address-file {}: {error}", path.display()));
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(refused)?;
    file.write_all(text.as_bytes()).map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}
