//! Running pip, with progress that any version of it gives: the bytes that have
//! arrived on disk.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::pins::{self, Wheel};
use crate::interrupt;
use crate::progress::{Progress, megabytes};

/// Lines of pip's output that an error shows.
const SHOWN: usize = 15;

/// Installs wheels, and nothing that they depend on, into an empty folder.
/// `scratch` takes what pip writes on the way.
pub(crate) fn install(wheels: &[Wheel], folder: &Path, scratch: &Path) -> anyhow::Result<()> {
    let log = scratch.join("pip.log");
    let temporary = scratch.join("tmp");
    fs::create_dir_all(&temporary)?;
    let output = fs::File::create(&log)?;
    let names: Vec<String> = wheels.iter().map(|wheel| wheel.requirement()).collect();
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "install", "--no-deps", "--no-compile"])
        .args(["--disable-pip-version-check", "--no-input"])
        .args(["--root-user-action", "ignore"])
        .args(wheel_tags())
        .arg("--target")
        .arg(folder)
        .args(&names)
        // On the disk that was asked for its free space, and watched below.
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);

    let mut progress = Progress::start(&format!("pip brings {}", names.join(", ")));
    let mut child = command.spawn().context("cannot run python3 -m pip")?;
    let mut looked = Instant::now();
    let status = interrupt::wait(&mut child, || {
        if looked.elapsed() >= Duration::from_millis(500) {
            let bytes = bytes_below(folder) + bytes_below(&temporary);
            progress.show(format!("{} · {}", megabytes(bytes), activity(&log)));
            looked = Instant::now();
        }
    })?;
    if !status.success() {
        bail!(
            "pip could not bring {}; the last it said:\n{}",
            names.join(", "),
            last_lines(&log)
        );
    }
    progress.finish(&format!(
        "installed {} ({})",
        names.join(", "),
        megabytes(bytes_below(folder))
    ));
    Ok(())
}

/// The same wheels on every machine, whatever Python runs pip.
fn wheel_tags() -> Vec<String> {
    let mut tags = vec![
        "--only-binary=:all:".to_owned(),
        "--implementation=cp".to_owned(),
        format!("--python-version={}", pins::PYTHON),
        "--platform=manylinux2014_x86_64".to_owned(),
    ];
    // glibc 2.17 is manylinux2014; torch itself is built for 2.28.
    tags.extend(
        (17..=28)
            .rev()
            .map(|minor| format!("--platform=manylinux_2_{minor}_x86_64")),
    );
    tags
}

/// Bytes of all files below a folder; files that vanish meanwhile do not count.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What pip does right now, in its words.
fn activity(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("starting")
        .to_owned()
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_at_every_depth() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("one"), "1").unwrap();
        fs::write(folder.path().join("a/b/three"), "123").unwrap();
        assert_eq!(bytes_below(folder.path()), 4);
        assert_eq!(bytes_below(&folder.path().join("absent")), 0);
    }

    #[test]
    fn the_wheels_do_not_depend_on_the_python_that_runs_pip() {
        let tags = wheel_tags();
        assert!(tags.contains(&"--python-version=3.11".to_owned()));
        assert!(tags.contains(&"--platform=manylinux_2_28_x86_64".to_owned()));
    }
}
