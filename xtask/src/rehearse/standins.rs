//! The local Hub and the development chain, as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use local_cluster::{Binaries, Process, wait_until};

use super::wallet;

/// How long a stand-in may take until it serves.
const START: Duration = Duration::from_secs(60);

/// A token that the local Hub knows. It opens nothing else.
pub(crate) const TOKEN: &str = "hf_rehearsal";

/// A running stand-in and where it listens.
#[derive(Debug)]
pub(crate) struct StandIn {
    process: Process,
    /// `http://…` or `ws://…`.
    pub(crate) endpoint: String,
}

impl StandIn {
    /// Starts the local Hub, with one account that owns `namespace`.
    pub(crate) fn hub(binaries: &Binaries, folder: &Path, namespace: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.path("standin-hub"));
        command.arg("--state-dir").arg(folder.join("hub")).args([
            "--token",
            TOKEN,
            "--namespace",
            namespace,
        ]);
        Self::start("standin-hub", command, folder)
    }

    /// Starts the development chain, with the rehearsal's hotkey registered.
    pub(crate) fn chain(binaries: &Binaries, folder: &Path, netuid: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.path("standin-chain"));
        command.args([
            "--block-ms",
            "500",
            "--netuid",
            &netuid.to_string(),
            "--register",
            wallet::ADDRESS,
        ]);
        Self::start("standin-chain", command, folder)
    }

    fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let address_file: PathBuf = folder.join(format!("{name}.address"));
        command
            .args(["--listen", "127.0.0.1:0", "--address-file"])
            .arg(&address_file)
            .env("HF_HUB_DISABLE_TELEMETRY", "1");
        let mut process = Process::start(name, &mut command, folder)?;
        let endpoint = wait_until(format!("{name} to serve"), START, || {
            process.expect_running()?;
            let written = fs::read_to_string(&address_file).ok();
            Ok(written.filter(|text| text.ends_with('\n')))
        })?;
        Ok(Self {
            process,
            endpoint: endpoint.trim().to_owned(),
        })
    }

    /// Fails if it has ended.
    pub(crate) fn expect_running(&mut self) -> anyhow::Result<()> {
        Ok(self.process.expect_running()?)
    }
}
