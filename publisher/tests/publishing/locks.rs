//! A hotkey has one publisher.

use standin_hub::{Action, Fault, Moment, Route};

use crate::checkpoints::Checkpoint;
use crate::scene::{Scene, finish, finish_child};

/// Runs a second publisher of the same hotkey, with a folder of its own, while
/// a first one is busy. `elsewhere`: as if on another machine.
async fn second_is_refused(elsewhere: bool) {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let held = scene
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    let mut second = scene.binary();
    second
        .args([
            "--json",
            "--criteria-block",
            "0",
            "--hf_repo_id",
            "standin/other",
        ])
        .args(["--coordinator", &scene.coordinator.address.to_string()])
        .arg("--state-dir")
        .arg(scene.path("another"))
        .args(scene.wallet_and_chain());
    if elsewhere {
        // The locks of this machine are in the folder for temporary files.
        second.env("TMPDIR", scene.path(""));
    }
    let refused = finish(second).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr());
    let first = format!("process {}", child.id().unwrap());
    refused.assert_says(&[&scene.hotkey.to_string(), &first]);
    held.release();
    finish_child(child).await.json();
    scene.assert_published_once("beside another");
}

#[tokio::test]
async fn a_second_publisher_of_a_hotkey_on_this_machine_refuses() {
    second_is_refused(false).await;
}

#[tokio::test]
async fn a_second_publisher_of_a_hotkey_elsewhere_refuses() {
    second_is_refused(true).await;
}

#[tokio::test]
async fn a_hotkey_that_the_coordinator_has_lent_to_another_is_refused() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let other = "the publisher on elsewhere (process 99)";
    scene
        .coordinator
        .lend_to_another(&scene.hotkey.to_string(), other);
    let refused = scene.publish().await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr());
    refused.assert_says(&[other]);
    assert_eq!((scene.hub_commits(), scene.commitments()), (0, 0));
}
