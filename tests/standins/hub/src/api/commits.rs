//! The history: `GET .../commits/REV`, newest first.
//!
//! Source: huggingface_hub's `list_repo_commits`, hf-hub's `commits.rs`. Not
//! modelled: pages (all commits are in the first), `formatted` titles.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{ApiError, Shared, at};
use crate::store::rfc3339;

pub(super) async fn list(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{namespace}/{name}");
    let repository = hub.visible(&hub.accounts.caller(&headers)?, &id)?;
    let newest = at(&repository, &revision)?;
    let listed: Vec<Value> = repository
        .commits
        .iter()
        .rev()
        .skip_while(|commit| commit.id != newest.id)
        .map(|commit| {
            json!({
                "id": commit.id,
                "title": commit.title,
                "message": commit.description,
                "authors": [{ "user": commit.author }],
                "date": rfc3339(commit.time_ms),
            })
        })
        .collect();
    Ok(Json(json!(listed)))
}
