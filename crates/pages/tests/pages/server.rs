//! A dataset server that can misbehave, for the tests of the rows client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response};
use axum::routing::get;
use bytes::Bytes;
use pages::{RequestBudget, RetryPolicy, Secret, ServerAccess, SourceInfo, Timeouts, ViewerConfig};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

/// Rows that the server has: ten full pages and one of 15 rows.
pub(crate) const ROWS: u64 = 1015;
pub(crate) const REVISION: &str = "c735840575b629292b41da8dde11dcd523d4f91c";

/// How long a client waits that is to see what the server does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the server does with one request.
pub(crate) enum Reply {
    /// An answer, whole.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// No answer, for ever.
    Silence,
    /// Half of a body, and then nothing, for ever.
    Stall,
    /// Half of a body, and then the connection is cut.
    Cut,
}

/// A request, as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) query: HashMap<String, String>,
    pub(crate) authorization: Option<String>,
}

impl Request {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.query[name].parse().unwrap()
    }
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

#[derive(Clone)]
struct Shared {
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    shared: Shared,
}

impl Server {
    /// `script` is given the number of the request, from 0, and the request.
    pub(crate) async fn start(
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            script: Arc::new(script),
            seen: Arc::default(),
        };
        let router = Router::new()
            .route("/rows", get(rows))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, shared }
    }

    /// The first request gets `reply`, all others are answered well.
    pub(crate) async fn misbehaving_once(reply: fn(&Request) -> Reply) -> Self {
        Self::start(move |number, request| {
            if number == 0 {
                reply(request)
            } else {
                good(request)
            }
        })
        .await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How to reach this server, with waits short enough for tests.
    pub(crate) fn access(&self) -> ServerAccess {
        ServerAccess {
            endpoint: self.endpoint.clone(),
            token: Some(Secret::new("hf_secret\n")),
            budget: Arc::new(RequestBudget::new(4)),
            retry: RetryPolicy {
                attempts: 3,
                first_wait: Duration::from_millis(1),
                longest_backoff: Duration::from_millis(4),
                longest_told_wait: Duration::from_millis(40),
            },
            timeouts: Timeouts {
                connect: PATIENCE,
                read: PATIENCE,
                total: PATIENCE,
            },
        }
    }
}

/// The server's dataset, unpinned.
pub(crate) fn dataset() -> ViewerConfig {
    ViewerConfig {
        dataset: "tiiuae/falcon-refinedweb".into(),
        config: "default".into(),
        split: "train".into(),
        column: "content".into(),
        pinned: None,
    }
}

/// The server's dataset, as a run was planned on it.
pub(crate) fn pinned_dataset() -> ViewerConfig {
    let pinned = SourceInfo {
        rows: ROWS,
        revision: REVISION.to_owned(),
    };
    ViewerConfig {
        pinned: Some(pinned),
        ..dataset()
    }
}

async fn rows(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response<Body> {
    let authorization = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    let request = Request {
        query,
        authorization,
    };
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    match (shared.script)(number, &request) {
        Reply::Silence => std::future::pending().await,
        Reply::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).unwrap()
        }
        Reply::Stall => {
            let stream = tokio_stream::once(half_a_body(&request)).chain(tokio_stream::pending());
            good_headers().body(Body::from_stream(stream)).unwrap()
        }
        Reply::Cut => {
            let stream = tokio_stream::iter([
                half_a_body(&request),
                Err(std::io::Error::other("the server gives up")),
            ]);
            good_headers().body(Body::from_stream(stream)).unwrap()
        }
    }
}

fn half_a_body(request: &Request) -> std::io::Result<Bytes> {
    let body = page(request).to_string();
    Ok(Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]))
}

fn good_headers() -> axum::http::response::Builder {
    Response::builder().header("x-revision", REVISION)
}

/// The text of a row.
pub(crate) fn text(row: u64) -> String {
    format!("This is the text of row {row}.")
}

/// The body that a well-behaved server answers with.
pub(crate) fn page(request: &Request) -> Value {
    let first = request.number("offset");
    let end = ROWS.min(first + request.number("length"));
    let rows: Vec<Value> = (first..end)
        .map(|row| {
            json!({
                "row_idx": row,
                "row": {
                    "content": text(row),
                    "url": "https://example.org",
                    "timestamp": "2021-01-01T00:00:00",
                    "dump": "CC-MAIN",
                    "segment": "1",
                    "image_urls": [["a", "b"]],
                },
                "truncated_cells": [],
            })
        })
        .collect();
    json!({
        "features": [{"feature_idx": 0, "name": "content", "type": {"dtype": "string"}}],
        "rows": rows,
        "num_rows_total": ROWS,
        "num_rows_per_page": 100,
        "partial": false,
    })
}

pub(crate) fn answer(body: &Value) -> Reply {
    let headers = vec![("x-revision", REVISION.to_owned())];
    Reply::Answer {
        status: 200,
        headers,
        body: body.to_string(),
    }
}

pub(crate) fn good(request: &Request) -> Reply {
    answer(&page(request))
}

/// An error as the real server words it.
pub(crate) fn error(status: u16, code: Option<&str>) -> Reply {
    let headers = code
        .map(|code| ("x-error-code", code.to_owned()))
        .into_iter()
        .collect();
    Reply::Answer {
        status,
        headers,
        body: json!({"error": "words of the server"}).to_string(),
    }
}

pub(crate) fn throttled(header: (&'static str, &str)) -> Reply {
    let headers = vec![(header.0, header.1.to_owned())];
    Reply::Answer {
        status: 429,
        headers,
        body: String::new(),
    }
}
