//! What the Hub serves is compared with what was published.

use std::fs;

use hub::HubError;
use standin_hub::{Action, Answer, Fault, Gate, Moment, Route};
use subnet::CommitId;

use crate::common::{Model, NO_LIMIT, Scene};

async fn published() -> (Scene, Model, CommitId) {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let commit = scene.publish(&model).await.unwrap().commit;
    (scene, model, commit)
}

/// Why a verification fails, in words.
async fn difference(scene: &Scene, commit: CommitId, model: &Model) -> String {
    let verified = scene
        .client()
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    let error = verified.unwrap_err();
    assert!(matches!(error, HubError::NotServed { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn what_was_published_is_served_and_public() {
    let (scene, model, commit) = published().await;
    let served = scene
        .client()
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    let served = served.unwrap();
    assert!(served.is_public());
    let repository = scene
        .client()
        .repository(&scene.repo)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((served.bytes, commit), (repository.bytes, repository.head));
    let ours: u64 = model.files.iter().map(|file| file.bytes).sum();
    assert!(served.bytes > ours, ".gitattributes counts too");
}

#[tokio::test]
async fn every_difference_is_named() {
    let (scene, mut model, commit) = published().await;
    model.files[0].sha256[0] ^= 1;
    let words = difference(&scene, commit, &model).await;
    assert!(words.contains("config.json has the SHA-256"), "{words}");

    let mut model = scene.model(1);
    model.files[2].sha256[0] ^= 1;
    let words = difference(&scene, commit, &model).await;
    assert!(
        words.contains("model.safetensors has the SHA-256"),
        "{words}"
    );

    let mut model = scene.model(1);
    model.files[2].bytes += 1;
    let words = difference(&scene, commit, &model).await;
    assert!(words.contains("100000 bytes instead of 100001"), "{words}");

    let mut model = scene.model(1);
    model.add("tokenizer.json", b"{}");
    let words = difference(&scene, commit, &model).await;
    assert!(words.contains("tokenizer.json is missing"), "{words}");

    let mut model = scene.model(1);
    model.files.remove(1);
    let words = difference(&scene, commit, &model).await;
    assert!(words.contains("generation_config.json as well"), "{words}");
}

#[tokio::test]
async fn all_files_count_towards_the_limit() {
    let (scene, model, commit) = published().await;
    let ours: u64 = model.files.iter().map(|file| file.bytes).sum();
    let client = scene.client();
    let error = client
        .verify(&scene.repo, commit, &model.files, ours)
        .await
        .unwrap_err();
    let HubError::TooLarge { bytes, limit, .. } = error else {
        panic!("{error}");
    };
    assert!(bytes > limit && limit == ours);
    assert!(
        client
            .verify(&scene.repo, commit, &model.files, bytes)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_validators_cannot_see_is_not_public() {
    let (scene, model, commit) = published().await;
    let repo = scene.repo.to_string();
    let verify = async || {
        let client = scene.client();
        client
            .verify(&scene.repo, commit, &model.files, NO_LIMIT)
            .await
            .unwrap()
    };
    scene.server.set_gate(&repo, Some(Gate::Auto)).unwrap();
    let served = verify().await;
    assert!(served.gated && !served.is_public());
    scene.server.set_gate(&repo, None).unwrap();
    scene.server.set_private(&repo, true).unwrap();
    let served = verify().await;
    assert!(served.private && !served.is_public());
}

#[tokio::test]
async fn an_error_served_as_a_file_once_is_not_believed() {
    let (scene, model, commit) = published().await;
    let fault = Fault::new(Route::ResolveGet, Action::WrongBytes).for_path("config.json");
    let fault = scene.server.faults().add(fault);
    let verified = scene
        .client()
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    assert!(verified.is_ok());
    assert_eq!(fault.times_applied(), 1);
}

#[tokio::test]
async fn contents_that_cannot_be_read_are_not_served() {
    let (scene, model, commit) = published().await;
    // Neither by HTTP nor by Xet.
    for route in [Route::Content, Route::Token] {
        let broken = Action::Answer(Moment::Before, Answer::status(404));
        scene
            .server
            .faults()
            .add(Fault::new(route, broken).always());
    }
    let verified = scene
        .client()
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    assert_eq!(verified.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn an_older_commit_can_be_verified_and_an_unknown_one_cannot() {
    let (scene, model, commit) = published().await;
    scene.publish(&scene.model(2)).await.unwrap();
    fs::remove_dir_all(&model.dir).unwrap();
    let client = scene.client();
    let verified = client
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    assert!(verified.is_ok());
    let verified = client
        .verify(&scene.repo, CommitId::PENDING, &model.files, NO_LIMIT)
        .await;
    assert_eq!(verified.unwrap_err().status(), Some(404));
}
