//! What the API says of repositories and their files.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fixture, MODEL, inline, sha256, weights};

#[tokio::test]
async fn a_repository_lists_its_files_with_sizes_and_hashes() {
    let fixture = Fixture::new().await;
    let content = weights(200_000);
    fixture
        .commit(&[("config.json", b"{}"), ("model.safetensors", &content)])
        .await
        .unwrap();
    let info = fixture
        .get_json("/api/models/standin/model?blobs=true")
        .await;
    assert_eq!(info["sha"].as_str(), fixture.hub.head(MODEL).as_deref());
    assert_eq!(
        (&info["private"], &info["gated"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        info["siblings"][2]["lfs"]["sha256"],
        json!(sha256(&content))
    );
    assert_eq!(info["siblings"][2]["size"], json!(200_000));
    assert!(info["siblings"][1]["lfs"].is_null());
    assert!(info["usedStorage"].as_u64().unwrap() > 200_002);

    let first = &fixture.hub.commits(MODEL)[0].id;
    let then = fixture
        .get_json(&format!("/api/models/standin/model/revision/{first}"))
        .await;
    assert_eq!(
        (&then["sha"], &then["siblings"]),
        (&json!(first), &json!([{ "rfilename": ".gitattributes" }]))
    );
}

#[tokio::test]
async fn single_paths_are_described_to_both_clients() {
    let fixture = Fixture::new().await;
    let content = weights(50_000);
    fixture
        .commit(&[
            ("folder/config.json", b"{}"),
            ("model.safetensors", &content),
        ])
        .await
        .unwrap();
    let path = "/api/models/standin/model/paths-info/main";
    let wanted = json!({ "paths": ["model.safetensors", "never", "folder"] });
    let from_json: Value = fixture.post(path, &wanted).await.json().await.unwrap();
    assert_eq!(from_json.as_array().unwrap().len(), 2);
    assert_eq!(from_json[0]["lfs"]["oid"], json!(sha256(&content)));
    assert!(from_json[0]["xetHash"].is_string());
    assert_eq!(from_json[1]["type"], "directory");

    let form = fixture
        .request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("paths=model.safetensors&paths=folder%2Fconfig.json&expand=True");
    let from_form: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!(from_form[1]["path"], "folder/config.json");
    assert_eq!(
        from_form[0]["lastCommit"]["id"].as_str(),
        fixture.hub.head(MODEL).as_deref()
    );
}

#[tokio::test]
async fn trees_are_listed_one_level_or_all() {
    let fixture = Fixture::new().await;
    let files = [
        inline("a", "1"),
        inline("folder/b", "2"),
        inline("folder/deep/c", "3"),
    ];
    assert_eq!(fixture.commit_lines(None, &files).await.status(), 200);
    for (path, expected) in [
        ("", vec![".gitattributes", "a", "folder"]),
        ("/folder", vec!["folder/b", "folder/deep"]),
        (
            "?recursive=true",
            vec![
                ".gitattributes",
                "a",
                "folder",
                "folder/b",
                "folder/deep",
                "folder/deep/c",
            ],
        ),
    ] {
        let tree = fixture
            .get_json(&format!("/api/models/standin/model/tree/main{path}"))
            .await;
        let listed: Vec<_> = tree
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["path"].as_str().unwrap())
            .collect();
        assert_eq!(listed, expected, "{path}");
    }
    let history = fixture
        .get_json("/api/models/standin/model/commits/main")
        .await;
    let titles: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|commit| &commit["title"])
        .collect();
    assert_eq!(titles, ["Publish", "initial commit"]);
}
