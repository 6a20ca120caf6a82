//! The control endpoint: faults, the request log and settings over HTTP, for
//! tests that run the program. None of it is the Hub's, and none of it asks for
//! a token or is in the request log.
//!
//! | request | does |
//! |---|---|
//! | `POST /_standin/faults` with a [`Fault`] | adds it; answers `{"fault": N}` |
//! | `GET /_standin/faults/N` | `{"applied": times, "fault": …}` |
//! | `GET /_standin/faults/N/arrived` | answers once a request is held |
//! | `GET /_standin/faults/N/applied` | answers once the fault was applied |
//! | `POST /_standin/faults/N/release` | lets held requests go on |
//! | `POST /_standin/faults/N/discard` | drops held requests |
//! | `DELETE /_standin/faults` | removes all faults; numbers start again |
//! | `GET /_standin/requests` | the request log |
//! | `GET /_standin/repositories/NS/NAME` | commits, oldest first, with files |
//! | `PUT /_standin/repositories/NS/NAME` with `{"private": …, "gate": …}` | sets them |
//!
//! A fault: `{"route": "commit", "path": "/ns/model/", "skip": 0, "times": 1,
//! "action": {"cut": "after"}}`; `path` may be missing, `times` null means always.
//! Actions: `{"cut": M}`, `{"answer": [M, {"status": 429, "headers": [["Retry-After",
//! "2"]], "body": ""}]}`, `{"hold": M}` with M `"before"` or `"after"`,
//! `{"slow-body": bytes_per_second}`, `{"cut-body": bytes}`, `"wrong-bytes"`,
//! `"no-xet"`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Shared, parse};
use crate::accounts::Caller;
use crate::faults::{Fault, Injected};
use crate::hub::Hub;
use crate::store::Gate;

/// Where all of it is.
pub(crate) const PREFIX: &str = "/_standin/";

pub(super) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/_standin/faults", post(add).delete(clear))
        .route("/_standin/faults/{number}", get(show))
        .route("/_standin/faults/{number}/arrived", get(arrived))
        .route("/_standin/faults/{number}/applied", get(applied))
        .route("/_standin/faults/{number}/release", post(release))
        .route("/_standin/faults/{number}/discard", post(discard))
        .route("/_standin/requests", get(requests))
        .route(
            "/_standin/repositories/{namespace}/{repository}",
            get(commits).put(settings),
        )
}

async fn add(State(hub): Shared, body: Bytes) -> Result<Json<Value>, ApiError> {
    let fault: Fault = parse(&body)?;
    Ok(Json(json!({ "fault": hub.faults.add_numbered(fault) })))
}

async fn clear(State(hub): Shared) -> Json<Value> {
    hub.faults.clear();
    Json(json!({}))
}

async fn show(State(hub): Shared, Path(number): Path<usize>) -> Result<Json<Value>, ApiError> {
    let injected = find(&hub, number)?;
    Ok(Json(
        json!({ "applied": injected.times_applied(), "fault": injected.fault() }),
    ))
}

async fn arrived(State(hub): Shared, Path(number): Path<usize>) -> Result<Json<Value>, ApiError> {
    find(&hub, number)?.arrived().await;
    Ok(Json(json!({})))
}

async fn applied(State(hub): Shared, Path(number): Path<usize>) -> Result<Json<Value>, ApiError> {
    find(&hub, number)?.applied(1).await;
    Ok(Json(json!({})))
}

async fn release(State(hub): Shared, Path(number): Path<usize>) -> Result<Json<Value>, ApiError> {
    find(&hub, number)?.release();
    Ok(Json(json!({})))
}

async fn discard(State(hub): Shared, Path(number): Path<usize>) -> Result<Json<Value>, ApiError> {
    find(&hub, number)?.discard();
    Ok(Json(json!({})))
}

fn find(hub: &Hub, number: usize) -> Result<Injected, ApiError> {
    hub.faults
        .get(number)
        .ok_or_else(|| ApiError::bad_request(format!("there is no fault {number}")))
}

async fn requests(State(hub): Shared) -> Json<Value> {
    Json(json!(hub.log.all()))
}

async fn commits(
    State(hub): Shared,
    Path(target): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{}/{}", target.0, target.1);
    let repository = hub
        .store
        .get(&id)
        .ok_or_else(|| ApiError::no_repository(&Caller::Anonymous))?;
    Ok(Json(
        json!({ "private": repository.private, "gate": repository.gate, "commits": repository.commits }),
    ))
}

#[derive(Deserialize)]
struct Settings {
    private: bool,
    gate: Option<Gate>,
}

async fn settings(
    State(hub): Shared,
    Path(target): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{}/{}", target.0, target.1);
    let wanted: Settings = parse(&body)?;
    hub.store
        .update(&id, |repository| {
            repository.private = wanted.private;
            repository.gate = wanted.gate;
            Ok::<_, ApiError>(())
        })
        .ok_or_else(|| ApiError::no_repository(&Caller::Anonymous))??;
    Ok(Json(json!({})))
}
