//! Downloads.
//!
//! `HEAD` and `GET /R/resolve/REV/FILE` name the commit (`X-Repo-Commit`) and the
//! content (`ETag`: git's id of a small file, the SHA-256 of a large one). A
//! large file's answer is 302 to another host, with its size and SHA-256 in
//! `X-Linked-*`, its name in the CAS in `X-Xet-Hash`, and where to get a token in
//! `Link`. Clients that speak Xet stop there and ask the CAS; the rest follow.
//! Sources: huggingface_hub's `file_download.py` and `utils/_xet.py`, hf-hub's
//! `download.rs`.
//!
//! The other host is this one under its other name, `localhost` or `127.0.0.1`:
//! clients must not send their token there, and none is asked for.
//!
//! Not modelled: the redirect of small files to `/api/resolve-cache`, signatures
//! and expiry of the other host's addresses.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK,
    LOCATION, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio_stream::wrappers::ReceiverStream;

use super::range::{self, Wanted};
use super::{ApiError, Shared, at, base_url, host, with_port};
use crate::hub::Hub;
use crate::store::{FileEntry, LfsObject};

pub(super) async fn resolve(
    State(hub): Shared,
    Path((namespace, name, revision, path)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = format!("{namespace}/{name}");
    let caller = hub.accounts.caller(&headers)?;
    let repository = hub.visible(&caller, &id)?;
    hub.accounts.may_read(&caller, &id, &repository)?;
    let commit = at(&repository, &revision)?;
    let named = [(HeaderName::from_static("x-repo-commit"), commit.id.clone())];
    let Some(entry) = commit.files.get(&path) else {
        return Ok((named, ApiError::no_entry(&path)).into_response());
    };
    let etag = quoted(entry.lfs.as_ref().map_or(&entry.oid, |lfs| &lfs.sha256));
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, named, [(ETAG, etag)]).into_response());
    }
    match &entry.lfs {
        Some(lfs) => {
            Ok((named, redirect(&hub, &headers, &id, &commit.id, entry, lfs)).into_response())
        }
        None => Ok((named, serve(&hub, entry, &method, &headers)?).into_response()),
    }
}

/// The answer that sends a client to the other host.
fn redirect(
    hub: &Hub,
    headers: &HeaderMap,
    id: &str,
    commit: &str,
    entry: &FileEntry,
    lfs: &LfsObject,
) -> Response {
    let mut response = (
        StatusCode::FOUND,
        [
            (
                LOCATION,
                format!(
                    "http://{}/_content/{id}/{}",
                    other_name(host(headers)),
                    lfs.sha256
                ),
            ),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (
                HeaderName::from_static("x-linked-size"),
                entry.bytes.to_string(),
            ),
            (
                HeaderName::from_static("x-linked-etag"),
                quoted(&lfs.sha256),
            ),
        ],
    )
        .into_response();
    if let Some(hash) = &lfs.xet_hash {
        let token = format!(
            "{}/api/models/{id}/xet-read-token/{commit}",
            base_url(headers)
        );
        let rebuilt = format!(
            "{}/v1/reconstructions/{hash}",
            with_port(headers, hub.cas_port)
        );
        let link =
            format!("<{token}>; rel=\"xet-auth\", <{rebuilt}>; rel=\"xet-reconstruction-info\"");
        for (name, value) in [
            (HeaderName::from_static("x-xet-hash"), hash.clone()),
            (LINK, link),
        ] {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// Serves a large file to whoever knows its address.
pub(super) async fn content(
    State(hub): Shared,
    Path((namespace, name, sha256)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = format!("{namespace}/{name}");
    let is_it = |entry: &&FileEntry| entry.lfs.as_ref().is_some_and(|lfs| lfs.sha256 == sha256);
    let found = hub.store.get(&id).and_then(|repository| {
        let newest_first = repository.commits.iter().rev();
        newest_first
            .flat_map(|commit| commit.files.values())
            .find(is_it)
            .cloned()
    });
    let entry =
        found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "there is no such content"))?;
    serve(&hub, &entry, &method, &headers)
}

/// Answers with an entry's bytes, or with the part of them that is wanted.
fn serve(
    hub: &Hub,
    entry: &FileEntry,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (status, from, to) = match range::wanted(range, entry.bytes) {
        Wanted::All => (StatusCode::OK, 0, entry.bytes),
        Wanted::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Wanted::Unsatisfiable => {
            let size = [(CONTENT_RANGE, format!("bytes */{}", entry.bytes))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, size).into_response());
        }
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else if let Some(hash) = entry.lfs.as_ref().and_then(|lfs| lfs.xet_hash.as_ref()) {
        Body::from_stream(ReceiverStream::new(hub.cas.read(hash, from, to)))
    } else {
        let all = hub.store.read(entry)?;
        let part = usize::try_from(from)
            .ok()
            .zip(usize::try_from(to).ok())
            .filter(|part| part.1 <= all.len());
        Body::from(
            part.map(|(from, to)| all.slice(from..to))
                .ok_or_else(|| std::io::Error::other("a file is cut short"))?,
        )
    };
    let etag = quoted(entry.lfs.as_ref().map_or(&entry.oid, |lfs| &lfs.sha256));
    let described = [
        (ETAG, etag),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, (to - from).to_string()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    let mut response = (status, described, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {from}-{}/{}", to - 1, entry.bytes).parse()
    {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    Ok(response)
}

/// Another name of the loopback interface; any other host keeps its name.
fn other_name(host: &str) -> String {
    match host.rsplit_once(':') {
        Some(("127.0.0.1", port)) => format!("localhost:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => host.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
