//! What a repository is: `GET /api/models/R`, also at a revision.
//!
//! With `blobs=true` each sibling has its size and, if large, its SHA-256.
//! Sources: huggingface_hub's `ModelInfo`, hf-hub's `ModelInfo`. A gated
//! repository can be looked at by everybody; its files cannot be read.
//!
//! Not modelled: `expand` (all fields are always there), and what is computed
//! from files (`config`, `cardData`, `safetensors`, `tags`).

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{ApiError, Shared, at};
use crate::accounts::id_of;
use crate::hub::Hub;
use crate::store::{Gate, lfs_pointer, rfc3339};

type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn of_head(
    State(hub): Shared,
    Path((namespace, name)): Path<(String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    info(
        &hub,
        &format!("{namespace}/{name}"),
        "main",
        &parameters,
        &headers,
    )
}

pub(super) async fn of_revision(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    info(
        &hub,
        &format!("{namespace}/{name}"),
        &revision,
        &parameters,
        &headers,
    )
}

fn info(
    hub: &Hub,
    id: &str,
    revision: &str,
    parameters: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let repository = hub.visible(&hub.accounts.caller(headers)?, id)?;
    let commit = at(&repository, revision)?;
    let with_blobs = parameters
        .iter()
        .any(|(name, value)| name == "blobs" && is_true(value));
    let siblings: Vec<Value> = commit
        .files
        .iter()
        .map(|(path, entry)| {
            let mut sibling = json!({ "rfilename": path });
            if with_blobs {
                sibling["size"] = json!(entry.bytes);
                sibling["blobId"] = json!(entry.oid);
                if let Some(lfs) = &entry.lfs {
                    sibling["lfs"] = json!({
                        "sha256": lfs.sha256,
                        "size": entry.bytes,
                        "pointerSize": lfs_pointer(&lfs.sha256, entry.bytes).len(),
                    });
                }
            }
            sibling
        })
        .collect();
    let gated = match repository.gate {
        None => json!(false),
        Some(Gate::Auto) => json!("auto"),
        Some(Gate::Manual) => json!("manual"),
    };
    let author = id.split_once('/').map_or(id, |(namespace, _)| namespace);
    Ok(Json(json!({
        "_id": id_of(id),
        "id": id,
        "modelId": id,
        "author": author,
        "sha": commit.id,
        "lastModified": rfc3339(commit.time_ms),
        "createdAt": rfc3339(repository.created_ms),
        "private": repository.private,
        "gated": gated,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "usedStorage": repository.used_storage(),
    })))
}

/// A parameter as JavaScript, Rust and Python write it.
pub(super) fn is_true(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}
