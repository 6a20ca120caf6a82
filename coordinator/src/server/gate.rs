//! Who answers a call: the leader's services, or what a standby has to say.
//!
//! Architecture invariant: what a leader says passes through here, message by
//! message, and nothing passes when its tenure is over. So a process that was
//! stopped and runs again says nothing of what it was about to say.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::role::{Leading, Roles, Tenure};

/// Services that answer whatever the role; those of a leader answer the rest.
const ALWAYS: [&str; 3] = [
    "/peregrine.v1.Coordinators/",
    "/grpc.health.",
    "/grpc.reflection.",
];
/// What a standby answers too.
const STATUS: &str = "/peregrine.v1.Operator/Status";

/// In front of the services that are always there.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    always: S,
    roles: Roles,
}

impl<S> Gate<S> {
    pub(crate) fn new(always: S, roles: Roles) -> Gate<S> {
        Gate { always, roles }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.always.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let path = request.uri().path();
        if ALWAYS.iter().any(|service| path.starts_with(service)) {
            return Box::pin(self.always.call(request));
        }
        match self.roles.leading() {
            Some(leading) => Box::pin(lead(leading, request, self.roles.clone())),
            None if path == STATUS => Box::pin(self.always.call(request)),
            None => Box::pin(std::future::ready(Ok(self.roles.unavailable().into_http()))),
        }
    }
}

async fn lead(
    leading: Leading,
    request: Request<Body>,
    roles: Roles,
) -> Result<Response<Body>, Infallible> {
    let Leading {
        mut routes, tenure, ..
    } = leading;
    let answer = tokio::select! {
        biased;
        () = tenure.over() => None,
        answer = routes.call(request) => Some(answer?),
    };
    Ok(match answer {
        Some(answer) if !tenure.is_over() => answer.map(|body| {
            Body::new(Tenured {
                over: Box::pin(tenure.over()),
                tenure,
                roles,
                body: Some(body),
            })
        }),
        _ => roles.unavailable().into_http(),
    })
}

/// An answer that ends with the tenure.
struct Tenured {
    /// Nothing more once the tenure is over.
    body: Option<Body>,
    tenure: Tenure,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    roles: Roles,
}

impl http_body::Body for Tenured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let ended = this.over.as_mut().poll(context).is_ready();
        if ended || this.tenure.is_over() {
            this.body = None;
            let status = this.roles.unavailable();
            let mut trailers = http::HeaderMap::new();
            return Poll::Ready(Some(match status.add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(status),
            }));
        }
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }
}
