//! The dry run: it finds what is missing, and writes nothing.

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{REPO, Scene, finish};

fn check(scene: &Scene) -> Command {
    let mut command = scene.binary();
    command
        .args(["check", "--json", "--hf_repo_id", REPO])
        .args(["--coordinator", &scene.coordinator.address.to_string()])
        .arg("--scorer")
        .arg(scene.script("echo worker 1.0"))
        .arg("--state-dir")
        .arg(scene.state_dir())
        .args(scene.wallet_and_chain());
    command
}

fn finding<'a>(findings: &'a Value, subject: &str) -> &'a Value {
    let all = findings["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("{subject}: {findings}"))
}

#[tokio::test]
async fn with_everything_in_place_it_says_what_would_happen() {
    let scene = Scene::start().await;
    let run = finish(check(&scene)).await;
    let findings = run.json();
    assert_eq!(findings["ready"], true, "{findings}");
    for subject in [
        "Hub token",
        "Hub clock",
        "Hub repository",
        "wallet",
        "chain",
        "clock",
        "registration",
        "quota",
        "commitment",
        "coordinator",
        "scorer",
        "state folder",
    ] {
        assert_eq!(finding(&findings, subject)["check"], "ok", "{findings}");
    }
    let would = findings["would"].to_string();
    for part in ["make the public repository", "upload in one commit"] {
        assert!(would.contains(part), "{would}");
    }
    // Nothing was written anywhere.
    assert!(!scene.state_dir().exists());
    assert!(scene.hub.commits(REPO).is_empty());
    assert!(scene.chain.submissions().is_empty());
}

#[tokio::test]
async fn what_is_missing_is_found_all_at_once() {
    let scene = Scene::start().await;
    scene.chain.deregister(scene.hotkey.into());
    let mut check = check(&scene);
    check.env("HF_ACCESS_TOKEN", "hf_wrong");
    let run = finish(check).await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    let findings: Value = serde_json::from_slice(&run.output.stdout).unwrap();
    assert_eq!(findings["ready"], false);
    for subject in ["Hub token", "registration"] {
        assert_eq!(
            finding(&findings, subject)["check"],
            "missing",
            "{findings}"
        );
    }
    assert!(!run.stderr().contains("hf_wrong") && !run.stdout().contains("hf_wrong"));
}
