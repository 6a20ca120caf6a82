//! Commits by hf-hub and by plain HTTP.

use serde_json::json;
use standin_hub::{Options, Route, StandinHub};

use crate::support::{Fixture, MODEL, commit, inline, sha256, weights};

const CONFIG: &[u8] = br#"{"model_type":"gpt2"}"#;

#[tokio::test]
async fn a_commit_through_xet_is_there_whole() {
    let fixture = Fixture::new().await;
    let model = weights(5_000_000);
    let made = fixture
        .commit(&[("config.json", CONFIG), ("model.safetensors", &model)])
        .await
        .unwrap();

    let commits = fixture.hub.commits(MODEL);
    let [first, second] = commits.as_slice() else {
        panic!("two commits, not {commits:?}")
    };
    assert_eq!(made.commit_oid.as_deref(), Some(second.id.as_str()));
    assert_eq!(
        (second.id.len(), second.parent.as_ref()),
        (40, Some(&first.id))
    );
    assert_eq!(first.files.keys().collect::<Vec<_>>(), [".gitattributes"]);

    let large = second.files["model.safetensors"].lfs.clone().unwrap();
    assert_eq!(large.sha256, sha256(&model));
    assert!(large.xet_hash.is_some());
    assert_eq!(second.files["config.json"].lfs, None);
    let files = fixture.hub.files(MODEL, &second.id).await.unwrap();
    assert_eq!(files["model.safetensors"], model);
    assert_eq!(files["config.json"], CONFIG);
    assert!(fixture.hub.count(Route::Cas) > 0);
}

#[tokio::test]
async fn a_stale_parent_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let first = fixture.hub.head(MODEL);
    fixture.commit(&[("config.json", b"{}")]).await.unwrap();
    let error = commit(&fixture.model(), &[("config.json", b"[]")], first)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("A commit has happened since"),
        "{error}"
    );
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}

#[tokio::test]
async fn a_hub_started_again_has_all_that_was_committed() {
    let Fixture { hub, state, cache } = Fixture::new().await.with_commit().await;
    let (commits, files) = (hub.commits(MODEL), hub.files(MODEL, "main").await.unwrap());
    hub.stop().await;

    let hub = StandinHub::start(Options::new(state.path())).await.unwrap();
    assert_eq!(hub.commits(MODEL), commits);
    assert_eq!(hub.files(MODEL, "main").await.unwrap(), files);
    let fixture = Fixture { hub, state, cache };
    let folder = fixture.model().snapshot_download().send().await.unwrap();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        files["model.safetensors"]
    );
}

impl Fixture {
    async fn with_commit(self) -> Fixture {
        self.commit(&[
            ("config.json", CONFIG),
            ("model.safetensors", &weights(2_000_000)),
        ])
        .await
        .unwrap();
        self
    }
}

#[tokio::test]
async fn a_large_file_that_is_not_in_storage_is_refused() {
    let fixture = Fixture::new().await.with_commit().await;
    let known = fixture.hub.commits(MODEL)[1].files["model.safetensors"].clone();
    let line = |oid: &str, size: u64| json!({ "key": "lfsFile", "value": { "path": "copy.bin", "algo": "sha256", "oid": oid, "size": size } });
    for (oid, size) in [
        (sha256(b"never uploaded"), 14),
        (known.lfs.clone().unwrap().sha256, known.bytes + 1),
    ] {
        let refused = fixture.commit_lines(None, &[line(&oid, size)]).await;
        assert_eq!(refused.status(), 400);
        let message = refused.text().await.unwrap();
        assert!(
            message.contains("LFS pointer pointed to a file that does not exist"),
            "{message}"
        );
    }
    let again = fixture
        .commit_lines(None, &[line(&known.lfs.unwrap().sha256, known.bytes)])
        .await;
    assert_eq!(again.status(), 200);
    assert_eq!(fixture.hub.commits(MODEL).len(), 3);
}

#[tokio::test]
async fn deletions_and_additions_make_one_commit() {
    let fixture = Fixture::new().await;
    let added = [
        inline("old.json", "1"),
        inline("folder/a", "2"),
        inline("folder/b/c", "3"),
        inline("kept", "4"),
    ];
    assert_eq!(fixture.commit_lines(None, &added).await.status(), 200);
    let head = fixture.hub.head(MODEL);
    let changes = [
        json!({ "key": "deletedFile", "value": { "path": "old.json" } }),
        json!({ "key": "deletedFolder", "value": { "path": "folder/" } }),
        inline("new.json", "5"),
    ];
    let answer: serde_json::Value = fixture
        .commit_lines(head.as_deref(), &changes)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        answer["commitOid"].as_str(),
        fixture.hub.head(MODEL).as_deref()
    );
    let files = fixture.hub.files(MODEL, "main").await.unwrap();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        [".gitattributes", "kept", "new.json"]
    );

    let missing = [
        inline("never", ""),
        json!({ "key": "deletedFile", "value": { "path": "old.json" } }),
    ];
    let refused = fixture.commit_lines(None, &missing).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.headers()["x-error-code"]
        ),
        (404, &"EntryNotFound".parse().unwrap())
    );
    assert_eq!(fixture.hub.files(MODEL, "main").await.unwrap(), files);
}

#[tokio::test]
async fn a_commit_sent_twice_without_a_parent_is_made_twice() {
    let fixture = Fixture::new().await;
    for expected in [2, 3] {
        assert_eq!(
            fixture
                .commit_lines(None, &[inline("a", "same")])
                .await
                .status(),
            200
        );
        assert_eq!(fixture.hub.commits(MODEL).len(), expected);
    }
}

#[tokio::test]
async fn large_files_may_not_come_inline() {
    let fixture = Fixture::new().await;
    let refused = fixture
        .commit_lines(None, &[inline("a.txt", &"a".repeat(10 * 1024 * 1024))])
        .await;
    assert_eq!(refused.status(), 400);
    assert_eq!(fixture.hub.commits(MODEL).len(), 1);
}

#[tokio::test]
async fn a_file_can_be_uploaded_without_xet() {
    let fixture = Fixture::new().await;
    let content = weights(1000);
    let batch = json!({
        "operation": "upload", "transfers": ["basic"], "objects": [{ "oid": sha256(&content), "size": 1000 }],
    });
    let answer: serde_json::Value = fixture
        .post("/standin/model.git/info/lfs/objects/batch", &batch)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer["transfer"], "basic");
    let address = answer["objects"][0]["actions"]["upload"]["href"]
        .as_str()
        .unwrap();
    let client = reqwest::Client::new();
    assert_eq!(
        client
            .put(address)
            .body(weights(1000))
            .send()
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(
        client
            .put(address)
            .body(content.clone())
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let line = json!({ "key": "lfsFile", "value": { "path": "a.bin", "algo": "sha256", "oid": sha256(&content) } });
    assert_eq!(fixture.commit_lines(None, &[line]).await.status(), 200);
    assert_eq!(
        fixture.hub.files(MODEL, "main").await.unwrap()["a.bin"],
        content
    );
}

#[tokio::test]
async fn preupload_sorts_files_and_names_what_is_there() {
    let fixture = Fixture::new().await;
    fixture.commit(&[("config.json", CONFIG)]).await.unwrap();
    let wanted = json!({ "files": [
        { "path": "config.json", "size": CONFIG.len(), "sample": "" },
        { "path": "model.safetensors", "size": 3, "sample": "AAAA" },
        { "path": "huge.txt", "size": 10 * 1024 * 1024, "sample": "YWFh" },
    ] });
    let answer: serde_json::Value = fixture
        .post("/api/models/standin/model/preupload/main", &wanted)
        .await
        .json()
        .await
        .unwrap();
    let modes: Vec<_> = answer["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["uploadMode"])
        .collect();
    assert_eq!(modes, ["regular", "lfs", "lfs"]);
    let there = fixture.hub.commits(MODEL)[1].files["config.json"]
        .oid
        .clone();
    assert_eq!(answer["files"][0]["oid"], json!(there));
    assert_eq!(answer["files"][1]["oid"], json!(null));
}
