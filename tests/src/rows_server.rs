//! A dataset server for one test: it serves rows as the dataset viewer does,
//! and counts who asked for which page.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::text::ROWS_PER_PAGE;

/// Serves rows on a port of its own until it is dropped.
pub struct RowsServer {
    endpoint: String,
    served: Arc<Served>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What is wrong with a page, whenever the whole of it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFault {
    /// One of its rows holds a number instead of a text.
    NotText,
    /// The server knows no such rows.
    NotFound,
    /// The answer has no rows, as past the end of an index.
    NoRows,
    /// The server finds it too big, and says so as the dataset viewer does.
    TooBig,
    /// The server is busy so many times, and then it is not.
    BusyAtFirst(usize),
}

struct Served {
    rows: Vec<String>,
    /// By page.
    faults: BTreeMap<usize, PageFault>,
    requests: Mutex<BTreeMap<usize, usize>>,
}

#[derive(Deserialize)]
struct RowsQuery {
    offset: usize,
    length: usize,
}

impl RowsServer {
    /// Starts to serve `rows`.
    ///
    /// # Panics
    /// When no port or no runtime can be had: a test cannot go on.
    #[must_use]
    pub fn start(rows: Vec<String>) -> Self {
        Self::start_with(rows, BTreeMap::new())
    }

    /// Starts to serve `rows`, some pages of which have faults.
    ///
    /// # Panics
    /// As [`RowsServer::start`].
    #[must_use]
    pub fn start_with(rows: Vec<String>, faults: BTreeMap<usize, PageFault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener
            .set_nonblocking(true)
            .expect("a listener can be non-blocking");
        let address = listener.local_addr().expect("a listener has an address");
        let served = Arc::new(Served {
            rows,
            faults,
            requests: Mutex::default(),
        });
        let app = Router::new()
            .route("/rows", get(serve))
            .with_state(Arc::clone(&served));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)
                    .expect("the listener can be used in the runtime");
                let serving = axum::serve(listener, app).with_graceful_shutdown(async {
                    // Dropping the server ends it as well.
                    let _ = stopped.await;
                });
                serving.await.expect("serving goes on until it is stopped");
            });
        });
        Self {
            endpoint: format!("http://{address}"),
            served,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The URL that takes the place of the public server's.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How often each offset was asked for with a whole page's length.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<usize, usize> {
        self.served
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for RowsServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(State(served): State<Arc<Served>>, Query(query): Query<RowsQuery>) -> Response {
    // Shorter requests ask about the dataset, not for a page.
    let mut fault = None;
    if query.length == ROWS_PER_PAGE {
        let mut requests = served
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let times = requests.entry(query.offset).or_default();
        *times += 1;
        fault = served.faults.get(&(query.offset / ROWS_PER_PAGE)).copied();
        if fault.is_some_and(|fault| matches!(fault, PageFault::BusyAtFirst(busy) if *times > busy))
        {
            fault = None;
        }
    }
    match fault {
        Some(PageFault::NotFound) => return refusal(StatusCode::NOT_FOUND, "ResponseNotFound"),
        Some(PageFault::TooBig) => {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "TooBigContentError");
        }
        Some(PageFault::BusyAtFirst(_)) => {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "ResponseNotReady");
        }
        Some(PageFault::NotText | PageFault::NoRows) | None => {}
    }
    let mut rows: Vec<Value> = served
        .rows
        .iter()
        .enumerate()
        .skip(query.offset)
        .take(query.length)
        .map(|(index, text)| {
            json!({
                "row_idx": index,
                "row": { "content": text, "url": "" },
                "truncated_cells": [],
            })
        })
        .collect();
    match fault {
        Some(PageFault::NoRows) => rows.clear(),
        Some(PageFault::NotText) => rows[0]["row"]["content"] = json!(42),
        _ => {}
    }
    let answer = json!({
        "features": [],
        "rows": rows,
        "num_rows_total": served.rows.len(),
        "num_rows_per_page": ROWS_PER_PAGE,
        "partial": false,
    });
    ([("x-revision", "0123456789abcdef")], axum::Json(answer)).into_response()
}

fn refusal(status: StatusCode, code: &'static str) -> Response {
    let body = axum::Json(json!({ "error": "words of the server" }));
    (status, [("x-error-code", code)], body).into_response()
}
