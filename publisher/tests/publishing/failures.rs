//! What a person must mend ends the publisher with advice, and is tried again
//! once it is mended.

use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Scene, finish, finish_child};

#[tokio::test]
async fn a_token_that_may_not_write_ends_it_with_advice() {
    for (status, advice) in [
        (401, "HF_ACCESS_TOKEN"),
        (403, "write access"),
        (413, "shards"),
    ] {
        let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        let refusal = Action::Answer(Moment::Before, Answer::status(status));
        scene.hub.faults().add(Fault::new(Route::Commit, refusal));
        let run = scene.publish().await;
        assert_eq!(run.code(), Some(1), "{status}: {}", run.stderr());
        run.assert_says(&[&status.to_string(), advice]);
        let failed = &scene.status().publications[0];
        let ended = failed.record.ended.as_ref().unwrap();
        assert!(ended.failed && ended.reason.contains(advice), "{ended:?}");
        assert_eq!(failed.waits_for, None);

        // The fault was for one request: it is mended.
        scene.publish().await.json();
        scene.assert_published_once(&status.to_string());
    }
}

#[tokio::test]
async fn a_hotkey_that_is_not_registered_ends_it_before_anything_is_uploaded() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene.chain.deregister(scene.hotkey.into());
    let run = scene.publish().await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    run.assert_says(&["not registered", &scene.hotkey.to_string(), "btcli"]);
    assert_eq!((scene.hub_commits(), scene.commitments()), (0, 0));
}

#[tokio::test]
async fn a_chain_that_fails_every_transaction_is_not_paid_for_ever() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    for _ in 0..3 {
        let error = "System.InvalidSpecName".to_owned();
        let fault = standin_chain::Fault::FailDispatch { error };
        scene.chain.faults().inject(fault).unwrap();
    }
    // Two in one process, the third in the next.
    let child = scene.publisher().spawn().unwrap();
    scene
        .until(|status| {
            let first = status.publications.first();
            first.is_some_and(|one| one.record.mishaps.failed_commitments == 1)
        })
        .await;
    let mut killed = child;
    killed.kill().await.unwrap();
    let run = scene.publish().await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    run.assert_says(&["System.InvalidSpecName", "3 transactions"]);
    assert_eq!(scene.chain.extrinsics().len(), 3);

    // Started once more by a person, it is tried once more.
    scene.publish().await.json();
    scene.assert_published_once("when the chain was mended");
}

#[tokio::test]
async fn somebody_else_who_keeps_committing_to_the_repository_is_noticed() {
    for (times, code) in [(1, 0), (2, 1)] {
        let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        let hold = |time| Fault::new(Route::Commit, Action::Hold(Moment::Before)).skip(time);
        let held: Vec<_> = (0..times)
            .map(|time| scene.hub.faults().add(hold(time)))
            .collect();
        let child = scene.publisher().spawn().unwrap();
        for (time, held) in held.into_iter().enumerate() {
            held.arrived().await;
            let edited = format!("edited {time} times before");
            let files: [(&str, &[u8]); 1] = [("README.md", edited.as_bytes())];
            scene.hub.seed(REPO, &files).unwrap();
            held.release();
        }
        let run = finish_child(child).await;
        assert_eq!(run.code(), Some(code), "{}", run.stderr());
        if code == 0 {
            run.json();
        } else {
            run.assert_says(&["somebody else has committed", "who else has a token"]);
            assert_eq!(scene.commitments(), 0);
            // A person has found out who.
            scene.publish().await.json();
        }
        assert_eq!(scene.commitments(), 1);
    }
}

#[tokio::test]
async fn a_private_repository_is_not_committed() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene.hub.seed("standin/peregrine", &[]).unwrap();
    scene.hub.set_private("standin/peregrine", true).unwrap();
    let run = scene.publish().await;
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    run.assert_says(&["private", "--private"]);
    assert_eq!(scene.commitments(), 0);
}

#[tokio::test]
async fn a_wallet_that_is_not_there_is_refused_before_anything_starts() {
    let scene = Scene::start().await;
    let mut binary = scene.binary();
    binary
        .args([
            "--hf_repo_id",
            "standin/peregrine",
            "--wallet.name",
            "nobody",
        ])
        .args(["--coordinator", &scene.coordinator.address.to_string()])
        .arg("--wallet.path")
        .arg(scene.path("wallets"))
        .arg("--state-dir")
        .arg(scene.state_dir());
    let run = finish(binary).await;
    assert_eq!(run.code(), Some(2), "{}", run.stderr());
    run.assert_says(&["nobody", "miner"]);
}

#[tokio::test]
async fn a_refused_checkpoint_is_in_the_status_with_its_reason() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut publisher = scene.publisher();
    publisher.args(["--avg_loss_upload_threshold", "2"]);
    let summary = finish(publisher).await.json();
    assert_eq!(summary["chain_string"], serde_json::Value::Null);
    let status = scene.status();
    assert!(status.publications.is_empty());
    let [refused] = &status.refused[..] else {
        panic!("one refusal: {status:?}");
    };
    assert_eq!(
        (refused.checkpoint_id.as_str(), refused.loss),
        ("c1", Some(3.5))
    );
    assert!(refused.reason.contains("--avg_loss_upload_threshold 2"));
    assert!(status.to_string().contains("1 refused"));

    // With another threshold it is a publication, and no longer refused.
    scene.publish().await.json();
    scene.assert_published_once("after all");
    assert!(scene.status().refused.is_empty());
}
