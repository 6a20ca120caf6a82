//! A checkpoint that is worth it reaches the Hub and the chain.

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Scene, finish};

#[tokio::test]
async fn the_best_checkpoint_is_uploaded_verified_committed_and_read_back() {
    let best = Checkpoint::publishable("c1", 3.5);
    let scene = Scene::with_finished_run(&best).await;
    let run = scene.publish().await;
    let summary = run.json();
    scene.assert_published_once("once");
    assert_eq!(summary["stage"], "read_back");
    assert_eq!(summary["commit_pending"], false);
    assert_eq!(summary["chain_string"], scene.committed().unwrap());
    let committed = scene.chain.commitment(scene.hotkey.into()).unwrap();
    assert_eq!(summary["block"], committed.block);

    let files = scene.hub.files(REPO, "main").await.unwrap();
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let model = ["config.json", "generation_config.json", "model.safetensors"];
    assert_eq!(names[0], ".gitattributes");
    assert_eq!(names[1..], model);
    for name in model {
        assert!(
            files[name][..] == *best.content(&format!("model/{name}")),
            "{name}"
        );
    }
    run.assert_says(&["the hotkey has no commitment yet"]);
}

#[tokio::test]
async fn what_is_published_already_is_left_alone() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let first = scene.publish().await.json();
    let again = scene.publish().await.json();
    assert_eq!(first, again);
    scene.assert_published_once("started twice");
}

#[tokio::test]
async fn a_publisher_that_lost_its_state_finds_what_it_had_done() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene.publish().await.json();
    std::fs::remove_dir_all(scene.state_dir()).unwrap();
    let run = scene.publish().await;
    run.json();
    run.assert_says(&["the chain and the Hub have it already"]);
    scene.assert_published_once("without its journal");
}

#[tokio::test]
async fn the_hotkey_is_in_the_hash_where_that_is_asked_for() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut publisher = scene.publisher();
    publisher.arg("--use_hotkey_in_hash");
    let summary = finish(publisher).await.json();
    scene.assert_published_once("with the hotkey");
    let status = scene.status();
    let record = &status.publications[0].record;
    let expected = record.hash.with_hotkey(&scene.hotkey.to_string());
    let chain_string = summary["chain_string"].as_str().unwrap();
    assert!(
        chain_string.ends_with(&format!(":{expected}")),
        "{chain_string}"
    );
}

#[tokio::test]
async fn a_later_checkpoint_that_is_better_follows() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene.publish().await.json();
    let better = Checkpoint::with_weights("c2", 3.0, |index| (index % 100) as f32 * 1e-3);
    scene.coordinator.announce(&better, true);
    let mut publisher = scene.publisher();
    publisher.args(["--publish-if-better-by", "off"]);
    publisher.args(["--avg_loss_upload_threshold", "inf"]);
    let summary = finish(publisher).await.json();
    assert_eq!(summary["checkpoint_id"], "c2");
    assert_eq!((scene.hub_commits(), scene.commitments()), (2, 2));
    assert_eq!(summary["chain_string"], scene.committed().unwrap());
    let status = scene.status();
    let publications = status.publications.iter();
    let stages: Vec<_> = publications.map(|one| one.record.stage.name()).collect();
    assert_eq!(stages, ["read_back", "read_back"]);
}

#[tokio::test]
async fn no_secret_is_in_what_it_says_or_writes() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut publisher = scene.publisher();
    publisher.args(["--log", "trace"]);
    let run = finish(publisher).await;
    run.json();
    let keyfile = std::fs::read_to_string(scene.path("wallets/miner/hotkeys/first")).unwrap();
    let keyfile: serde_json::Value = serde_json::from_str(&keyfile).unwrap();
    let mut said = run.stderr() + &run.stdout();
    for entry in std::fs::read_dir(scene.state_dir().join("publications")).unwrap() {
        said += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let mut secrets = vec![scene.hub.token().to_owned()];
    for field in ["privateKey", "secretSeed", "secretPhrase"] {
        let secret = keyfile[field].as_str().unwrap_or_default();
        secrets.push(secret.trim_start_matches("0x").to_owned());
    }
    let present: Vec<_> = secrets.iter().filter(|secret| !secret.is_empty()).collect();
    assert!(present.len() >= 2, "{keyfile}");
    for secret in present {
        assert!(!said.contains(secret), "a secret is in the output");
    }
}
