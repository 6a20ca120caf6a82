//! Large files on their way into Xet's storage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hub::{Class, Hub, HubError, TransferKind};
use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::common::{Model, Scene};

#[tokio::test]
async fn without_xet_a_large_file_is_refused_and_a_small_one_travels_in_the_commit() {
    for route in [Route::Preupload, Route::LfsBatch] {
        let scene = Scene::new().await;
        scene
            .server
            .faults()
            .add(Fault::new(route, Action::NoXet).always());
        let large = Model::new(&scene.path("large"), 1, 9_000_000);
        let error = scene.publish(&large).await.unwrap_err();
        let HubError::NoXet { file, bytes, limit } = &error else {
            panic!("{error}");
        };
        assert_eq!(file, "model.safetensors");
        assert!(bytes > limit);
        assert_eq!(scene.server.count(Route::Commit), 0);

        let small = scene.model(2);
        scene.publish(&small).await.unwrap();
        let repo = scene.repo.to_string();
        let served = scene.server.files(&repo, "main").await.unwrap();
        assert_eq!(
            served["model.safetensors"],
            small.contents("model.safetensors")
        );
        // And is recognised for what it is.
        assert!(scene.publish(&small).await.unwrap().adopted);
    }
}

#[tokio::test]
async fn what_was_sent_before_a_crash_is_not_sent_again() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let held = scene
        .server
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    tokio::select! {
        published = scene.publish(&model) => panic!("acknowledged: {published:?}"),
        () = held.arrived() => {}
    }
    held.discard();
    let blocks = scene.blocks_offered();
    assert!(blocks > 0);
    scene.publish(&model).await.unwrap();
    assert_eq!(scene.blocks_offered(), blocks);
    // Nothing is kept of a publication that is done.
    let caches = fs::read_dir(scene.path("cache/xet")).unwrap().count();
    assert_eq!(caches, 0);
}

#[tokio::test]
async fn a_cache_that_claims_what_the_server_lost_is_discarded() {
    for answer in [None, Some(Answer::status(400))] {
        let scene = Scene::new().await;
        let model = scene.model(1);
        let held = scene
            .server
            .faults()
            .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
        tokio::select! {
            published = scene.publish(&model) => panic!("acknowledged: {published:?}"),
            () = held.arrived() => {}
        }
        held.discard();
        let blocks = scene.blocks_offered();
        match answer {
            // The Hub notices, and says that a pointer points nowhere.
            Some(answer) => {
                let refused = Action::Answer(Moment::Before, answer);
                scene
                    .server
                    .faults()
                    .add(Fault::new(Route::Commit, refused));
            }
            // The Hub's storage is wiped behind its back.
            None => assert!(remove_blocks(&scene.path("hub/cas")) > 0),
        }
        let published = scene.publish(&model).await.unwrap();
        assert!(!published.adopted);
        assert!(scene.blocks_offered() > blocks);
        let repo = scene.repo.to_string();
        let served = scene.server.files(&repo, "main").await.unwrap();
        assert_eq!(
            served["model.safetensors"],
            model.contents("model.safetensors")
        );
        assert_eq!(scene.commits().len(), 1);
    }
}

#[tokio::test]
async fn a_head_whose_contents_were_lost_is_repaired_before_it_is_adopted() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let first = scene.publish(&model).await.unwrap();
    assert!(remove_blocks(&scene.path("hub/cas")) > 0);
    let second = scene.publish(&model).await.unwrap();
    assert_eq!((second.commit, second.adopted), (first.commit, true));
    let repo = scene.repo.to_string();
    let served = scene.server.files(&repo, "main").await.unwrap();
    assert_eq!(
        served["model.safetensors"],
        model.contents("model.safetensors")
    );
    assert_eq!(scene.commits().len(), 1);
}

#[tokio::test]
async fn a_commit_that_cannot_be_read_back_during_an_outage_is_not_sent_again() {
    for status in [403, 503] {
        let scene = Scene::new().await;
        let model = scene.model(1);
        let outage = || Action::Answer(Moment::Before, Answer::status(status));
        for fault in [
            Fault::new(Route::Content, outage()),
            Fault::new(Route::Token, outage()).for_path("xet-read-token"),
        ] {
            scene.server.faults().add(fault.always());
        }
        let error = scene.publish(&model).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        assert_eq!(scene.server.count(Route::Preupload), 1);
        assert_eq!(fs::read_dir(scene.path("cache/xet")).unwrap().count(), 1);

        scene.server.faults().clear();
        let published = scene.publish(&model).await.unwrap();
        assert_eq!((published.commit, published.adopted), (scene.head(), true));
        assert_eq!(scene.server.count(Route::Preupload), 1);
        assert_eq!(scene.commits().len(), 1);
    }
}

#[tokio::test]
async fn an_outage_costs_nothing_of_what_was_sent_before() {
    for (route, status) in [
        (Route::Commit, 503),
        (Route::Preupload, 503),
        (Route::Preupload, 401),
        (Route::LfsBatch, 500),
    ] {
        let scene = Scene::new().await;
        let model = scene.model(1);
        let broken = |route, status| {
            Fault::new(
                route,
                Action::Answer(Moment::Before, Answer::status(status)),
            )
            .always()
        };
        // All contents are sent, and left in a cache, when the commit fails.
        scene.server.faults().add(broken(Route::Commit, 503));
        scene.publish(&model).await.unwrap_err();
        let blocks = scene.blocks_offered();
        assert!(blocks > 0);
        scene.server.faults().add(broken(route, status));
        let error = scene.publish(&model).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        scene.server.faults().clear();
        assert!(!scene.publish(&model).await.unwrap().adopted);
        assert_eq!(scene.blocks_offered(), blocks, "{route} {status}");
    }
}

/// Deletes the storage's blocks, and says how many.
fn remove_blocks(dir: &Path) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            removed += remove_blocks(&path);
        } else if path.parent().is_some_and(|dir| dir.ends_with("xorbs")) {
            fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    removed
}

#[tokio::test]
async fn the_storages_passing_errors_are_retried() {
    for action in [
        Action::Cut(Moment::Before),
        Action::Answer(Moment::Before, Answer::status(503)),
        Action::Answer(Moment::Before, Answer::status(500)),
    ] {
        let scene = Scene::new().await;
        scene
            .server
            .faults()
            .add(Fault::new(Route::Cas, action).times(4));
        assert!(!scene.publish(&scene.model(1)).await.unwrap().adopted);
        assert_eq!(scene.commits().len(), 1);
    }
}

#[tokio::test]
async fn a_storage_that_stays_throttled_is_left_alone() {
    let scene = Scene::new().await;
    let throttled = Action::Answer(Moment::Before, Answer::status(429));
    scene
        .server
        .faults()
        .add(Fault::new(Route::Cas, throttled).always());
    let mut config = scene.config();
    config.waits.untold_wait = Duration::from_secs(900);
    let client = Hub::new(config).unwrap();
    let model = scene.model(1);
    let failed = client
        .publish(&model.publish(&scene.repo), &crate::common::quiet)
        .await;
    let error = failed.unwrap_err();
    assert_eq!(
        error.class(),
        Class::Wait(Duration::from_secs(900)),
        "{error}"
    );
    assert_eq!(scene.server.count(Route::Commit), 0);
}

#[tokio::test]
async fn a_transfer_in_which_nothing_moves_is_given_up() {
    let scene = Scene::new().await;
    let held = Fault::new(Route::Cas, Action::Hold(Moment::Before)).always();
    scene.server.faults().add(held);
    let mut config = scene.config();
    config.timeouts.stall = Duration::from_millis(300);
    config.waits.attempts = 1;
    let client = Hub::new(config).unwrap();
    let model = scene.model(1);
    let failed = client
        .publish(&model.publish(&scene.repo), &crate::common::quiet)
        .await;
    let error = failed.unwrap_err();
    let HubError::Transfer { reason, kind } = &error else {
        panic!("{error}");
    };
    assert!(reason.contains("nothing has moved"), "{reason}");
    assert_eq!(*kind, TransferKind::Passing);
    assert_eq!(scene.server.count(Route::Commit), 0);
}

#[tokio::test]
async fn a_storage_on_this_machines_disk_is_refused() {
    let scene = Scene::new().await;
    let trap = scene.path("trap");
    let body = format!(
        r#"{{"casUrl":"local://{}","accessToken":"k","exp":9999999999}}"#,
        trap.display()
    );
    let answer = Answer {
        status: 200,
        headers: Vec::new(),
        body,
    };
    let fault = Fault::new(Route::Token, Action::Answer(Moment::Before, answer)).always();
    scene.server.faults().add(fault);
    let error = scene.publish(&scene.model(1)).await.unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");
    assert!(!trap.exists());
}
