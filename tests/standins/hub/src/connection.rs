//! Connections that can be cut.
//!
//! A server framework answers every request. Here a request may also end its
//! connection without a byte, which is how a lost acknowledgement looks to a
//! client; hyper does that when a service fails. And an answer may end within its
//! body, once what came before has been written.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::cut_body::{CutBody, NotingFlushes};

/// What becomes of a request.
pub(crate) enum Outcome {
    Answer(Response),
    /// The connection ends without an answer.
    Cut,
}

/// An extension of answers: their connection ends after so many bytes of the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutAfter(pub(crate) u64);

/// Serves connections until the runtime ends.
pub(crate) async fn serve<H, F>(listener: TcpListener, handle: H) -> Infallible
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_one(stream, handle.clone()));
            }
            Err(error) => {
                // Too many open files: those that close will make room.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve_one<H, F>(stream: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Outcome>,
{
    // Small answers would otherwise wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let (stream, flushes) = NotingFlushes::new(stream);
    let service = service_fn(move |request| {
        let outcome = handle(request);
        let flushes = flushes.clone();
        async move {
            match outcome.await {
                Outcome::Answer(response) => Ok(match response.extensions().get() {
                    Some(&CutAfter(bytes)) => {
                        response.map(|body| Body::new(CutBody::new(body, bytes, flushes)))
                    }
                    None => response,
                }),
                Outcome::Cut => Err(Cut),
            }
        }
    });
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "a connection ended");
    }
}

#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("injected fault: cut")
    }
}

impl std::error::Error for Cut {}
