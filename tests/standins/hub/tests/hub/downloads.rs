//! Downloads: what answers say of a file, and its bytes.

use reqwest::Method;
use reqwest::header::{IF_NONE_MATCH, RANGE};
use standin_hub::Route;

use crate::support::{Fixture, MODEL, sha256, weights};

#[tokio::test]
async fn hf_hub_downloads_what_it_uploaded() {
    let fixture = Fixture::new().await;
    let content = weights(3_000_000);
    let made = fixture
        .commit(&[("config.json", b"{}"), ("model.safetensors", &content)])
        .await
        .unwrap();
    let commit = made.commit_oid.unwrap();
    let folder = fixture
        .model()
        .snapshot_download()
        .revision(commit)
        .send()
        .await
        .unwrap();
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        content
    );
    assert_eq!(
        fixture.hub.count(Route::Content),
        0,
        "Xet does not need the other host"
    );
}

#[tokio::test]
async fn a_large_file_is_somewhere_else() {
    let fixture = Fixture::new().await;
    let content = weights(1_500_000);
    fixture
        .commit(&[("model.safetensors", &content)])
        .await
        .unwrap();
    let commit = fixture.hub.commits(MODEL).pop().unwrap();
    let path = "/standin/model/resolve/main/model.safetensors";
    let head = fixture.request(Method::HEAD, path).send().await.unwrap();
    assert_eq!(head.status(), 302);
    let header = |name: &str| head.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-repo-commit"), commit.id);
    assert_eq!(header("x-linked-size"), "1500000");
    assert_eq!(header("x-linked-etag"), format!("\"{}\"", sha256(&content)));
    assert_eq!(
        Some(header("x-xet-hash")),
        commit.files["model.safetensors"]
            .lfs
            .clone()
            .unwrap()
            .xet_hash
    );
    assert!(header("link").contains(&format!("/xet-read-token/{}>; rel=\"xet-auth\"", commit.id)));
    assert!(
        header("location").starts_with("http://localhost:"),
        "another host name than 127.0.0.1"
    );

    // Whoever follows gets the bytes, without a token.
    let address = header("location");
    assert_eq!(
        reqwest::get(&address).await.unwrap().bytes().await.unwrap(),
        content
    );
    let part = reqwest::Client::new()
        .get(&address)
        .header(RANGE, "bytes=1000000-1000009")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        "bytes 1000000-1000009/1500000"
    );
    assert_eq!(part.bytes().await.unwrap(), content[1_000_000..1_000_010]);
    let beyond = reqwest::Client::new()
        .get(&address)
        .header(RANGE, "bytes=1500000-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), 416);
}

#[tokio::test]
async fn a_small_file_is_served_at_once() {
    let fixture = Fixture::new().await;
    fixture
        .commit(&[("config.json", b"hello\n")])
        .await
        .unwrap();
    let path = "/standin/model/resolve/main/config.json";
    let answer = fixture.get(path).await;
    assert_eq!(answer.status(), 200);
    // The blob's name in git, as git hash-object gives it.
    assert_eq!(
        answer.headers()["etag"],
        "\"ce013625030ba8dba906f756967f9e9ca394464a\""
    );
    assert_eq!(
        answer.headers()["x-repo-commit"],
        fixture.hub.head(MODEL).unwrap().as_str()
    );
    let etag = answer.headers()["etag"].clone();
    assert_eq!(answer.bytes().await.unwrap(), "hello\n");

    let head = fixture.request(Method::HEAD, path).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"6".parse().unwrap())
    );
    let known = fixture
        .request(Method::HEAD, path)
        .header(IF_NONE_MATCH, etag)
        .send()
        .await
        .unwrap();
    assert_eq!(known.status(), 304);
    let part = fixture
        .request(Method::GET, path)
        .header(RANGE, "bytes=-3")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (part.status().as_u16(), part.bytes().await.unwrap().as_ref()),
        (206, b"lo\n".as_slice())
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let fixture = Fixture::new().await;
    for (path, status, code) in [
        ("/standin/model/resolve/main/never", 404, "EntryNotFound"),
        (
            "/standin/model/resolve/gone/config.json",
            404,
            "RevisionNotFound",
        ),
        (
            "/standin/never/resolve/main/config.json",
            404,
            "RepoNotFound",
        ),
        ("/api/models/standin/never", 404, "RepoNotFound"),
        (
            "/api/models/standin/model/revision/gone",
            404,
            "RevisionNotFound",
        ),
        (
            "/api/models/standin/model/tree/main/never",
            404,
            "EntryNotFound",
        ),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["x-error-code"], code, "{path}");
    }
    // Without a token the Hub does not say whether there is such a repository.
    let answer = fixture
        .anonymous(Method::GET, "/api/models/standin/never")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-error-code"]),
        (401, &"RepoNotFound".parse().unwrap())
    );
}

#[tokio::test]
async fn a_seeded_repository_is_served_without_xet() {
    let fixture = Fixture::empty().await;
    let content = weights(100_000);
    let commit = fixture
        .hub
        .seed(
            "other/model",
            &[("config.json", b"{}"), ("model.safetensors", &content)],
        )
        .unwrap();
    let head = fixture
        .request(
            Method::HEAD,
            &format!("/other/model/resolve/{commit}/model.safetensors"),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(
        head.headers()["x-linked-etag"],
        format!("\"{}\"", sha256(&content)).as_str()
    );
    assert!(!head.headers().contains_key("x-xet-hash"));
    let model = fixture.client().model("other", "model");
    let folder = model
        .snapshot_download()
        .revision(commit)
        .send()
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        content
    );
}
