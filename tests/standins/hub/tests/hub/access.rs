//! Tokens, namespaces, and repositories that not everybody may see.

use reqwest::Method;
use serde_json::{Value, json};
use standin_hub::{Gate, Role, Scope, Token};

use crate::support::{Fixture, MODEL, inline, ndjson, weights};

fn token(secret: &str, role: Role) -> Token {
    Token {
        secret: secret.to_owned(),
        role,
    }
}

fn scope(entity: &str, permission: &str) -> Role {
    Role::FineGrained(vec![Scope {
        entity: entity.to_owned(),
        permissions: vec![permission.to_owned()],
    }])
}

#[tokio::test]
async fn a_token_says_whose_it_is_and_what_it_may() {
    let fixture = Fixture::empty().await;
    fixture.hub.add_token(token("hf_read", Role::Read));
    fixture
        .hub
        .add_token(token("hf_fine", scope("standin/model", "repo.write")));
    assert_eq!(
        fixture.client().whoami().send().await.unwrap().username,
        "standin"
    );
    for (secret, role) in [
        (fixture.hub.token(), "write"),
        ("hf_read", "read"),
        ("hf_fine", "fineGrained"),
    ] {
        let request = fixture
            .anonymous(Method::GET, "/api/whoami-v2")
            .bearer_auth(secret);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["auth"]["accessToken"]["role"], role);
        if role == "fineGrained" {
            let scoped = &answer["auth"]["accessToken"]["fineGrained"]["scoped"][0];
            assert_eq!(scoped["entity"]["name"], "standin/model");
            assert_eq!(scoped["permissions"], json!(["repo.write"]));
        }
    }
    for request in [
        fixture.anonymous(Method::GET, "/api/whoami-v2"),
        fixture
            .anonymous(Method::GET, "/api/whoami-v2")
            .bearer_auth("hf_other"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn only_a_token_that_may_write_writes() {
    let fixture = Fixture::new().await;
    fixture.hub.add_token(token("hf_read", Role::Read));
    fixture
        .hub
        .add_token(token("hf_this", scope("standin/model", "repo.write")));
    fixture
        .hub
        .add_token(token("hf_other", scope("standin/other", "repo.write")));
    fixture
        .hub
        .add_token(token("hf_look", scope("standin", "repo.content.read")));
    for (secret, status) in [
        ("hf_read", 403),
        ("hf_other", 403),
        ("hf_look", 403),
        ("hf_unknown", 401),
        ("hf_this", 200),
    ] {
        for (method, path, body) in [
            (
                Method::POST,
                "/api/models/standin/model/preupload/main",
                json!({ "files": [] }).to_string(),
            ),
            (
                Method::GET,
                "/api/models/standin/model/xet-write-token/main",
                String::new(),
            ),
            (
                Method::POST,
                "/api/models/standin/model/commit/main",
                ndjson(None, &[inline("a", "1")]),
            ),
        ] {
            let request = fixture
                .anonymous(method, path)
                .bearer_auth(secret)
                .body(body);
            assert_eq!(
                request.send().await.unwrap().status(),
                status,
                "{secret} {path}"
            );
        }
    }
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}

#[tokio::test]
async fn repositories_are_created_once_and_at_home() {
    let fixture = Fixture::empty().await;
    fixture.hub.seed("other/model", &[]).unwrap();
    fixture.hub.add_token(token("hf_read", Role::Read));
    for (body, status) in [
        (
            json!({ "name": "model", "organization": null, "visibility": "private" }),
            200,
        ),
        (json!({ "name": "model", "organization": "standin" }), 409),
        (json!({ "name": "model", "organization": "nobody" }), 404),
        (json!({ "name": "mine", "organization": "other" }), 403),
        (json!({ "name": "no such name" }), 400),
    ] {
        assert_eq!(
            fixture.post("/api/repos/create", &body).await.status(),
            status,
            "{body}"
        );
    }
    assert_eq!(
        fixture.get_json("/api/models/standin/model").await["private"],
        true
    );
    assert_eq!(fixture.hub.commits(MODEL).len(), 1);
    let request = fixture
        .anonymous(Method::POST, "/api/repos/create")
        .bearer_auth("hf_read");
    assert_eq!(
        request
            .body(json!({ "name": "new" }).to_string())
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn a_private_repository_does_not_exist_for_others() {
    let fixture = Fixture::new().await;
    fixture.commit(&[("config.json", b"{}")]).await.unwrap();
    fixture.hub.set_private(MODEL, true).unwrap();
    fixture
        .hub
        .add_token(token("hf_elsewhere", scope("standin/other", "repo.write")));
    for path in [
        "/api/models/standin/model",
        "/standin/model/resolve/main/config.json",
    ] {
        assert_eq!(fixture.get(path).await.status(), 200, "{path}");
        assert_eq!(
            fixture
                .anonymous(Method::GET, path)
                .send()
                .await
                .unwrap()
                .status(),
            401,
            "{path}"
        );
        let stranger = fixture
            .anonymous(Method::GET, path)
            .bearer_auth("hf_elsewhere")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                stranger.status().as_u16(),
                &stranger.headers()["x-error-code"]
            ),
            (404, &"RepoNotFound".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_gate_lets_strangers_look_and_not_read() {
    let fixture = Fixture::empty().await;
    fixture
        .hub
        .seed(
            "other/model",
            &[("config.json", b"{}"), ("model.safetensors", &weights(10))],
        )
        .unwrap();
    fixture
        .hub
        .set_gate("other/model", Some(Gate::Manual))
        .unwrap();
    assert_eq!(
        fixture.get_json("/api/models/other/model").await["gated"],
        "manual"
    );
    for path in [
        "/other/model/resolve/main/config.json",
        "/other/model/resolve/main/model.safetensors",
        "/api/models/other/model/xet-read-token/main",
    ] {
        let refused = fixture.get(path).await;
        assert_eq!(
            (
                refused.status().as_u16(),
                &refused.headers()["x-error-code"]
            ),
            (403, &"GatedRepo".parse().unwrap()),
            "{path}"
        );
        assert_eq!(
            fixture
                .anonymous(Method::GET, path)
                .send()
                .await
                .unwrap()
                .status(),
            401,
            "{path}"
        );
    }
    fixture.hub.set_gate("other/model", None).unwrap();
    assert_eq!(
        fixture
            .get("/other/model/resolve/main/config.json")
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn the_content_store_asks_for_its_own_token() {
    let fixture = Fixture::new().await;
    let token = fixture
        .get("/api/models/standin/model/xet-read-token/main")
        .await;
    let in_headers = token.headers()["x-xet-access-token"]
        .to_str()
        .unwrap()
        .to_owned();
    let token: Value = token.json().await.unwrap();
    assert_eq!(token["accessToken"], json!(in_headers));
    let store = token["casUrl"].as_str().unwrap();
    let client = reqwest::Client::new();
    let none = format!("{store}/v1/reconstructions/{}", "0".repeat(64));
    // 416 is what this CAS server says of a file that it does not have.
    for (secret, status) in [(in_headers.as_str(), 416), (fixture.hub.token(), 401)] {
        assert_eq!(
            client
                .get(&none)
                .bearer_auth(secret)
                .send()
                .await
                .unwrap()
                .status(),
            status
        );
    }
    let write = client
        .post(format!("{store}/v1/shards"))
        .bearer_auth(in_headers);
    assert_eq!(
        write.send().await.unwrap().status(),
        401,
        "a token for reading"
    );
}
