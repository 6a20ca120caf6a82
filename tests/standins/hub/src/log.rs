//! Which requests came in, and how each was answered.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::Route;

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its class.
    pub route: Route,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// The status of the answer; none while there is none, and for ever when the
    /// connection was cut.
    pub status: Option<u16>,
    /// Whether a fault was applied to it.
    pub faulted: bool,
}

/// All requests since the Hub started, in the order of their arrival.
pub(crate) struct Log {
    requests: Mutex<Vec<Request>>,
    changed: watch::Sender<()>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log {
            requests: Mutex::new(Vec::new()),
            changed: watch::Sender::new(()),
        }
    }

    /// Adds a request and returns the number by which to [`answered`](Self::answered).
    pub(crate) fn arrived(&self, route: Route, method: &str, path: &str, faulted: bool) -> usize {
        let request = Request {
            route,
            method: method.to_owned(),
            path: path.to_owned(),
            status: None,
            faulted,
        };
        let number = self.with(|requests| {
            requests.push(request);
            requests.len() - 1
        });
        self.changed.send_replace(());
        number
    }

    pub(crate) fn answered(&self, number: usize, status: u16) {
        self.with(|requests| requests[number].status = Some(status));
        self.changed.send_replace(());
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.with(|requests| requests.clone())
    }

    /// Returns once there are `count` requests like this.
    pub(crate) async fn reached(&self, count: usize, like: impl Fn(&Request) -> bool) {
        let mut changed = self.changed.subscribe();
        while self.with(|requests| requests.iter().filter(|request| like(request)).count()) < count
        {
            // The sender is ours, so this ends when something has changed.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Vec<Request>) -> T) -> T {
        action(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
