//! What set-up cannot bring: each is looked for before anything starts, and
//! missing ones are named with the command that brings them.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::pins;
use crate::Refused;
use crate::progress::megabytes;

/// libtorch's wheels are built for this C library and newer.
const GLIBC: (u32, u32) = (2, 28);

/// Only Linux on x86-64 has been built and tested.
pub(crate) fn platform() -> anyhow::Result<()> {
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    if (os, arch) == ("linux", "x86_64") {
        Ok(())
    } else {
        Err(Refused(format!(
            "this machine is {os} on {arch}; the pinned libtorch is for linux on x86_64"
        ))
        .into())
    }
}

/// A C++ compiler: libtorch's bindings are compiled on this machine.
pub(crate) fn compiler() -> anyhow::Result<()> {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    // CXX may carry flags or a wrapper: `ccache g++`.
    let mut words = compiler.split_whitespace();
    let program = words.next().unwrap_or("c++");
    if runs(Command::new(program).args(words).arg("--version")) {
        return Ok(());
    }
    Err(Refused(format!(
        "no C++ compiler: `{compiler}` does not run; install one (Debian, Ubuntu: \
         build-essential; Fedora: gcc-c++; without root: conda's gxx_linux-64) or name it in CXX"
    ))
    .into())
}

/// Python 3 with pip: it brings the wheels.
pub(crate) fn python_with_pip() -> anyhow::Result<()> {
    if !runs(Command::new("python3").arg("--version")) {
        return Err(Refused(
            "no Python: `python3` does not run; install Python 3 with pip (Debian, Ubuntu: \
             python3-pip)"
                .to_owned(),
        )
        .into());
    }
    if !runs(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Err(Refused(
            "python3 has no pip: run `python3 -m ensurepip --user`, or install python3-pip"
                .to_owned(),
        )
        .into());
    }
    Ok(())
}

/// A C library that libtorch can be loaded with.
pub(crate) fn c_library() -> anyhow::Result<()> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    // Where it cannot be asked, the linker will tell.
    match glibc_version(&text) {
        Some(version) if version < GLIBC => Err(Refused(format!(
            "the C library is {}; libtorch needs glibc {}.{} or newer",
            text.trim(),
            GLIBC.0,
            GLIBC.1
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Enough disk where the folder will be.
pub(crate) fn disk(folder: &Path, needed: u64) -> anyhow::Result<()> {
    fs::create_dir_all(folder).map_err(|error| {
        Refused(format!(
            "{}: {error}; libtorch is installed there, so it must be writable (or name another \
             folder in PEREGRINE_LIBTORCH)",
            folder.display()
        ))
    })?;
    let disk = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask for the free space of {}", folder.display()))?;
    let free = disk.f_bavail * disk.f_frsize;
    if free >= needed {
        return Ok(());
    }
    Err(Refused(format!(
        "{} has {} free and set-up needs {} for {}; free some, or name a folder on another disk \
         in PEREGRINE_LIBTORCH",
        folder.display(),
        megabytes(free),
        megabytes(needed),
        pins::CPU[0].requirement(),
    ))
    .into())
}

fn runs(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// From `glibc 2.36`.
fn glibc_version(text: &str) -> Option<(u32, u32)> {
    let version = text.trim().strip_prefix("glibc ")?;
    let mut parts = version.split('.').map(str::parse);
    match (parts.next()?, parts.next()?) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_version_is_understood() {
        assert_eq!(glibc_version("glibc 2.36\n"), Some((2, 36)));
        assert_eq!(glibc_version("glibc 2.36.9000"), Some((2, 36)));
        assert_eq!(glibc_version("musl"), None);
    }

    #[test]
    fn too_little_disk_names_the_folder_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        disk(folder.path(), 1).unwrap();
        let error = disk(folder.path(), u64::MAX).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&folder.path().display().to_string()),
            "{text}"
        );
        assert!(text.contains("PEREGRINE_LIBTORCH"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = disk(&file.join("below"), 1).unwrap_err();
        assert!(error.is::<Refused>(), "{error}");
    }
}
