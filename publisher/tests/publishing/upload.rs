//! A model directory that is uploaded by hand.

use serde_json::Value;
use tokio::process::Command;

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Scene, finish, write_model};

fn upload(scene: &Scene) -> Command {
    let mut command = scene.binary();
    command
        .args([
            "upload",
            "--json",
            "--criteria-block",
            "0",
            "--hf_repo_id",
            REPO,
        ])
        .arg("--load_model_dir")
        .arg(scene.path("model"))
        .arg("--state-dir")
        .arg(scene.state_dir());
    command
}

#[tokio::test]
async fn a_directory_is_uploaded_in_one_commit_and_its_chain_string_told() {
    let scene = Scene::start().await;
    let model = Checkpoint::publishable("c1", 3.5);
    write_model(&model, &scene.path("model"));
    let uploaded = finish(upload(&scene)).await.json();
    assert_eq!(uploaded["stage"], "verified");
    assert_eq!(uploaded["commit"], scene.hub.head(REPO).unwrap());
    let hash = subnet::hash_directory(&scene.path("model")).unwrap().hash;
    let commit = uploaded["commit"].as_str().unwrap();
    assert_eq!(
        uploaded["chain_string"],
        format!("standin:peregrine:{commit}:{hash}")
    );
    assert_eq!((scene.hub_commits(), scene.commitments()), (1, 0));

    // Again, it is there already; with a wallet, it is committed as well.
    assert_eq!(finish(upload(&scene)).await.json(), uploaded);
    let mut with_wallet = upload(&scene);
    with_wallet.args(scene.wallet_and_chain());
    let committed = finish(with_wallet).await.json();
    assert_eq!(committed["stage"], "read_back");
    assert_eq!(committed["chain_string"], uploaded["chain_string"]);
    scene.assert_published_once("by hand");
}

#[tokio::test]
async fn a_directory_that_validators_would_not_take_is_refused() {
    let scene = Scene::start().await;
    let bad = Checkpoint::with_weights("c1", 3.5, |_| f32::NAN);
    write_model(&bad, &scene.path("model"));
    let refused = finish(upload(&scene)).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr());
    refused.assert_says(&["infinite or not numbers"]);
    assert_eq!(scene.hub.commits(REPO).len(), 0);

    let mut without_token = upload(&scene);
    without_token.env_remove("HF_ACCESS_TOKEN");
    let refused = finish(without_token).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr());
    assert_eq!(refused.stdout(), "");
}

#[tokio::test]
async fn an_upload_by_hand_and_a_run_share_a_folder() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let by_hand = Checkpoint::with_weights("c0", 3.5, |index| (index % 10) as f32 * 1e-3);
    write_model(&by_hand, &scene.path("model"));
    finish(upload(&scene)).await.json();
    let summary = scene.publish().await.json();
    assert_eq!(summary["stage"], "read_back");
    let status = scene.status();
    assert_eq!(status.publications.len(), 2);
    assert_eq!(status.publications[0].record.run_id, None);
    assert_eq!(status.publications[0].waits_for, None);
    assert_eq!(status.publications[0].record.superseded_by, None);
    assert_ne!(summary["chain_string"], Value::Null);
}
