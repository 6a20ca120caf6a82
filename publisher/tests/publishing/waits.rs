//! What passes by itself is sat out, visibly; and something better goes first.

use std::time::Duration;

use standin_chain::{Clock, Options, Quota, When};
use standin_hub::{Action, Answer, Fault, Moment, Route};
use tokio::process::Child;

use crate::checkpoints::Checkpoint;
use crate::scene::{REPO, Run, Scene, finish, finish_child};

fn better(id: &str) -> Checkpoint {
    Checkpoint::with_weights(id, 3.0, |index| (index % 100) as f32 * 1e-3)
}

/// A chain that takes one commitment in a hundred blocks, which come when the
/// test says so, and on which the hotkey has just made one.
async fn without_quota() -> Scene {
    let scene = Scene::with_chain(Options {
        clock: Clock::Manual,
        quota: Quota::HundredBlocks,
        start_block: 1000,
        ..Options::default()
    })
    .await;
    scene.chain.set_commitment(scene.hotkey.into(), "hello");
    scene
}

fn waits_for_the_quota(status: &publisher::Status, id: &str) -> bool {
    status.publications.iter().any(|one| {
        one.record.checkpoint_id == id
            && one.record.stage.name() == "verified"
            && one.waits_until_unix_ms.is_some()
    })
}

async fn finish_while_blocks_come(scene: &Scene, child: Child) -> Run {
    let blocks = async {
        loop {
            scene.chain.advance(1).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    tokio::select! {
        run = finish_child(child) => run,
        () = blocks => unreachable!("blocks come for ever"),
    }
}

#[tokio::test]
async fn what_waited_when_the_publisher_was_killed_can_still_be_superseded() {
    let scene = without_quota().await;
    scene
        .coordinator
        .announce(&Checkpoint::publishable("c1", 3.5), false);
    let mut killed = scene.publisher().spawn().unwrap();
    scene
        .until(|status| waits_for_the_quota(status, "c1"))
        .await;
    killed.kill().await.unwrap();
    scene.coordinator.announce(&better("c2"), true);
    let child = scene.publisher().spawn().unwrap();
    scene
        .until(|status| waits_for_the_quota(status, "c2"))
        .await;
    scene.chain.advance(100).await;
    let summary = finish_while_blocks_come(&scene, child).await.json();
    assert_eq!(summary["stage"], "read_back");
    assert_eq!(
        scene.committed().as_deref(),
        summary["chain_string"].as_str()
    );
    assert_eq!((scene.hub_commits(), scene.commitments()), (2, 1));
    let first = &scene.status().publications[0].record;
    assert_eq!(first.superseded_by.as_deref(), Some("c2"));
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_obeyed_and_the_wait_is_shown() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let limited = Answer::rate_limited(2);
    scene.hub.faults().add(Fault::new(
        Route::Info,
        Action::Answer(Moment::Before, limited),
    ));
    let child = scene.publisher().spawn().unwrap();
    scene
        .until(|status| {
            status
                .publications
                .iter()
                .any(|one| one.waits_until_unix_ms.is_some())
        })
        .await;
    let waiting = scene.status().publications.remove(0);
    assert!(waiting.waits_for.unwrap().contains("429"));
    assert!(waiting.waits_until_unix_ms > waiting.waits_since_unix_ms);
    let run = finish_child(child).await;
    run.json();
    run.assert_says(&["trying again in 2 s"]);
    scene.assert_published_once("after a wait");
}

#[tokio::test]
async fn errors_of_a_server_are_retried() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    for route in [Route::Info, Route::Commit, Route::Preupload] {
        let broken = Answer::status(500);
        scene
            .hub
            .faults()
            .add(Fault::new(route, Action::Answer(Moment::Before, broken)));
    }
    scene.publish().await.json();
    scene.assert_published_once("after errors");
}

#[tokio::test]
async fn a_better_checkpoint_supersedes_one_that_waits_on_the_hub_for_the_quota() {
    let scene = without_quota().await;
    scene
        .coordinator
        .announce(&Checkpoint::publishable("c1", 3.5), false);
    let child = scene.publisher().spawn().unwrap();
    scene
        .until(|status| waits_for_the_quota(status, "c1"))
        .await;
    let waiting = scene.status().publications.remove(0);
    assert!(waiting.waits_for.unwrap().contains("too recent"));
    // A hundred blocks of twelve seconds, less what has passed.
    let foreseen = waiting.waits_until_unix_ms.unwrap() - waiting.waits_since_unix_ms.unwrap();
    assert!((1_100_000..=1_212_000).contains(&foreseen), "{foreseen}");

    scene.coordinator.announce(&better("c2"), true);
    scene
        .until(|status| waits_for_the_quota(status, "c2"))
        .await;
    assert_eq!(scene.commitments(), 0);
    scene.chain.advance(100).await;
    let summary = finish_while_blocks_come(&scene, child).await.json();
    assert_eq!(summary["checkpoint_id"], "c2");
    assert_eq!(summary["stage"], "read_back");
    assert_eq!(
        scene.committed().as_deref(),
        summary["chain_string"].as_str()
    );
    // Both are in the repository's history, and one on the chain.
    assert_eq!((scene.hub_commits(), scene.commitments()), (2, 1));
    let first = &scene.status().publications[0].record;
    assert_eq!(first.superseded_by.as_deref(), Some("c2"));
    assert_eq!(first.stage.name(), "verified");
}

#[tokio::test]
async fn a_better_checkpoint_replaces_one_whose_bytes_are_still_on_their_way() {
    let scene = Scene::start().await;
    scene
        .coordinator
        .announce(&Checkpoint::publishable("c1", 3.5), false);
    let held = scene
        .hub
        .faults()
        .add(Fault::new(Route::Preupload, Action::Hold(Moment::Before)));
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    scene.coordinator.announce(&better("c2"), true);
    scene
        .until(|status| {
            let found = |one: &publisher::PublicationStatus| one.record.checkpoint_id == "c2";
            status.publications.iter().any(found)
        })
        .await;
    held.release();
    assert_eq!(finish_child(child).await.json()["checkpoint_id"], "c2");
    assert_eq!((scene.hub_commits(), scene.commitments()), (1, 1));
    let first = &scene.status().publications[0].record;
    assert_eq!(first.superseded_by.as_deref(), Some("c2"));
    assert_eq!(first.stage.name(), "staged");
}

#[tokio::test]
async fn a_better_checkpoint_waits_for_what_cannot_be_taken_back() {
    let scene = Scene::start().await;
    scene
        .coordinator
        .announce(&Checkpoint::publishable("c1", 3.5), false);
    let mut held = scene
        .chain
        .faults()
        .hold("author_submitAndWatchExtrinsic", When::Before);
    let mut publisher = scene.publisher();
    publisher.args(["--publish-if-better-by", "off"]);
    publisher.args(["--avg_loss_upload_threshold", "inf"]);
    let child = publisher.spawn().unwrap();
    held.arrived().await;
    scene.coordinator.announce(&better("c2"), true);
    held.release();
    assert_eq!(finish_child(child).await.json()["checkpoint_id"], "c2");
    // The first was finished and read back before the second began.
    let status = scene.status();
    for publication in &status.publications {
        assert_eq!(publication.record.stage.name(), "read_back");
        assert_eq!(publication.record.superseded_by, None);
    }
    assert_eq!((scene.hub_commits(), scene.commitments()), (2, 2));
}

#[tokio::test]
async fn without_the_coordinator_nothing_irreversible_begins() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let held = scene
        .hub
        .faults()
        .add(Fault::new(Route::Info, Action::Hold(Moment::After)));
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    scene.coordinator.take_back().await;
    held.release();
    scene
        .until(|status| {
            let said = status
                .publications
                .iter()
                .filter_map(|one| one.waits_for.as_ref());
            said.into_iter()
                .any(|why| why.contains("no other publisher"))
        })
        .await;
    assert_eq!((scene.hub_commits(), scene.commitments()), (0, 0));
    scene.coordinator.lend(true);
    finish_child(child).await.json();
    scene.assert_published_once("once the coordinator was back");
}

#[tokio::test]
async fn status_tells_where_it_stands_while_the_publisher_runs() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let held = scene
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    let mut binary = scene.binary();
    binary
        .args(["status", "--json", "--state-dir"])
        .arg(scene.state_dir());
    let status = finish(binary).await.json();
    let publication = &status["publications"][0];
    assert_eq!(publication["stage"], "staged");
    assert_eq!(publication["under_way"]["act"], "upload");
    let waits_for = publication["waits_for"].as_str().unwrap();
    assert!(waits_for.contains(REPO), "{waits_for}");
    held.release();
    finish_child(child).await.json();
}
