//! `cargo xtask check-cuda`: the worker for GPUs, as far as a machine without
//! one can tell.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::build::{self, cargo};
use crate::progress::section;
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

/// Libraries that the worker must ask for itself. Without them the linker left
/// the GPU code out, and nobody would notice before the first GPU.
const NEEDED: [&str; 2] = ["libtorch_cuda.so", "libtorch_cpu.so"];

/// The driver's library, which comes with the GPU.
const DRIVER: &str = "libcuda.so.1";

/// Runs `cargo xtask check-cuda`.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cuda)?;
    section("compiling and linking the worker with --features cuda");
    // Apart from the CPU build, which would be thrown away by other features.
    let target = workspace.target.join("cuda");
    build::run(
        cargo(workspace)
            .args(["build", "--package", "worker", "--bins"])
            .args(["--features", "cuda"])
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let worker = target.join("debug/worker");

    section("what the worker is linked with");
    let needed = output(Command::new("readelf").arg("--dynamic").arg(&worker))?;
    let libraries = needed_libraries(&needed);
    println!("the worker asks for {}", libraries.join(", "));
    for library in NEEDED {
        if !libraries.contains(&library) {
            bail!("the worker does not ask for {library}: it was linked without its GPU code");
        }
    }
    let resolved = output(Command::new("ldd").arg(&worker))?;
    let missing = missing_libraries(&resolved);
    let (driver, others): (Vec<&str>, Vec<&str>) =
        missing.into_iter().partition(|library| *library == DRIVER);
    if !others.is_empty() {
        bail!("not found at run time: {}", others.join(", "));
    }
    println!("every library that it asks for is found");
    if driver.is_empty() {
        let version = output(Command::new(&worker).arg("--version"))?;
        println!("it starts: {}", version.trim());
    }
    if Path::new("/dev/nvidiactl").exists() {
        println!("this machine has a GPU: now run the tests with --features cuda");
    } else {
        println!(
            "not run, for want of a GPU: training on one, NCCL between several, and the tests \
             that the feature `cuda` adds"
        );
    }
    Ok(())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The libraries of lines such as `0x01 (NEEDED) Shared library: [libm.so.6]`.
fn needed_libraries(readelf: &str) -> Vec<&str> {
    readelf
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(library, _)| library)
        .collect()
}

/// The libraries of lines such as `libx.so.1 => not found`.
fn missing_libraries(ldd: &str) -> Vec<&str> {
    let mut missing: Vec<&str> = ldd
        .lines()
        .filter_map(|line| line.split_once("=> not found"))
        .map(|(library, _)| library.trim())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_from_readelf() {
        let text = "\
 0x0000000000000001 (NEEDED)             Shared library: [libtorch_cuda.so]
 0x000000000000001d (RUNPATH)            Library runpath: [/x/lib]
 0x0000000000000001 (NEEDED)             Shared library: [libm.so.6]
";
        assert_eq!(needed_libraries(text), ["libtorch_cuda.so", "libm.so.6"]);
    }

    #[test]
    fn missing_libraries_are_read_from_ldd() {
        let text = "\tlibm.so.6 => /lib/libm.so.6 (0x1)\n\tlibnccl.so.2 => not found\n";
        assert_eq!(missing_libraries(text), ["libnccl.so.2"]);
        assert!(missing_libraries("\tstatically linked\n").is_empty());
    }
}
