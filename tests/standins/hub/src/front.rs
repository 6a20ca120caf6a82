//! Where requests come in: logged, given to a fault if there is one, answered.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use tower::ServiceExt as _;

use crate::Route;
use crate::api::{self, CONTROL};
use crate::cas::Proxy;
use crate::connection::Outcome;
use crate::faults::{self, Action, Injected, Stop};
use crate::hub::Hub;

/// Marks a request that is to be answered as if the Hub had no Xet.
#[derive(Clone, Copy)]
pub(crate) struct NoXet;

/// The Hub's own address.
#[derive(Clone)]
pub(crate) struct Front {
    hub: Arc<Hub>,
    router: Router,
}

impl Front {
    pub(crate) fn new(hub: Arc<Hub>) -> Front {
        Front {
            router: api::router(hub.clone()),
            hub,
        }
    }

    pub(crate) async fn handle(self, request: Request<Incoming>) -> Outcome {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(Body::new(body), usize::MAX).await else {
            return Outcome::Cut;
        };
        let request = Request::from_parts(parts, Body::from(body));
        if request.uri().path().starts_with(CONTROL) {
            return Outcome::Answer(self.respond(request).await);
        }
        let route = Route::of(request.method().as_str(), request.uri().path());
        let entry = Entry::new(
            self.hub.clone(),
            route,
            request.method().as_str(),
            request.uri(),
        );
        // A task of its own: what a server has been asked it does, also when its
        // client is gone meanwhile.
        let work =
            tokio::spawn(
                async move { entry.outcome(|injected| self.work(request, injected)).await },
            );
        work.await.unwrap_or(Outcome::Cut)
    }

    async fn work(self, mut request: Request<Body>, injected: Option<Injected>) -> Response {
        if injected.is_some_and(|injected| injected.fault().action == Action::NoXet) {
            request.extensions_mut().insert(NoXet);
        }
        self.respond(request).await
    }

    async fn respond(self, request: Request<Body>) -> Response {
        match self.router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The CAS's address for clients. Requests end with their clients here, since
/// bodies are passed on as they come.
#[derive(Clone)]
pub(crate) struct CasFront {
    hub: Arc<Hub>,
    proxy: Proxy,
}

impl CasFront {
    pub(crate) fn new(hub: Arc<Hub>, proxy: Proxy) -> CasFront {
        CasFront { hub, proxy }
    }

    pub(crate) async fn handle(self, request: Request<Incoming>) -> Outcome {
        let entry = Entry::new(
            self.hub.clone(),
            Route::Cas,
            request.method().as_str(),
            request.uri(),
        );
        entry
            .outcome(|_| async move { self.proxy.pass_on(request).await })
            .await
    }
}

/// A request in the log, and the fault that is for it.
struct Entry {
    hub: Arc<Hub>,
    number: usize,
    injected: Option<Injected>,
}

impl Entry {
    fn new(hub: Arc<Hub>, route: Route, method: &str, uri: &hyper::Uri) -> Entry {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // The fault first: who has seen a request in the log may rely on its
        // fault having been counted.
        let injected = hub.faults.take(route, path);
        let number = hub.log.arrived(route, method, path, injected.is_some());
        Entry {
            hub,
            number,
            injected,
        }
    }

    /// Does the work unless a fault comes before it, and answers unless one comes after.
    async fn outcome<F: Future<Output = Response>>(
        self,
        work: impl FnOnce(Option<Injected>) -> F,
    ) -> Outcome {
        let result = match &self.injected {
            None => Ok(work(None).await),
            Some(injected) => match faults::before(injected).await {
                Ok(()) => faults::after(injected, work(Some(injected.clone())).await).await,
                Err(stop) => Err(stop),
            },
        };
        match result {
            Ok(response) | Err(Stop::Answer(response)) => {
                self.hub
                    .log
                    .answered(self.number, response.status().as_u16());
                Outcome::Answer(response)
            }
            Err(Stop::Cut) => Outcome::Cut,
        }
    }
}
