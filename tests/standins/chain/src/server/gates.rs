//! Where requests wait because a test says so.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::rpc::RpcError;

/// On which side of its effect a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened yet. If the client goes meanwhile, the request still has
    /// its effect when it is released.
    Before,
    /// It has had its effect, and the answer is not sent.
    After,
}

/// One request, stopped where a test wants it. The request goes on when this is
/// dropped.
#[derive(Debug)]
pub struct Hold {
    /// `None` once the request has come.
    arrived: Option<oneshot::Receiver<()>>,
    release: oneshot::Sender<Release>,
}

/// How a held request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    Continue,
    Cut,
}

impl Hold {
    /// Waits until the request is there.
    pub async fn arrived(&mut self) {
        if let Some(arrived) = &mut self.arrived {
            // The sender is dropped unsent only when the chain is.
            let _ = arrived.await;
            self.arrived = None;
        }
    }

    /// Lets the request go on.
    pub fn release(self) {
        // The request is gone if its chain is.
        let _ = self.release.send(Release::Continue);
    }

    /// Cuts the request's connection instead; a request held before its effect never
    /// has it.
    pub fn cut(self) {
        let _ = self.release.send(Release::Cut);
    }
}

/// A hold that waits for its request.
struct Waiting {
    method: String,
    when: When,
    arrived: oneshot::Sender<()>,
    release: oneshot::Receiver<Release>,
}

/// Everything that requests pass before and after they have their effect.
pub(crate) struct Gates {
    waiting: Mutex<Vec<Waiting>>,
    stalled: watch::Sender<HashSet<String>>,
    failing: Mutex<HashMap<String, (RpcError, u32)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gates {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            stalled: watch::Sender::new(HashSet::new()),
            failing: Mutex::default(),
        }
    }

    /// Holds the next request of this method.
    pub(crate) fn hold(&self, method: &str, when: When) -> Hold {
        let (arrived_sender, arrived) = oneshot::channel();
        let (release, release_receiver) = oneshot::channel();
        locked(&self.waiting).push(Waiting {
            method: method.to_owned(),
            when,
            arrived: arrived_sender,
            release: release_receiver,
        });
        Hold {
            arrived: Some(arrived),
            release,
        }
    }

    /// Gives requests of this method no answer until [`resume`](Self::resume).
    pub(crate) fn stall(&self, method: &str) {
        self.stalled.send_modify(|stalled| {
            stalled.insert(method.to_owned());
        });
    }

    pub(crate) fn resume(&self, method: &str) {
        self.stalled.send_modify(|stalled| {
            stalled.remove(method);
        });
    }

    /// Answers the next `times` requests of this method with an error.
    pub(crate) fn fail(&self, method: &str, error: RpcError, times: u32) {
        locked(&self.failing).insert(method.to_owned(), (error, times));
    }

    /// The error that a request of this method is to get, if any.
    pub(crate) fn failure(&self, method: &str) -> Option<RpcError> {
        let mut failing = locked(&self.failing);
        let (error, times) = failing.get_mut(method)?;
        let error = error.clone();
        *times -= 1;
        if *times == 0 {
            failing.remove(method);
        }
        Some(error)
    }

    /// Whether requests of this method pass without waiting.
    pub(crate) fn is_open(&self, method: &str) -> bool {
        let held = locked(&self.waiting)
            .iter()
            .any(|waiting| waiting.method == method);
        !held && !self.stalled.borrow().contains(method)
    }

    /// Waits on one side of a request's effect.
    pub(crate) async fn pass(&self, method: &str, when: When) -> Release {
        if when == When::Before {
            let mut stalled = self.stalled.subscribe();
            // The sender lives as long as the chain.
            let _ = stalled.wait_for(|stalled| !stalled.contains(method)).await;
        }
        let taken = {
            let mut waiting = locked(&self.waiting);
            let place = waiting
                .iter()
                .position(|waiting| waiting.method == method && waiting.when == when);
            place.map(|place| waiting.remove(place))
        };
        let Some(taken) = taken else {
            return Release::Continue;
        };
        // Nobody waits for the arrival if the hold has been dropped.
        let _ = taken.arrived.send(());
        taken.release.await.unwrap_or(Release::Continue)
    }
}
