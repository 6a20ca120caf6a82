//! Where this repository and its build results are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The paths that the commands share.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built in.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace's root")?
            .to_path_buf();
        // <target>/<profile>/xtask: true whatever configuration moved it.
        let executable = env::current_exe().context("cannot find the running xtask")?;
        let target = executable
            .ancestors()
            .nth(2)
            .context("xtask was not started by `cargo xtask`")?
            .to_path_buf();
        Ok(Self { root, target })
    }

    /// What the commands make and nobody commits: corpus, logs, demo results.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join(".peregrine")
    }

    /// Where `.cargo/config.toml` looks for libtorch.
    pub(crate) fn libtorch(&self) -> PathBuf {
        self.root.join("libtorch")
    }
}
