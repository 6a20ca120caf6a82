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

/// What `cargo build` builds by default, spelled out, so that the same features
/// are chosen and nothing is compiled twice.
const PROGRAMS: [&str; 3] = ["coordinator", "worker", "publisher"];
/// What stands in for Hub and chain.
const STAND_INS: [&str; 2] = ["standin-hub", "standin-chain"];

/// Whatever is measured. Another selection has other features, and compiles most
/// dependencies anew; so all of it is built for any of it.
const MEASURED: [&str; 6] = [
    "coordinator",
    "worker",
    "publisher",
    "standin-hub",
    "standin-chain",
    "standin-workers",
];

/// Builds coordinator, worker and publisher.
pub(crate) fn programs(workspace: &Workspace, profile: Profile) -> anyhow::Result<Binaries> {
    progress::section("building coordinator, worker and publisher");
    packages(workspace, profile, &PROGRAMS)
}

/// Builds them and the stand-ins.
pub(crate) fn programs_and_standins(
    workspace: &Workspace,
    profile: Profile,
) -> anyhow::Result<Binaries> {
    progress::section("building the programs and the stand-ins");
    packages(workspace, profile, &[&PROGRAMS[..], &STAND_INS].concat())
}

fn packages(
    workspace: &Workspace,
    profile: Profile,
    packages: &[&str],
) -> anyhow::Result<Binaries> {
    let folder = compile(workspace, profile, packages)?;
    Ok(Binaries::in_folder(&folder, "cargo build")?)
}

/// Builds the programs of these packages, and says in which folder they are.
pub(crate) fn compile(
    workspace: &Workspace,
    profile: Profile,
    packages: &[&str],
) -> anyhow::Result<PathBuf> {
    let mut packages = packages.to_vec();
    if profile == Profile::Release && packages.iter().all(|package| MEASURED.contains(package)) {
        packages = MEASURED.to_vec();
    }
    let mut command = cargo(workspace);
    command.args(["build", "--bins"]);
    for package in packages {
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
    Ok(workspace.target.join(folder))
}
