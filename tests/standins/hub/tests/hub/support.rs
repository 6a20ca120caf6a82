//! A Hub with a client, and what tests upload.

use hf_hub::repository::{CommitInfo, CommitOperation, HFRepository, RepoTypeModel};
use hf_hub::{HFClient, HFError};
use rand::RngExt as _;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use standin_hub::{Options, StandinHub};
use tempfile::TempDir;

/// The repository that tests upload to.
pub(crate) const MODEL: &str = "standin/model";

/// A running Hub, and the folders of its state and of its client's cache.
pub(crate) struct Fixture {
    pub(crate) hub: StandinHub,
    pub(crate) state: TempDir,
    pub(crate) cache: TempDir,
}

impl Fixture {
    /// A Hub without repositories.
    pub(crate) async fn empty() -> Fixture {
        let state = tempfile::tempdir().unwrap();
        let hub = StandinHub::start(Options::new(state.path())).await.unwrap();
        Fixture {
            hub,
            state,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    /// A Hub with one repository, which has its first commit only.
    pub(crate) async fn new() -> Fixture {
        let fixture = Fixture::empty().await;
        let created = fixture
            .post("/api/repos/create", &json!({ "name": "model" }))
            .await;
        assert_eq!(created.status(), 200);
        fixture
    }

    /// hf-hub as a client that tries once.
    pub(crate) fn client(&self) -> HFClient {
        self.retrying_client(0)
    }

    /// hf-hub as a client that tries again so many times, soon.
    pub(crate) fn retrying_client(&self, retries: usize) -> HFClient {
        HFClient::builder()
            .endpoint(self.hub.endpoint())
            .token(self.hub.token())
            .cache_dir(self.cache.path())
            .retry_max_attempts(retries)
            .retry_base_delay(std::time::Duration::from_millis(1))
            .build()
            .unwrap()
    }

    pub(crate) fn model(&self) -> HFRepository<RepoTypeModel> {
        self.client().model("standin", "model")
    }

    /// Commits files on the head as hf-hub does.
    pub(crate) async fn commit(&self, files: &[(&str, &[u8])]) -> Result<CommitInfo, HFError> {
        let parent = self.hub.head(MODEL).unwrap();
        commit(&self.model(), files, Some(parent)).await
    }

    /// A request with the Hub's write token, whose redirects are not followed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(self.hub.token())
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        client.request(method, format!("{}{path}", self.hub.endpoint()))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Commits lines of NDJSON after a header.
    pub(crate) async fn commit_lines(&self, parent: Option<&str>, lines: &[Value]) -> Response {
        self.request(Method::POST, "/api/models/standin/model/commit/main")
            .body(ndjson(parent, lines))
            .send()
            .await
            .unwrap()
    }
}

pub(crate) async fn commit(
    model: &HFRepository<RepoTypeModel>,
    files: &[(&str, &[u8])],
    parent: Option<String>,
) -> Result<CommitInfo, HFError> {
    let operations = files
        .iter()
        .map(|(path, content)| CommitOperation::add_bytes(*path, content.to_vec()))
        .collect();
    model
        .create_commit()
        .operations(operations)
        .commit_message("Publish")
        .maybe_parent_commit(parent)
        .send()
        .await
}

/// The body of a commit.
pub(crate) fn ndjson(parent: Option<&str>, lines: &[Value]) -> String {
    let header =
        json!({ "key": "header", "value": { "summary": "Publish", "parentCommit": parent } });
    std::iter::once(&header)
        .chain(lines)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A line of a commit: a small file, inline.
pub(crate) fn inline(path: &str, text: &str) -> Value {
    json!({ "key": "file", "value": { "path": path, "content": text, "encoding": "utf-8" } })
}

/// Bytes that no earlier test has uploaded: a client's cache, which is its
/// user's and not the test's, must not take them for known.
pub(crate) fn weights(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    rand::rng().fill(content.as_mut_slice());
    content
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
