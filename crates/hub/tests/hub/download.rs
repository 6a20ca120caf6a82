//! Strangers' models, brought here by commit.

use std::fs;

use hub::{Event, Hub, HubError};
use sha2::{Digest as _, Sha256};
use standin_hub::{Action, Answer, Fault, Gate, Moment, Route};
use subnet::{CommitId, FileDigest, RepoId};

use crate::common::{Events, Model, NO_LIMIT, Scene, noise, quiet};

/// A stranger's repository with these files.
fn stranger(scene: &Scene, files: &[(&str, &[u8])]) -> (RepoId, CommitId) {
    let commit = scene.server.seed("stranger/model", files).unwrap();
    (
        RepoId::new("stranger", "model").unwrap(),
        commit.parse().unwrap(),
    )
}

async fn download(
    scene: &Scene,
    repo: &RepoId,
    commit: CommitId,
) -> Result<Vec<FileDigest>, HubError> {
    let into = scene.path("into");
    scene
        .client()
        .download(repo, commit, &into, NO_LIMIT, &quiet)
        .await
}

/// What lies in the folder of downloads.
fn found(scene: &Scene) -> Vec<String> {
    let entries = fs::read_dir(scene.path("into")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_model_is_brought_with_its_digests_and_nothing_else() {
    let scene = Scene::new().await;
    let weights = noise(1, 3_000_000);
    let (repo, commit) = stranger(
        &scene,
        &[
            ("README.md", b"hello"),
            ("config.json", b"{}"),
            ("model.safetensors", &weights),
            ("onnx/model.onnx", b"large"),
            ("pytorch_model.bin", b"pickle"),
        ],
    );
    let digests = download(&scene, &repo, commit).await.unwrap();
    assert_eq!(found(&scene), ["config.json", "model.safetensors"]);
    assert_eq!(digests.len(), 2);
    for digest in &digests {
        let contents = fs::read(scene.path("into").join(&digest.name)).unwrap();
        assert_eq!(digest.bytes, contents.len() as u64);
        assert_eq!(digest.sha256, <[u8; 32]>::from(Sha256::digest(&contents)));
    }
    // A second time, what is there is only hashed.
    let served = scene.server.count(Route::ResolveGet);
    assert_eq!(download(&scene, &repo, commit).await.unwrap(), digests);
    assert_eq!(scene.server.count(Route::ResolveGet), served);
}

#[tokio::test]
async fn what_was_published_in_shards_is_brought_in_shards() {
    let scene = Scene::new().await;
    let model = Model::sharded(&scene.path("sharded"), 5);
    let commit = scene.publish(&model).await.unwrap().commit;
    let events = Events::default();
    let into = scene.path("into");
    let tell = |event| events.add(event);
    let brought = scene
        .client()
        .download(&scene.repo, commit, &into, NO_LIMIT, &tell)
        .await;
    assert_eq!(brought.unwrap(), model.files);
    assert_eq!(found(&scene), model.names());
    let total = model.files.iter().map(|file| file.bytes).sum();
    let last = events.all().pop();
    assert_eq!(last, Some(Event::Transferred { done: total, total }));
}

#[tokio::test]
async fn the_repositorys_size_is_checked_before_the_first_byte() {
    let scene = Scene::new().await;
    let junk = noise(1, 5000);
    let (repo, commit) = stranger(
        &scene,
        &[
            ("config.json", b"{}"),
            ("model.safetensors", b"w"),
            ("junk.bin", &junk),
        ],
    );
    let into = scene.path("into");
    let refused = scene
        .client()
        .download(&repo, commit, &into, 5000, &quiet)
        .await;
    let error = refused.unwrap_err();
    assert!(matches!(error, HubError::TooLarge { .. }), "{error}");
    assert_eq!(scene.server.count(Route::ResolveGet), 0);
    assert!(!into.exists());
}

#[tokio::test]
async fn what_is_no_model_is_refused_before_the_first_byte() {
    for (files, word) in [
        (&[("model.safetensors", &b"w"[..])][..], "no config.json"),
        (
            &[("config.json", b"{}"), ("pytorch_model.bin", b"w")],
            "neither",
        ),
        (
            &[
                ("config.json", b"{}"),
                ("model.safetensors", b"w"),
                ("adapter_config.json", b"{}"),
            ],
            "another model",
        ),
    ] {
        let scene = Scene::new().await;
        let (repo, commit) = stranger(&scene, files);
        let error = download(&scene, &repo, commit).await.unwrap_err();
        assert!(matches!(error, HubError::NoModel { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(scene.server.count(Route::ResolveGet), 0);
    }
}

#[tokio::test]
async fn an_index_that_names_what_is_not_there_or_not_beside_it_is_refused() {
    for (index, word) in [
        (
            &br#"{"weight_map":{"a":"other.safetensors"}}"#[..],
            "which its index names",
        ),
        (br#"{"weight_map":{"a":"../x.safetensors"}}"#, "unusable"),
        (br#"{"weight_map":{"a":"run.py"}}"#, "unusable"),
        (br#"{"weight_map":{}}"#, "unusable"),
        (b"not JSON", "unusable"),
    ] {
        let scene = Scene::new().await;
        let files = [
            ("config.json", &b"{}"[..]),
            ("model.safetensors.index.json", index),
        ];
        let (repo, commit) = stranger(&scene, &files);
        let error = download(&scene, &repo, commit).await.unwrap_err();
        assert!(matches!(error, HubError::NoModel { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_download_that_broke_off_is_resumed_where_it_broke() {
    let scene = Scene::new().await;
    let weights = noise(1, 3_000_000);
    let files = [("config.json", &b"{}"[..]), ("model.safetensors", &weights)];
    let (repo, commit) = stranger(&scene, &files);
    let mut config = scene.config();
    config.waits.attempts = 1;
    let client = Hub::new(config).unwrap();
    let into = scene.path("into");
    let part = into.join("model.safetensors.part");

    let cut = |bytes| Fault::new(Route::Content, Action::CutBody(bytes));
    scene.server.faults().add(cut(2_000_000));
    let broken = client
        .download(&repo, commit, &into, NO_LIMIT, &quiet)
        .await;
    assert!(
        matches!(broken, Err(HubError::Interrupted { .. })),
        "{broken:?}"
    );
    let held = fs::metadata(&part).unwrap().len();
    assert!(held > 0 && held <= 2_000_000, "{held}");

    // An answer cut after what was missing is enough now, and was not before.
    scene.server.faults().add(cut(3_000_000 - held));
    let resumed = client
        .download(&repo, commit, &into, NO_LIMIT, &quiet)
        .await;
    assert!(resumed.is_ok(), "{resumed:?}");
    assert_eq!(fs::read(into.join("model.safetensors")).unwrap(), weights);
    assert!(!part.exists());
}

#[tokio::test]
async fn one_call_resumes_as_long_as_something_arrives() {
    let scene = Scene::new().await;
    let weights = noise(1, 8_000_000);
    let files = [("config.json", &b"{}"[..]), ("model.safetensors", &weights)];
    let (repo, commit) = stranger(&scene, &files);
    // More often than the four attempts that there are without progress.
    let cut = Fault::new(Route::Content, Action::CutBody(1_200_000)).times(6);
    let cut = scene.server.faults().add(cut);
    download(&scene, &repo, commit).await.unwrap();
    assert_eq!(cut.times_applied(), 6);
    assert_eq!(
        fs::read(scene.path("into/model.safetensors")).unwrap(),
        weights
    );
}

#[tokio::test]
async fn wrong_bytes_after_a_good_listing_never_become_the_file() {
    let failure = Answer {
        status: 200,
        headers: Vec::new(),
        body: "upstream connect error".to_owned(),
    };
    for action in [
        Action::WrongBytes,
        Action::Answer(Moment::Before, failure),
        Action::Answer(Moment::Before, Answer::status(500)),
    ] {
        for (route, name) in [
            (Route::Content, "model.safetensors"),
            (Route::ResolveGet, "config.json"),
        ] {
            let scene = Scene::new().await;
            let weights = noise(1, 50_000);
            let files = [("config.json", &b"{}"[..]), ("model.safetensors", &weights)];
            let (repo, commit) = stranger(&scene, &files);
            let mut fault = Fault::new(route, action.clone());
            if route == Route::ResolveGet {
                fault = fault.for_path(name);
            }
            scene.server.faults().add(fault);
            let digests = download(&scene, &repo, commit).await.unwrap();
            assert_eq!(digests.len(), 2);
            let expected = if name == "config.json" {
                b"{}".to_vec()
            } else {
                weights
            };
            assert_eq!(
                fs::read(scene.path("into").join(name)).unwrap(),
                expected,
                "{action:?}"
            );
        }
    }
}

#[tokio::test]
async fn bytes_that_stay_wrong_fail_the_download() {
    let scene = Scene::new().await;
    let files = [
        ("config.json", &b"{}"[..]),
        ("model.safetensors", &[7; 5000]),
    ];
    let (repo, commit) = stranger(&scene, &files);
    let wrong = scene
        .server
        .faults()
        .add(Fault::new(Route::Content, Action::WrongBytes).always());
    let error = download(&scene, &repo, commit).await.unwrap_err();
    assert!(matches!(error, HubError::Corrupt { .. }), "{error}");
    assert_eq!(wrong.times_applied(), 3);
    assert_eq!(found(&scene), ["config.json", "model.safetensors.part"]);
}

#[tokio::test]
async fn what_an_earlier_download_left_is_hashed_before_it_counts() {
    let scene = Scene::new().await;
    let weights = noise(1, 50_000);
    let files = [("config.json", &b"{}"[..]), ("model.safetensors", &weights)];
    let (repo, commit) = stranger(&scene, &files);
    let into = scene.path("into");
    fs::create_dir_all(&into).unwrap();
    fs::write(into.join("config.json"), b"[]").unwrap();
    fs::write(into.join("model.safetensors.part"), noise(2, 20_000)).unwrap();
    download(&scene, &repo, commit).await.unwrap();
    assert_eq!(fs::read(into.join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(into.join("model.safetensors")).unwrap(), weights);

    fs::remove_file(into.join("model.safetensors")).unwrap();
    fs::write(into.join("model.safetensors.part"), noise(2, 60_000)).unwrap();
    download(&scene, &repo, commit).await.unwrap();
    assert_eq!(fs::read(into.join("model.safetensors")).unwrap(), weights);
}

#[tokio::test]
async fn gated_missing_and_unknown_models_are_refused_in_words() {
    let scene = Scene::new().await;
    let (repo, commit) = stranger(
        &scene,
        &[("config.json", b"{}"), ("model.safetensors", b"w")],
    );
    let nobody = RepoId::new("stranger", "nothing").unwrap();
    let error = download(&scene, &nobody, commit).await.unwrap_err();
    assert!(matches!(error, HubError::NoRepository { .. }), "{error}");
    let error = download(&scene, &repo, CommitId::PENDING)
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(404), "{error}");
    scene
        .server
        .set_gate("stranger/model", Some(Gate::Manual))
        .unwrap();
    let error = download(&scene, &repo, commit).await.unwrap_err();
    assert_eq!(error.status(), Some(403), "{error}");
    assert!(error.to_string().contains("GatedRepo"), "{error}");
    assert!(error.advice().unwrap().contains("gated"));
}

#[tokio::test]
async fn a_large_file_that_is_not_served_by_http_is_read_from_xets_storage() {
    let scene = Scene::new().await;
    let model = Model::new(&scene.path("model"), 1, 3_000_000);
    let commit = scene.publish(&model).await.unwrap().commit;
    let faults = scene.server.faults();
    faults.add(Fault::new(Route::Content, Action::CutBody(1_500_000)));
    let gone = Action::Answer(Moment::Before, Answer::status(404));
    faults.add(Fault::new(Route::Content, gone).skip(1).always());
    let brought = download(&scene, &scene.repo, commit).await.unwrap();
    assert_eq!(brought, model.files);
    assert_eq!(found(&scene), model.names());
    let verified = scene
        .client()
        .verify(&scene.repo, commit, &model.files, NO_LIMIT)
        .await;
    assert!(verified.is_ok(), "{verified:?}");

    // With the storage gone as well, the first refusal is the one that counts.
    let gone = Action::Answer(Moment::Before, Answer::status(404));
    faults.add(Fault::new(Route::Token, gone).always());
    fs::remove_dir_all(scene.path("into")).unwrap();
    let error = download(&scene, &scene.repo, commit).await.unwrap_err();
    assert!(
        error.to_string().starts_with("downloading a file"),
        "{error}"
    );
}
