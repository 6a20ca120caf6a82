//! Building the programs, with cargo's own progress.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use local_cluster::Binaries;

use crate::workspace::Workspace;
use crate::{interrupt, progress};

/// How the programs are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As `cargo build` does.
    Dev,
    /// For measuring.
    Release,
}

/// A cargo command in the workspace's root: the same cargo, with the same
/// configuration.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target);
    command
}

/// Runs a command to its end; an interrupt is passed on to it.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let mut child = command.spawn()?;
    let status = interrupt::wait(&mut child, || ())?;
    if !status.success() {
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        bail!("`cargo {}` failed ({status})", words.join(" "));
    }
    Ok(())
}

/// Builds coordinator, worker and publisher.
pub(crate) fn programs(workspace: &Workspace, profile: Profile) -> anyhow::Result<Binaries> {
    progress::section("building coordinator, worker and publisher");
    let mut command = cargo(workspace);
    command.args(["build", "--bins"]);
    // What `cargo build` builds by default, spelled out, so that the same
    // features are chosen and nothing is compiled twice.
    for package in ["coordinator", "worker", "publisher"] {
        command.args(["--package", package]);
    }
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    // Cargo's progress is for people; standard output is for results.
    run(&mut command)?;
    let folder: PathBuf = workspace.target.join(folder);
    Ok(Binaries::in_folder(&folder, "cargo build")?)
}
