//! The binary: its streams and its exit codes.

use std::process::Output;

use cli::Exit;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::checkpoints::Checkpoint;
use crate::fake::FakeCoordinator;

async fn publisher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_publisher"))
        .args(arguments)
        .output()
        .await
        .unwrap()
}

fn exit_of(output: &Output) -> Option<Exit> {
    Exit::from_code(output.status.code()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn json_is_one_object_on_standard_output_and_nothing_else() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    let state_dir = state_dir.path().to_str().unwrap();
    let address = coordinator.address.to_string();
    let mut arguments = vec!["--offline", "--json", "--coordinator", &address];
    arguments.extend(["--state-dir", state_dir, "--criteria_block", "0"]);
    arguments.extend(["--hf_repo_id", "falconry/peregrine"]);
    arguments.extend(["--wallet.name", "miner", "--wallet.hotkey", "first"]);

    let unpublished = publisher(&arguments).await;
    assert_eq!(
        exit_of(&unpublished),
        Some(Exit::Success),
        "{}",
        stderr(&unpublished)
    );
    let summary: Value = serde_json::from_slice(&unpublished.stdout).unwrap();
    assert_eq!(summary["checkpoint_dir"], Value::Null);
    let reason = summary["reason"].as_str().unwrap();
    assert!(reason.contains("--avg_loss_upload_threshold 0"), "{reason}");

    arguments.extend(["--avg_loss_upload_threshold", "5"]);
    let published = publisher(&arguments).await;
    assert_eq!(
        exit_of(&published),
        Some(Exit::Success),
        "{}",
        stderr(&published)
    );
    let summary: Value = serde_json::from_slice(&published.stdout).unwrap();
    assert_eq!(summary["commit_pending"], true);
    assert_eq!(summary["reason"], Value::Null);
    assert_eq!(summary["violations"], Value::Array(vec![]));
    let would_have = stderr(&published);
    for part in [
        "offline",
        "falconry/peregrine",
        "subnet 9 of finney",
        "hotkey first of wallet miner",
    ] {
        assert!(would_have.contains(part), "{part}: {would_have}");
    }

    let status = publisher(&["status", "--json", "--state-dir", state_dir]).await;
    assert_eq!(exit_of(&status), Some(Exit::Success), "{}", stderr(&status));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let publication = &status["publications"][0];
    assert_eq!(publication["stage"], "staged");
    assert_eq!(publication["chain_string"], summary["chain_string"]);
    assert_eq!(publication["checkpoint_dir"], summary["checkpoint_dir"]);
}

#[tokio::test]
async fn a_name_too_long_for_the_chain_is_refused_before_anything_starts() {
    let repo = format!("namespace/{}", "x".repeat(33));
    let output = publisher(&[
        "--offline",
        "--coordinator",
        "127.0.0.1:1",
        "--hf_repo_id",
        &repo,
    ])
    .await;
    assert_eq!(exit_of(&output), Some(Exit::Refused));
    let message = stderr(&output);
    assert!(message.contains("--hf_repo_id"), "{message}");
    assert!(message.contains("41"), "{message}");
}

#[tokio::test]
async fn publishing_without_a_token_is_refused_with_what_to_do() {
    let state_dir = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_publisher"))
        .args(["--coordinator", "127.0.0.1:1", "--hf_repo_id", "ns/name"])
        .current_dir(state_dir.path())
        .env_remove("HF_ACCESS_TOKEN")
        .env_remove("HF_TOKEN")
        .output()
        .await
        .unwrap();
    assert_eq!(exit_of(&output), Some(Exit::Refused));
    for part in ["HF_ACCESS_TOKEN", "--offline"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn an_address_without_a_port_is_refused_by_the_flag_s_name() {
    let output = publisher(&[
        "--offline",
        "--coordinator",
        "host",
        "--hf_repo_id",
        "ns/name",
    ])
    .await;
    assert_eq!(exit_of(&output), Some(Exit::Refused));
    let message = stderr(&output);
    assert!(message.contains("--coordinator"), "{message}");
    assert!(message.contains("the port is missing"), "{message}");
}

#[tokio::test]
async fn an_unwritable_state_folder_is_refused() {
    let output = publisher(&[
        "--offline",
        "--coordinator",
        "127.0.0.1:1",
        "--hf_repo_id",
        "ns/name",
        "--state-dir",
        "/proc/self",
    ])
    .await;
    assert_eq!(exit_of(&output), Some(Exit::Refused));
    assert!(
        stderr(&output).contains("--state-dir /proc/self"),
        "{}",
        stderr(&output)
    );
}
