//! Python packages for the commands that compare us with others.
//!
//! They go into a folder of their own below `.peregrine/`; nothing of the
//! machine's Python is changed, and the test suite needs none of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::interrupt;
use crate::progress::{Progress, section};
use crate::workspace::Workspace;

/// Python with some packages at hand.
#[derive(Debug)]
pub(crate) struct Python {
    folder: PathBuf,
    libtorch: PathBuf,
}

impl Python {
    /// Brings packages, with what they need, into `.peregrine/NAME`, unless they
    /// are there. `check` is a line of Python that fails while something is
    /// missing.
    pub(crate) fn with(
        workspace: &Workspace,
        name: &str,
        requirements: &[&str],
        check: &str,
    ) -> anyhow::Result<Self> {
        let python = Self {
            folder: workspace.scratch().join(name),
            libtorch: workspace.libtorch(),
        };
        if python.succeeds(check)? {
            return Ok(python);
        }
        section(&format!("pip brings {}", requirements.join(", ")));
        fs::create_dir_all(&python.folder)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--target")
            .arg(&python.folder)
            .arg("--upgrade")
            .args(requirements)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let progress = Progress::start("installing");
        let mut child = pip.spawn().context("cannot run python3 -m pip")?;
        let status = interrupt::wait(&mut child, || ())?;
        progress.finish("installed");
        if !status.success() || !python.succeeds(check)? {
            bail!(
                "python3 cannot run `{check}` with {}",
                requirements.join(", ")
            );
        }
        Ok(python)
    }

    fn succeeds(&self, line: &str) -> anyhow::Result<bool> {
        let mut command = self.command();
        command
            .args(["-c", line])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("cannot run python3")?;
        Ok(interrupt::wait(&mut child, || ())?.success())
    }

    /// `python3` that finds these packages, and torch in the libtorch folder.
    pub(crate) fn command(&self) -> Command {
        let mut path = self.folder.clone().into_os_string();
        path.push(":");
        path.push(&self.libtorch);
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .stdin(Stdio::null());
        command
    }
}
