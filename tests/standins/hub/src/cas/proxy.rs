//! The CAS's address for clients: checks tokens and passes requests on.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Access, CasError, token};

/// Passes requests on to the CAS server, each over a connection of its own, so
/// that one that was cut here is cut there.
#[derive(Clone)]
pub(crate) struct Proxy {
    server: SocketAddr,
}

impl Proxy {
    pub(super) fn new(server: SocketAddr) -> Proxy {
        Proxy { server }
    }

    /// The server's answer. The `Host` header is kept, from which the server
    /// makes the addresses of downloads: they lead here too.
    pub(crate) async fn pass_on(&self, request: Request<Incoming>) -> Response {
        if let Some(access) = needed(request.method(), request.uri().path()) {
            let sent = request
                .headers()
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            let allowed = sent
                .and_then(|value| value.strip_prefix("Bearer "))
                .is_some_and(|sent| token::allows(sent, access));
            if !allowed {
                return (StatusCode::UNAUTHORIZED, "unauthorized").into_response();
            }
        }
        match self.send(request).await {
            Ok(response) => response,
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    async fn send(&self, request: Request<Incoming>) -> Result<Response, CasError> {
        let stream = TcpStream::connect(self.server)
            .await
            .map_err(CasError::new)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(CasError::new)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the CAS server ended");
            }
        });
        let response = sender.send_request(request).await.map_err(CasError::new)?;
        Ok(response.map(Body::new))
    }
}

/// What a request to the CAS needs; none where the address itself is the permit.
fn needed(method: &Method, path: &str) -> Option<Access> {
    let signed = path.ends_with("/fetch_term")
        || path.starts_with("/simulation/xorb-uploads/")
        || path == "/health";
    if signed {
        return None;
    }
    let writes = path.contains("/shards")
        || path.contains("/xorb-")
        || (method == Method::POST && path.contains("/xorbs/"));
    Some(if writes { Access::Write } else { Access::Read })
}
