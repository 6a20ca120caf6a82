//! Creation of repositories.
//!
//! `POST /api/repos/create` with a name, a namespace (`organization`; the
//! account's own if none) and a visibility, which huggingface_hub sends as
//! `visibility` and hf-hub as `private`. The answer is 200 with the repository's
//! address; 409 if it exists, which both clients take for success when asked to.
//! The first commit holds `.gitattributes`, as a new repository on the Hub does.
//! A namespace that is not the account's is refused: with the 403 that issue
//! trackers quote where others have repositories, with 404 where nobody has.
//!
//! Not modelled: types other than `model`, licenses, templates, quotas.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Shared, base_url, parse};
use crate::accounts::{Caller, id_of};
use crate::attributes;
use crate::store::Repository;

#[derive(Deserialize)]
struct Create {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    private: Option<bool>,
    visibility: Option<String>,
}

pub(super) async fn create(
    State(hub): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let caller = hub.accounts.caller(&headers)?;
    if matches!(caller, Caller::Anonymous) {
        return Err(ApiError::unauthorized("Invalid username or password."));
    }
    let wanted: Create = parse(&body)?;
    if wanted.kind.as_deref().unwrap_or("model") != "model" {
        return Err(ApiError::bad_request(
            "the stand-in has model repositories only",
        ));
    }
    let namespace = wanted
        .organization
        .as_deref()
        .unwrap_or(hub.accounts.name());
    let id = format!("{namespace}/{}", wanted.name);
    if !is_name(namespace) || !is_name(&wanted.name) {
        return Err(ApiError::bad_request(format!("Invalid repo name: {id}")));
    }
    if !hub.accounts.owns(namespace) {
        if hub.store.has_namespace(namespace) {
            return Err(ApiError::forbidden(format!(
                "You don't have the rights to create a model under the namespace \"{namespace}\""
            )));
        }
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("Namespace {namespace} not found"),
        ));
    }
    hub.accounts.may_write(&caller, &id)?;
    let private =
        wanted.private.unwrap_or(false) || wanted.visibility.as_deref() == Some("private");
    let attributes = hub.store.put_blob(attributes::DEFAULT.as_bytes())?;
    let files = BTreeMap::from([(".gitattributes".to_owned(), attributes)]);
    let url = format!("{}/{id}", base_url(&headers));
    if !hub
        .store
        .create(&id, Repository::new(private, hub.accounts.name(), files))?
    {
        let exists = ApiError::new(StatusCode::CONFLICT, "You already created this model repo");
        return Err(exists.with("url", url));
    }
    Ok(Json(
        json!({ "url": url, "name": id, "id": id_of(&id), "private": private }),
    ))
}

/// Whether the Hub takes this for a namespace's or a repository's name.
///
/// Source: huggingface_hub's `validate_repo_id`.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= 96
        && name.chars().all(allowed)
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
}
