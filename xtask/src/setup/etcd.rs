//! A real etcd for the store's tests, from the system's package archive.
//!
//! The package is unpacked into this clone and not installed: no rights are
//! needed, and no service is started that would outlive the tests.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use local_cluster::EtcdServer;

use crate::interrupt;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Debian's and Ubuntu's name for the server alone.
const PACKAGE: &str = "etcd-server";

/// Brings etcd unless there is one. Whoever cannot have it is told what that
/// means, and goes on without.
pub(crate) fn ensure(workspace: &Workspace) -> Option<PathBuf> {
    if let Some(binary) = EtcdServer::find() {
        return Some(binary);
    }
    if let Err(error) = bring(workspace) {
        eprintln!(
            "NO ETCD: {error:#}\nthe store's tests on etcd will be skipped, each with a line that \
             says so; install {PACKAGE}, or name etcd's binary in PEREGRINE_ETCD"
        );
    }
    EtcdServer::find()
}

fn bring(workspace: &Workspace) -> anyhow::Result<()> {
    let scratch = workspace.scratch();
    // A name of its own, for another set-up may do the same.
    let partial = scratch.join(format!("etcd.partial-{}", std::process::id()));
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let brought = download_and_unpack(&partial, &scratch.join("etcd"));
    let removed = fs::remove_dir_all(&partial);
    brought?;
    removed.with_context(|| format!("cannot remove {}", partial.display()))
}

fn download_and_unpack(partial: &Path, folder: &Path) -> anyhow::Result<()> {
    let progress = Progress::start(&format!("apt-get brings {PACKAGE}"));
    if download(partial, &[]).is_err() {
        // The system's lists are missing or old; ours need no rights.
        let own_lists = own_lists(partial)?;
        run(apt_get(partial, &own_lists).arg("update"))?;
        download(partial, &own_lists)?;
    }
    let package = fs::read_dir(partial)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get left no package")?;
    let content = partial.join("content");
    run(Command::new("dpkg").arg("-x").arg(&package).arg(&content))?;
    run(Command::new(content.join("usr/bin/etcd")).arg("--version"))?;
    match fs::rename(&content, folder) {
        // Another set-up was quicker.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        other => other.with_context(|| format!("cannot make {}", folder.display()))?,
    }
    progress.finish(&format!("etcd is in {}", folder.display()));
    Ok(())
}

fn download(partial: &Path, options: &[String]) -> anyhow::Result<()> {
    run(apt_get(partial, options).args(["download", PACKAGE]))
}

/// Lists of packages below `partial` instead of the system's.
fn own_lists(partial: &Path) -> anyhow::Result<Vec<String>> {
    let option = |name: &str, folder: &str| {
        let path = partial.join(folder);
        fs::create_dir_all(path.join("partial"))?;
        Ok(format!("{name}={}", path.display()))
    };
    let options = [
        option("Dir::State::Lists", "lists"),
        option("Dir::Cache", "cache"),
    ];
    options
        .into_iter()
        .collect::<std::io::Result<_>>()
        .context("cannot make folders for lists of packages")
}

fn apt_get(folder: &Path, options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(folder).arg("--quiet");
    // The user that apt would become cannot write here.
    command.args(["-o", "APT::Sandbox::User=root"]);
    for option in options {
        command.args(["-o", option]);
    }
    command
}

/// Runs a program whose output matters only when it fails.
fn run(command: &mut Command) -> anyhow::Result<()> {
    interrupt::check()?;
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed ({}): {}", output.status, said.trim())
}
