//! A checkpoint has to be better than what the hotkey has committed.

use std::fs;

use serde_json::Value;

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Run, Scene, finish};

/// A run as a coordinator tells it, with three evaluation pages.
fn run_config() -> String {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/run/tests/fixtures/run.json"
    );
    fs::read_to_string(fixture).unwrap()
}

fn better(id: &str) -> Checkpoint {
    Checkpoint::with_weights(id, 3.0, |index| (index % 100) as f32 * 1e-3)
}

/// A hotkey with one model on the chain, and a run that has another.
async fn with_incumbent() -> Scene {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene.coordinator.set_run_config(run_config());
    scene.publish().await.json();
    scene.coordinator.announce(&better("c2"), true);
    scene
}

async fn publish_with_scores(scene: &Scene, ours: &str, theirs: &str) -> Run {
    let mut publisher = scene.publisher();
    publisher.arg("--scorer").arg(scene.scorer(ours, theirs));
    finish(publisher).await
}

#[tokio::test]
async fn a_checkpoint_that_wins_is_published_and_the_reason_told() {
    let scene = with_incumbent().await;
    let run = publish_with_scores(&scene, "[2.9, 3.1]", "[3.0, 3.2]").await;
    let summary = run.json();
    assert_eq!(summary["stage"], "read_back");
    run.assert_says(&["3.0000", "3.1000", "-0.1000", "100%"]);
    let verdict = scene
        .status()
        .publications
        .remove(1)
        .record
        .verdict
        .unwrap();
    assert!(verdict.publish);
    let comparison = verdict.comparison.unwrap();
    assert_eq!((comparison.sequences, comparison.won), (2, 1.0));
    assert_eq!((scene.hub_commits(), scene.commitments()), (2, 2));
    // The scorer was given the run, its pages, and both models.
    let asked = fs::read_to_string(scene.path("scorer.log")).unwrap();
    for part in [
        "score --json",
        "staged/c2",
        "incumbents/",
        "--run",
        "--pages 3",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_hardly_better_is_not_published() {
    let scene = with_incumbent().await;
    // Better by 0.3%, where 0.5% is asked for.
    let run = publish_with_scores(&scene, "[2.991]", "[3.0]").await;
    let summary = run.json();
    assert_eq!(summary["chain_string"], Value::Null);
    let reason = summary["reason"].as_str().unwrap();
    for part in ["2.9910", "3.0000", "0.005"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!((scene.hub_commits(), scene.commitments()), (1, 1));
    let record = scene.status().publications.remove(1).record;
    assert_eq!(record.ended.unwrap().reason, reason);
    assert!(!record.verdict.unwrap().publish);

    // Started again, it knows without scoring.
    let asked = fs::read_to_string(scene.path("scorer.log")).unwrap();
    let again = publish_with_scores(&scene, "[2.991]", "[3.0]").await;
    assert_eq!(again.json()["reason"], summary["reason"]);
    assert_eq!(fs::read_to_string(scene.path("scorer.log")).unwrap(), asked);
    // Asked for less, it is published.
    let mut publisher = scene.publisher();
    publisher
        .arg("--scorer")
        .arg(scene.scorer("[2.991]", "[3.0]"));
    publisher.args(["--publish-if-better-by", "0.001"]);
    assert_eq!(finish(publisher).await.json()["stage"], "read_back");
}

#[tokio::test]
async fn a_commitment_that_no_validator_could_use_is_no_obstacle() {
    let gone = format!("nobody:nothing:{}:{}", "a".repeat(40), "A".repeat(43) + "=");
    for (text, said) in [
        ("hello", "parts"),
        ("ns:name:None:None", "names no commit"),
        (&gone, "there is no repository"),
    ] {
        let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        scene.chain.set_commitment(scene.hotkey.into(), text);
        let run = scene.publish().await;
        assert_eq!(run.json()["stage"], "read_back", "{text}");
        run.assert_says(&["no obstacle", said]);
        assert_eq!((scene.hub_commits(), scene.commitments()), (1, 1));
    }
}

#[tokio::test]
async fn a_model_with_other_bytes_than_the_chain_promises_is_no_obstacle() {
    let scene = Scene::start().await;
    let other = better("c0");
    let files: Vec<_> = other
        .contents
        .iter()
        .filter_map(|(name, content)| Some((name.strip_prefix("model/")?, &content[..])))
        .collect();
    let commit = scene.hub.seed("somebody/else", &files).unwrap();
    let hash = "A".repeat(43) + "=";
    let text = format!("somebody:else:{commit}:{hash}");
    scene.chain.set_commitment(scene.hotkey.into(), &text);
    scene
        .coordinator
        .announce(&Checkpoint::publishable("c1", 3.5), true);
    let run = scene.publish().await;
    assert_eq!(run.json()["stage"], "read_back");
    run.assert_says(&["has not the hash of the commitment"]);
}

#[tokio::test]
async fn a_scorer_that_is_missing_or_refuses_ends_it_with_advice() {
    let scene = with_incumbent().await;
    let mut publisher = scene.publisher();
    publisher.args(["--scorer", "/nowhere/worker"]);
    let run = finish(publisher).await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    run.assert_says(&["/nowhere/worker", "--scorer", "--publish-if-better-by off"]);

    let mut publisher = scene.publisher();
    let refuses = scene.script("echo 'error: --data /x: not the run' >&2; exit 2");
    publisher.arg("--scorer").arg(refuses);
    let run = finish(publisher).await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    run.assert_says(&["--data /x: not the run", "--score-data"]);
    assert_eq!(scene.hub.commits(REPO).len(), 2);
}

#[tokio::test]
async fn where_nothing_says_what_is_worth_it_nothing_is_published() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut publisher = scene.publisher();
    publisher.args(["--publish-if-better-by", "off"]);
    let run = finish(publisher).await;
    let reason = run.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("--avg_loss_upload_threshold 0"), "{reason}");
    assert_eq!((scene.hub_commits(), scene.commitments()), (0, 0));
}

#[tokio::test]
async fn the_scorer_is_not_given_the_hotkey_s_password() {
    let scene = with_incumbent().await;
    let log = scene.path("environment.log");
    let scorer = scene.script(&format!(
        "env > {}; echo '{{\"models\": [{{\"sequence_losses\": [1]}}, {{\"sequence_losses\": [2]}}]}}'",
        log.display()
    ));
    let mut publisher = scene.publisher();
    publisher.arg("--scorer").arg(scorer);
    publisher.args(["--wallet.password-env", "HOTKEY_PASSWORD"]);
    publisher.env("HOTKEY_PASSWORD", "correct-horse");
    let run = finish(publisher).await;
    assert_eq!(run.json()["stage"], "read_back");
    let environment = fs::read_to_string(log).unwrap();
    assert!(environment.contains("HOTKEY_PASSWORD=\n"), "{environment}");
    assert!(!environment.contains("correct-horse"));
    assert!(!run.stderr().contains("correct-horse"));
}
