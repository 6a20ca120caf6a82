//! Listings of files: trees, and single paths.
//!
//! A large file's entry has `lfs` with `oid` (the SHA-256), `size` and
//! `pointerSize`, and its `xetHash`. The SHA-256 is called `oid` here and
//! `sha256` among the siblings of a repository's info; hf-hub 1.0 looks for
//! `sha256` in both and so finds none here. Sources: huggingface_hub's `RepoFile`
//! and `RepoFolder`; `paths-info` takes a form from huggingface_hub and JSON from
//! hf-hub, and leaves out paths that are not there.
//!
//! Not modelled: pages, security scans.

use std::collections::BTreeMap;

use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::{Form, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::info::is_true;
use super::{ApiError, Shared, at, parse};
use crate::hub::Hub;
use crate::store::{CommitInfo, FileEntry, Repository, lfs_pointer, rfc3339, tree_ids};

type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn root(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    tree(
        &hub,
        &format!("{namespace}/{name}"),
        &revision,
        "",
        &parameters,
        &headers,
    )
}

pub(super) async fn folder(
    State(hub): Shared,
    Path((namespace, name, revision, path)): Path<(String, String, String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    tree(
        &hub,
        &format!("{namespace}/{name}"),
        &revision,
        path.trim_matches('/'),
        &parameters,
        &headers,
    )
}

fn tree(
    hub: &Hub,
    id: &str,
    revision: &str,
    folder: &str,
    parameters: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let repository = hub.visible(&hub.accounts.caller(headers)?, id)?;
    let commit = at(&repository, revision)?;
    let asked = |wanted: &str| {
        parameters
            .iter()
            .any(|(name, value)| name == wanted && is_true(value))
    };
    let (recursive, expand) = (asked("recursive"), asked("expand"));
    let directories = tree_ids(&commit.files);
    if !directories.contains_key(folder) {
        return Err(ApiError::no_entry(folder));
    }
    let within = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let listed = |path: &str| {
        path.strip_prefix(&within)
            .is_some_and(|rest| !rest.is_empty() && (recursive || !rest.contains('/')))
    };
    let mut entries = BTreeMap::new();
    for (path, oid) in directories.iter().filter(|(path, _)| listed(path)) {
        entries.insert(
            path.as_str(),
            json!({ "type": "directory", "oid": oid, "size": 0, "path": path }),
        );
    }
    for (path, entry) in commit.files.iter().filter(|(path, _)| listed(path)) {
        entries.insert(
            path.as_str(),
            file(&repository, commit, path, entry, expand),
        );
    }
    Ok(Json(Value::Array(entries.into_values().collect())))
}

#[derive(Deserialize)]
struct PathsInfo {
    paths: Vec<String>,
    #[serde(default)]
    expand: bool,
}

pub(super) async fn paths_info(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{namespace}/{name}");
    let repository = hub.visible(&hub.accounts.caller(request.headers())?, &id)?;
    let commit = at(&repository, &revision)?;
    let wanted = wanted_paths(request).await?;
    let directories = tree_ids(&commit.files);
    let found: Vec<Value> = wanted
        .paths
        .iter()
        .filter_map(
            |path| match (commit.files.get(path), directories.get(path)) {
                (Some(entry), _) => Some(file(&repository, commit, path, entry, wanted.expand)),
                (None, Some(oid)) => {
                    Some(json!({ "type": "directory", "oid": oid, "size": 0, "path": path }))
                }
                (None, None) => None,
            },
        )
        .collect();
    Ok(Json(Value::Array(found)))
}

async fn wanted_paths(request: Request) -> Result<PathsInfo, ApiError> {
    let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    if !is_form {
        let body = axum::body::to_bytes(request.into_body(), usize::MAX)
            .await
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        return parse(&body);
    }
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(request, &()).await?;
    let expand = fields
        .iter()
        .any(|(name, value)| name == "expand" && is_true(value));
    let paths = fields
        .into_iter()
        .filter(|(name, _)| name == "paths")
        .map(|(_, path)| path)
        .collect();
    Ok(PathsInfo { paths, expand })
}

fn file(
    repository: &Repository,
    commit: &CommitInfo,
    path: &str,
    entry: &FileEntry,
    expand: bool,
) -> Value {
    let mut value = json!({ "type": "file", "oid": entry.oid, "size": entry.bytes, "path": path });
    if let Some(lfs) = &entry.lfs {
        value["lfs"] = json!({
            "oid": lfs.sha256,
            "size": entry.bytes,
            "pointerSize": lfs_pointer(&lfs.sha256, entry.bytes).len(),
        });
        if let Some(hash) = &lfs.xet_hash {
            value["xetHash"] = json!(hash);
        }
    }
    if expand {
        let last = repository.last_change(commit, path);
        value["lastCommit"] =
            json!({ "id": last.id, "title": last.title, "date": rfc3339(last.time_ms) });
    }
    value
}
