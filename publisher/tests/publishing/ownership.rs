//! A commitment is of one hotkey on one chain, and what the journal says of another is
//! not taken for it.

use std::time::Duration;

use publisher::Point;
use standin_chain::{Clock, Options, Rejection, StandinChain, When};
use tokio::process::Command;
use wallet::WalletLocation;

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Scene, finish, finish_child, write_model};

/// Another chain, longer or not, on which the scene's hotkey is registered too.
async fn change_chain(scene: &mut Scene) -> StandinChain {
    let options = Options {
        chain_id: 1,
        clock: Clock::Every(Duration::from_millis(40)),
        ..Options::default()
    };
    let chain = StandinChain::start(options).await.unwrap();
    chain.register(scene.hotkey.into(), 7, 0.5);
    std::mem::replace(&mut scene.chain, chain)
}

fn upload(scene: &Scene, hotkey: &str) -> Command {
    let mut command = scene.binary();
    let model = scene.path("model");
    let wallet = scene.wallet_and_chain();
    command
        .args(["upload", "--json", "--criteria-block", "0"])
        .args(["--hf_repo_id", REPO, "--use_hotkey_in_hash"])
        .arg("--load_model_dir")
        .arg(model)
        .arg("--state-dir")
        .arg(scene.state_dir())
        .args(wallet.iter().map(|argument| match &argument[..] {
            "first" => hotkey,
            other => other,
        }));
    command
}

/// A model directory to upload, and a second hotkey, which is registered as well.
async fn with_two_hotkeys() -> (Scene, subnet::Account) {
    let scene = Scene::start().await;
    write_model(&Checkpoint::publishable("c1", 3.5), &scene.path("model"));
    let place = WalletLocation::new(&scene.path("wallets"), "miner", "second").unwrap();
    let second = wallet::create_hotkey(&place).unwrap();
    scene.chain.register(second.into(), 8, 0.5);
    (scene, second)
}

#[tokio::test]
async fn what_was_published_on_another_chain_is_published_on_this_one() {
    let killed_at = [
        None,
        Some(Point::AfterSubmission),
        Some(Point::AfterCommittedRecord),
    ];
    for point in killed_at {
        let mut scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        let mut publisher = scene.publisher();
        if let Some(point) = point {
            publisher.env("PEREGRINE_CRASH_POINT", point.name());
        }
        finish(publisher).await;
        let first_chain = change_chain(&mut scene).await;
        scene.publish().await.json();
        scene.assert_published_once(&format!("{point:?}, on another chain"));

        // And back again: there it is already.
        let second_chain = std::mem::replace(&mut scene.chain, first_chain);
        scene.publish().await.json();
        scene.assert_published_once(&format!("{point:?}, back on the first"));
        drop(second_chain);
    }
}

#[tokio::test]
async fn an_upload_is_committed_on_the_chain_that_is_named() {
    let mut scene = Scene::start().await;
    write_model(&Checkpoint::publishable("c1", 3.5), &scene.path("model"));
    let first = finish(upload(&scene, "first")).await.json();
    let _first_chain = change_chain(&mut scene).await;
    let second = finish(upload(&scene, "first")).await.json();
    assert_eq!(first["chain_string"], second["chain_string"]);
    scene.assert_published_once("on the second chain");
}

#[tokio::test]
async fn a_hotkey_is_not_taken_for_the_one_that_has_committed() {
    for point in [Point::AfterSubmission, Point::AfterReadBackRecord] {
        let (scene, second) = with_two_hotkeys().await;
        let mut killed = upload(&scene, "first");
        killed.env("PEREGRINE_CRASH_POINT", point.name());
        finish(killed).await;
        let refused = finish(upload(&scene, "second")).await;
        assert_eq!(refused.code(), Some(2), "{}", refused.stderr());
        refused.assert_says(&[&scene.hotkey.to_string(), "another folder"]);
        assert_eq!(scene.chain.commitment(second.into()), None);
        finish(upload(&scene, "first")).await.json();
        scene.assert_published_once(point.name());
    }
}

#[tokio::test]
async fn another_hotkey_commits_what_nobody_has_begun_to_commit() {
    let (mut scene, second) = with_two_hotkeys().await;
    let mut killed = upload(&scene, "first");
    killed.env("PEREGRINE_CRASH_POINT", Point::BeforeCommitIntent.name());
    finish(killed).await;
    let uploaded = finish(upload(&scene, "second")).await.json();
    scene.hotkey = second;
    scene.assert_published_once("by the second hotkey");
    let hash = subnet::hash_directory(&scene.path("model")).unwrap().hash;
    let hash = hash.with_hotkey(&second.to_string()).to_string();
    let chain_string = uploaded["chain_string"].as_str().unwrap();
    assert!(chain_string.ends_with(&hash), "{chain_string}");
}

#[tokio::test]
async fn a_hotkey_that_is_no_longer_ours_signs_no_second_time() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let faults = scene.chain.faults();
    let mut held = faults.hold("author_submitAndWatchExtrinsic", When::Before);
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    let rejection = Rejection::ImmediatelyDropped;
    let reject = standin_chain::Fault::RejectSubmission { rejection };
    faults.inject(reject).unwrap();
    scene.coordinator.take_back().await;
    held.release();
    scene
        .until(|status| {
            let why = status.publications[0].waits_for.as_ref();
            why.is_some_and(|why| why.contains("nothing is signed"))
        })
        .await;
    assert_eq!(scene.chain.submissions().len(), 1);
    scene.coordinator.lend(true);
    finish_child(child).await.json();
    scene.assert_published_once("once the hotkey was ours again");
}
