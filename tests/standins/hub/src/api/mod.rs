//! The Hub's HTTP API, as far as clients of model repositories use it.
//!
//! Sources: the Hub's API documentation (huggingface.co/docs/hub/api), and what
//! the clients huggingface_hub 2.4 (Python) and hf-hub 1.0 (Rust) send, read and
//! rely on. Each module says what it leaves out.
//!
//! Not modelled anywhere: datasets, spaces, pull requests, branches and tags,
//! renaming and deletion of repositories, settings, discussions, search, and the
//! listing of large trees in pages.

mod commit;
mod commits;
mod control;
mod error;
mod info;
mod listing;
mod operations;
mod preupload;
mod range;
mod repositories;
mod resolve;
mod xet_token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, http::StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::accounts::Caller;
use crate::hub::Hub;
use crate::store::{CommitInfo, Repository};

pub(crate) use commit::STALE_PARENT;
pub(crate) use control::PREFIX as CONTROL;
pub(crate) use error::ApiError;

type Shared = State<Arc<Hub>>;

/// All routes of the Hub's own address.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/api/whoami-v2", get(whoami))
        .route("/api/validate-yaml", post(validate_yaml))
        .route("/api/repos/create", post(repositories::create))
        .route("/api/models/{namespace}/{repository}", get(info::of_head))
        .route(
            "/api/models/{namespace}/{repository}/revision/{revision}",
            get(info::of_revision),
        )
        .route(
            "/api/models/{namespace}/{repository}/preupload/{revision}",
            post(preupload::preupload),
        )
        .route(
            "/api/models/{namespace}/{repository}/xet-read-token/{revision}",
            get(xet_token::read),
        )
        .route(
            "/api/models/{namespace}/{repository}/xet-write-token/{revision}",
            get(xet_token::write),
        )
        .route(
            "/api/models/{namespace}/{repository}/commit/{revision}",
            post(commit::commit),
        )
        .route(
            "/api/models/{namespace}/{repository}/commits/{revision}",
            get(commits::list),
        )
        .route(
            "/api/models/{namespace}/{repository}/paths-info/{revision}",
            post(listing::paths_info),
        )
        .route(
            "/api/models/{namespace}/{repository}/tree/{revision}",
            get(listing::root),
        )
        .route(
            "/api/models/{namespace}/{repository}/tree/{revision}/{*path}",
            get(listing::folder),
        )
        .route(
            "/{namespace}/{repository}/info/lfs/objects/batch",
            post(preupload::batch),
        )
        .route(
            "/{namespace}/{repository}/resolve/{revision}/{*path}",
            get(resolve::resolve).head(resolve::resolve),
        )
        .route(
            "/_content/{namespace}/{repository}/{sha256}",
            get(resolve::content).head(resolve::content),
        )
        .route("/_lfs/{sha256}", put(preupload::store))
        .merge(control::routes())
        .fallback(not_found)
        .layer(DefaultBodyLimit::disable())
        .with_state(hub)
}

async fn whoami(State(hub): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    match hub.accounts.caller(&headers)? {
        Caller::Anonymous => Err(ApiError::unauthorized("Invalid username or password.")),
        Caller::Account(role) => Ok(Json(hub.accounts.whoami(&role)).into_response()),
    }
}

/// Accepts every model card: what huggingface_hub asks before it commits a README.
async fn validate_yaml() -> Response {
    Json(json!({ "errors": [], "warnings": [] })).into_response()
}

async fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "Sorry, we can't find the page you are looking for.",
    )
}

impl Hub {
    /// A repository that `caller` may know of.
    fn visible(&self, caller: &Caller, id: &str) -> Result<Repository, ApiError> {
        let repository = self
            .store
            .get(id)
            .ok_or_else(|| ApiError::no_repository(caller))?;
        self.accounts.may_see(caller, id, &repository)?;
        Ok(repository)
    }
}

/// The commit that a revision names.
fn at<'a>(repository: &'a Repository, revision: &str) -> Result<&'a CommitInfo, ApiError> {
    repository
        .at(revision)
        .ok_or_else(|| ApiError::no_revision(revision))
}

/// Parses a request's body, whatever its content type says.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("Invalid JSON: {error}")))
}

/// The Hub's address as the client wrote it.
fn base_url(headers: &HeaderMap) -> String {
    format!("http://{}", host(headers))
}

fn host(headers: &HeaderMap) -> &str {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1")
}

/// The address on the same machine with another port.
fn with_port(headers: &HeaderMap, port: u16) -> String {
    let host = host(headers);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    format!("http://{name}:{port}")
}
