//! Connections: accepting, refusing, reading requests, writing answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json as JsonBody, Router};
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use super::gates::{Release, When};
use super::rpc::{Request, RpcError, response};
use super::shared::{Outcome, Shared};

/// The largest message, in bytes; a node's is 15 MiB.
const MAX_MESSAGE: usize = 15 << 20;

/// Serves until `shutdown`, then cuts what is open.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(upgrade).post(over_http))
        .with_state(Arc::clone(&shared));
    let listener = RefusingListener {
        inner: listener,
        shared: Arc::clone(&shared),
    };
    let ended = shutdown.clone();
    let result = tokio::select! {
        result = async { axum::serve(listener, router).await } => result,
        () = ended.cancelled() => Ok(()),
    };
    shared.lock().cut_connections();
    result
}

/// Drops connections as soon as they are made while the fault says so.
struct RefusingListener {
    inner: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for RefusingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.inner).await;
            if !self.shared.lock().refusing {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(move |socket| talk(socket, shared))
}

/// One connection's life.
async fn talk(mut socket: WebSocket, shared: Arc<Shared>) {
    let (outbox, mut outgoing) = mpsc::unbounded_channel();
    let cut = CancellationToken::new();
    let connection = shared.connect(outbox, cut.clone());
    tokio::select! {
        () = cut.cancelled() => {}
        () = exchange(&mut socket, &mut outgoing, &shared, connection) => {}
    }
    shared.disconnect(connection);
}

/// Reads requests and writes what is to be sent, until either side ends it.
async fn exchange(
    socket: &mut WebSocket,
    outgoing: &mut UnboundedReceiver<String>,
    shared: &Arc<Shared>,
    connection: u64,
) {
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else { return };
                if socket.send(Message::text(message)).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text.to_string(),
                    Some(Ok(Message::Binary(bytes))) => {
                        String::from_utf8_lossy(&bytes).into_owned()
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                receive(&text, shared, connection);
            }
        }
    }
}

/// Acts on one message: a request, or a list of them. Requests of a list cannot
/// subscribe.
fn receive(text: &str, shared: &Arc<Shared>, connection: u64) {
    let (requests, is_batch) = match parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            shared.answer(connection, &response(&Json::Null, &Err(error)), None);
            return;
        }
    };
    if is_batch {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for request in &requests {
                answers.push(run(&shared, request).await);
            }
            shared.answer(connection, &Json::from(answers), None);
        });
        return;
    }
    for request in requests {
        if shared.gates.is_open(&request.method) {
            // Requests that nothing holds have their effects in order.
            let result = shared.execute(Some(connection), &request);
            finish(shared, connection, &request, result);
        } else {
            let shared = Arc::clone(shared);
            tokio::spawn(async move { pass(&shared, connection, &request).await });
        }
    }
}

/// Takes one request through the gates on both sides of its effect.
async fn pass(shared: &Arc<Shared>, connection: u64, request: &Request) {
    let method = &request.method;
    if shared.gates.pass(method, When::Before).await == Release::Cut {
        shared.cut(connection);
        return;
    }
    let result = shared.execute(Some(connection), request);
    if shared.gates.pass(method, When::After).await == Release::Cut {
        shared.cut(connection);
        return;
    }
    finish(shared, connection, request, result);
}

/// Sends the answer, or cuts the connection where the answer is to be lost.
fn finish(shared: &Shared, connection: u64, request: &Request, result: Result<Outcome, RpcError>) {
    match result {
        Ok(outcome) if outcome.is_lost => shared.cut(connection),
        Ok(outcome) => {
            let answer = response(&request.id, &Ok(outcome.result.clone()));
            shared.answer(connection, &answer, Some(&outcome));
        }
        Err(error) => shared.answer(connection, &response(&request.id, &Err(error)), None),
    }
}

/// One request or a list of them, and which of both it is.
fn parse(text: &str) -> Result<(Vec<Request>, bool), RpcError> {
    let message: Json =
        serde_json::from_str(text).map_err(|_| RpcError::new(-32_700, "Parse error"))?;
    let is_batch = message.is_array();
    let parsed = if is_batch {
        serde_json::from_value(message)
    } else {
        serde_json::from_value(message).map(|request| vec![request])
    };
    let requests = parsed.map_err(|_| RpcError::new(-32_600, "Invalid request"))?;
    Ok((requests, is_batch))
}

/// Runs a request that cannot subscribe, and returns its answer. Faults that cut a
/// connection leave it alone.
async fn run(shared: &Arc<Shared>, request: &Request) -> Json {
    let method = &request.method;
    shared.gates.pass(method, When::Before).await;
    let result = shared.execute(None, request);
    shared.gates.pass(method, When::After).await;
    response(&request.id, &result.map(|outcome| outcome.result))
}

async fn over_http(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let (requests, is_batch) = match parse(&String::from_utf8_lossy(&body)) {
        Ok(parsed) => parsed,
        Err(error) => return JsonBody(response(&Json::Null, &Err(error))).into_response(),
    };
    let mut answers = Vec::new();
    for request in &requests {
        answers.push(run(&shared, request).await);
    }
    let body = if is_batch {
        Json::from(answers)
    } else {
        answers.pop().unwrap_or_default()
    };
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
