//! What a worker refuses before it asks the coordinator anything: exit code 2,
//! the flag by name, and a remedy.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::TcpListener;
use std::process::Command;

fn refused(arguments: &[&str], named: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for name in named {
        assert!(
            said.contains(name),
            "{arguments:?} does not say {name}: {said}"
        );
    }
}

/// An address at which nobody listens: a worker that got so far would wait.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn no_coordinator() {
    refused(&["--device", "cpu"], &["--coordinator"]);
    refused(&["--coordinator", "no-port"], &["--coordinator", "no-port"]);
}

#[test]
fn a_device_that_is_not_there() {
    refused(
        &["--coordinator", NOBODY, "--device", "cuda:99"],
        &["--device cuda:99", "--device cpu"],
    );
    refused(
        &["--coordinator", NOBODY, "--device", "gpu"],
        &["--device", "cuda:0"],
    );
}

#[test]
fn a_precision_that_is_none() {
    refused(
        &["--coordinator", NOBODY, "--precision", "fp8"],
        &["--precision", "bf16"],
    );
}

#[test]
fn a_cache_folder_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("cache");
    refused(
        &[
            "--coordinator",
            NOBODY,
            "--device",
            "cpu",
            "--cache-dir",
            below.to_str().unwrap(),
        ],
        &["--cache-dir", "file/cache"],
    );
}

#[test]
fn a_store_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(
        &[
            "--coordinator",
            NOBODY,
            "--device",
            "cpu",
            "--cache-dir",
            folder.path().to_str().unwrap(),
            "--store_port",
            &port,
        ],
        &["--store-port", &port],
    );
}
