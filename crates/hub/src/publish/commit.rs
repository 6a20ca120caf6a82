//! The commit itself, one attempt at a time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use subnet::{CommitId, RepoId};

use super::staged::Staged;
use crate::answers::CommitAnswer;
use crate::repository::{BRANCH, Repository};
use crate::{Hub, HubError};

const CALL: &str = "committing";

/// A commit as it is sent: one line of JSON for the header and for each file.
pub(crate) struct Commit {
    body: Vec<u8>,
}

impl Commit {
    /// The commit that turns `head` into exactly the staged files, those named
    /// in `large` by reference to contents that the storage has already.
    pub(crate) fn new(message: &str, staged: &Staged, head: &Repository, large: &[String]) -> Self {
        let header = json!({
            "summary": message,
            "description": "",
            "parentCommit": head.head.to_string(),
        });
        let mut body = Vec::new();
        push(&mut body, "header", &header);
        for file in staged.files() {
            let contents = staged.contents(&file.name);
            let by_reference = large.contains(&file.name);
            match contents.filter(|_| !by_reference) {
                Some(contents) => {
                    let value = json!({
                        "path": file.name,
                        "encoding": "base64",
                        "content": STANDARD.encode(contents),
                    });
                    push(&mut body, "file", &value);
                }
                None => {
                    let value = json!({
                        "path": file.name,
                        "algo": "sha256",
                        "oid": hex::encode(file.sha256),
                        "size": file.bytes,
                    });
                    push(&mut body, "lfsFile", &value);
                }
            }
        }
        for path in staged.superfluous(head) {
            push(&mut body, "deletedFile", &json!({ "path": path }));
        }
        Self { body }
    }

    /// Sends it, once: whoever sends it again must read the head before.
    pub(crate) async fn send(self, hub: &Hub, repo: &RepoId) -> Result<CommitId, HubError> {
        let parts = [
            "api",
            "models",
            repo.namespace(),
            repo.name(),
            "commit",
            BRANCH,
        ];
        let request = hub
            .http
            .request(Method::POST, hub.http.url(parts))
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(self.body);
        let answer = hub.call(CALL, request).await?;
        let commit = CommitAnswer::parse(&answer.body)
            .map_err(|error| HubError::answer(CALL, error.to_string()))?;
        Ok(commit.commit)
    }
}

fn push(body: &mut Vec<u8>, key: &str, value: &Value) {
    let line = json!({ "key": key, "value": value });
    body.extend_from_slice(line.to_string().as_bytes());
    body.push(b'\n');
}
