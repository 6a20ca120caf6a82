//! Commits.
//!
//! All operations of a request become one commit or none does. A `parentCommit`
//! that is not the head is refused with 412. A large file must be in storage, in
//! the CAS or by an upload without Xet, and the content there must have the
//! SHA-256 that the commit names; otherwise the push is refused as git's would
//! be. A file of 10 MiB or more may not come inline. A request without changes
//! makes an empty commit: it is huggingface_hub that leaves such commits out, not
//! the Hub, and so a commit that is sent twice without a parent is made twice.
//!
//! Sources: huggingface_hub's `create_commit` for the shape of question and
//! answer; the sentences of refusals as quoted in issue trackers; that a missing
//! file cannot be deleted (404 EntryNotFound) from its `delete_file`.
//!
//! Not modelled: pull requests (`create_pr`), branches, checks of model cards,
//! the limit on files in a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::operations::{CommitRequest, Operation};
use super::{ApiError, Shared, base_url};
use crate::attributes;
use crate::hub::Hub;
use crate::store::{CommitInfo, FileEntry, Repository, lfs_entry};

/// What the Hub answers to a commit whose parent is not the head.
pub(crate) const STALE_PARENT: &str = "A commit has happened since. Please refresh and try again.";

pub(super) async fn commit(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{namespace}/{name}");
    let caller = hub.accounts.caller(&headers)?;
    hub.visible(&caller, &id)?;
    hub.accounts.may_write(&caller, &id)?;
    if revision != "main" {
        return Err(ApiError::no_revision(&revision));
    }
    if uri
        .query()
        .is_some_and(|query| query.contains("create_pr=1"))
    {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "the stand-in has no pull requests",
        ));
    }
    let request = CommitRequest::parse(&body)?;
    let changes = stored(&hub, request.operations).await?;
    let made = hub
        .store
        .update(&id, |repository| {
            let parent = request.parent.as_deref();
            apply(
                repository,
                hub.accounts.name(),
                &request.title,
                &request.description,
                parent,
                changes,
            )
        })
        .ok_or_else(|| ApiError::no_repository(&caller))??;
    tracing::info!(repository = id, commit = made.id, "committed");
    Ok(Json(json!({
        "success": true,
        "commitOid": made.id,
        "commitUrl": format!("{}/{id}/commit/{}", base_url(&headers), made.id),
        "hookOutput": "",
    })))
}

enum Change {
    Put(String, FileEntry),
    DeleteFile(String),
    DeleteFolder(String),
}

/// Turns operations into changes of entries whose contents are in storage.
async fn stored(hub: &Arc<Hub>, operations: Vec<Operation>) -> Result<Vec<Change>, ApiError> {
    let mut changes = Vec::new();
    for operation in operations {
        changes.push(match operation {
            Operation::Inline { path, content } => {
                if content.len() as u64 >= attributes::LARGE {
                    return Err(ApiError::bad_request(format!(
                        "Your push was rejected because it contains files larger than 10 MiB. \
                         Please use https://git-lfs.github.com/ to store large files. Offending files: - {path}"
                    )));
                }
                Change::Put(path, hub.store.put_blob(&content)?)
            }
            Operation::Large { path, sha256, bytes } => {
                let entry = large(hub, &sha256, bytes).await?.ok_or_else(|| {
                    ApiError::bad_request(format!(
                        "Your push was rejected because an LFS pointer pointed to a file that does not exist. \
                         Offending file: - {path}"
                    ))
                })?;
                Change::Put(path, entry)
            }
            Operation::DeleteFile { path } => Change::DeleteFile(path),
            Operation::DeleteFolder { path } => Change::DeleteFolder(path),
        });
    }
    Ok(changes)
}

/// The entry of a large file that is in storage with this content.
async fn large(hub: &Hub, sha256: &str, bytes: Option<u64>) -> Result<Option<FileEntry>, ApiError> {
    let entry = match hub.cas.find(sha256).await? {
        Some(file) => Some(lfs_entry(sha256, file.bytes, Some(file.hash))),
        None => hub
            .store
            .lfs_bytes(sha256)
            .map(|bytes| lfs_entry(sha256, bytes, None)),
    };
    Ok(entry.filter(|entry| bytes.is_none_or(|bytes| bytes == entry.bytes)))
}

fn apply(
    repository: &mut Repository,
    author: &str,
    title: &str,
    description: &str,
    parent: Option<&str>,
    changes: Vec<Change>,
) -> Result<CommitInfo, ApiError> {
    let head = repository.head();
    if parent.is_some_and(|parent| head.is_none_or(|head| head.id != parent)) {
        return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, STALE_PARENT));
    }
    let mut files: BTreeMap<String, FileEntry> =
        head.map(|head| head.files.clone()).unwrap_or_default();
    for change in changes {
        match change {
            Change::Put(path, entry) => {
                files.insert(path, entry);
            }
            Change::DeleteFile(path) => {
                files
                    .remove(&path)
                    .ok_or_else(|| ApiError::no_entry(&path))?;
            }
            Change::DeleteFolder(path) => {
                let within = format!("{path}/");
                let before = files.len();
                files.retain(|file, _| !file.starts_with(&within));
                if files.len() == before {
                    return Err(ApiError::no_entry(&path));
                }
            }
        }
    }
    Ok(repository.commit(author, title, description, files))
}
