//! `cargo xtask test`: everything that must hold before a change lands.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::build::{self, cargo};
use crate::interrupt;
use crate::progress::{duration, section};
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

/// Check formatting, lints and documentation, and run every test.
///
/// The last line says how it ended, over all of it:
/// `test result: ok. N passed; 0 failed; K ignored`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Run tests only: no formatting, lints, documentation or licences
    #[arg(long)]
    no_lint: bool,

    /// Run only tests whose names contain this
    filter: Option<String>,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    setup::ensure(workspace, Parts::Cpu)?;
    let has_etcd = setup::etcd::ensure(workspace).is_some();
    if !args.no_lint {
        checks(workspace)?;
    }
    section("building");
    // Cluster tests run the programs; one invocation builds them with the very
    // features that the tests are built with, so nothing is compiled twice.
    build::run(cargo(workspace).args(["build", "--workspace", "--all-targets"]))?;
    section("tests");
    let (counts, succeeded) = tests(workspace, args.filter.as_deref())?;
    eprintln!("\ntook {}", duration(started.elapsed().as_secs_f64()));
    if !has_etcd {
        println!("SKIPPED: the store's tests on etcd, for there is no etcd; see above");
    }
    if succeeded && counts.failed == 0 {
        println!("{}", counts.line("ok"));
        Ok(())
    } else {
        if counts.failed == 0 {
            println!("a test program ended without a result; see above");
        }
        println!("{}", counts.line("FAILED"));
        std::process::exit(1)
    }
}

fn checks(workspace: &Workspace) -> anyhow::Result<()> {
    section("formatting");
    build::run(cargo(workspace).args(["fmt", "--all", "--check"]))
        .context("run `cargo fmt --all`")?;
    section("lints");
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    build::run(cargo(workspace).args(lints))?;
    section("documentation");
    let documentation = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    build::run(
        cargo(workspace)
            .args(documentation)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    licences(workspace)
}

/// `cargo deny`, where it is installed and the workspace configures it.
fn licences(workspace: &Workspace) -> anyhow::Result<()> {
    section("licences and sources of dependencies");
    if !workspace.root.join("deny.toml").is_file() {
        eprintln!("skipped: there is no deny.toml");
        return Ok(());
    }
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        eprintln!("skipped: cargo-deny is not installed (cargo install cargo-deny)");
        return Ok(());
    }
    // Advisories need the network, and change without a change here.
    build::run(cargo(workspace).args(["deny", "--offline", "check", "bans", "licenses", "sources"]))
}

/// Runs every test; passes their lines on as they come.
fn tests(workspace: &Workspace, filter: Option<&str>) -> anyhow::Result<(Counts, bool)> {
    let mut command = cargo(workspace);
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(filter)
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;
    let Some(output) = child.stdout.take() else {
        bail!("cargo test has no standard output");
    };
    // Read apart, so that an interrupt is noticed while nothing is printed.
    let lines = thread::spawn(move || pass_on(output));
    let status = interrupt::wait(&mut child, || ())?;
    let counts = lines
        .join()
        .map_err(|_| anyhow::anyhow!("the tests' output could not be read"))?;
    Ok((counts, status.success()))
}

/// Prints what the tests print and sums their results.
fn pass_on(output: impl std::io::Read) -> Counts {
    let mut counts = Counts::default();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add(&line);
    }
    counts
}

/// Sums over test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`;
    /// other lines add nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn line(&self, word: &str) -> String {
        format!(
            "test result: {word}. {} passed; {} failed; {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_over_all_programs() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test ok ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            counts.add(line);
        }
        assert_eq!(
            counts.line("FAILED"),
            "test result: FAILED. 5 passed; 1 failed; 1 ignored"
        );
    }
}
