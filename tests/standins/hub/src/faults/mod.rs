//! What can go wrong on purpose.
//!
//! A [`Fault`] says which requests it is for (class, part of the path, after how
//! many, how often) and what happens to them ([`Action`]). The first fault added
//! that is for a request and not used up is applied, and no other.
//!
//! A fault comes *before* or *after* the request's effect. What comes after is
//! the hard half: the commit exists, and its client does not know.
//!
//! Sources: the statuses and headers are those of the Hub's rate limit page and
//! of issues reported against its clients (429 and 503 at the commit, 500 from a
//! commit that did happen, connections cut in long transfers); wrong bytes after
//! a good `HEAD` were measured with hf-hub 1.0.0, which keeps them as the file.

mod apply;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Route;
pub(crate) use apply::{Stop, after, before};

/// A fault, and the requests that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The class of requests.
    pub route: Route,
    /// A part of their path and query; any if none.
    #[serde(default)]
    pub path: Option<String>,
    /// How many of them to let pass first.
    #[serde(default)]
    pub skip: u64,
    /// How many of them to apply it to; all that follow if none.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// What happens.
    pub action: Action,
}

// The signature is serde's for a default.
fn once() -> Option<u64> {
    Some(1)
}

impl Fault {
    /// A fault for the next request of a class.
    pub fn new(route: Route, action: Action) -> Fault {
        Fault {
            route,
            path: None,
            skip: 0,
            times: once(),
            action,
        }
    }

    /// Only for requests whose path and query contain `part`.
    #[must_use]
    pub fn for_path(mut self, part: impl Into<String>) -> Fault {
        self.path = Some(part.into());
        self
    }

    /// Lets `count` requests pass first.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Fault {
        self.skip = count;
        self
    }

    /// For `count` requests.
    #[must_use]
    pub fn times(mut self, count: u64) -> Fault {
        self.times = Some(count);
        self
    }

    /// For all requests that follow.
    #[must_use]
    pub fn always(mut self) -> Fault {
        self.times = None;
        self
    }

    fn is_for(&self, route: Route, path: &str) -> bool {
        self.route == route && self.path.as_ref().is_none_or(|part| path.contains(part))
    }
}

/// Whether a fault comes before a request has its effect, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The request has no effect, or not yet.
    Before,
    /// The request has had its effect; its answer is not on its way.
    After,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The connection ends without an answer. After the effect, this is the lost
    /// acknowledgement.
    Cut(Moment),
    /// Another answer is given. Before the effect it takes the effect's place.
    Answer(Moment, Answer),
    /// The request waits until the test releases or discards it. It goes on also
    /// when its client is gone, as a real server's request does; on the CAS it
    /// ends with its client.
    Hold(Moment),
    /// The answer's body comes at this many bytes in a second.
    SlowBody(u32),
    /// The connection ends after this many bytes of the answer's body.
    CutBody(u64),
    /// Every byte of the answer's body is another; its length and headers stay.
    WrongBytes,
    /// The Hub does not offer Xet: on [`Route::Preupload`] all files are to be
    /// sent inline, on [`Route::LfsBatch`] the transfer is `basic`.
    NoXet,
}

/// An answer in place of the Hub's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, beside those of every answer.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

impl Answer {
    /// An answer with the body that the Hub gives to errors.
    pub fn status(status: u16) -> Answer {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Answer {
            status,
            headers,
            body: format!(r#"{{"error":"injected fault {status}"}}"#),
        }
    }

    /// 412, as given to a commit whose parent is not the head.
    pub fn stale_parent() -> Answer {
        let mut answer = Answer::status(412);
        answer.body = format!(r#"{{"error":"{}"}}"#, crate::api::STALE_PARENT);
        answer
    }

    /// 429 with the rate limit's headers: `reset_s` seconds until requests are
    /// accepted again, in windows of five minutes.
    ///
    /// Source: the Hub's documentation on rate limits, which follows the IETF
    /// draft for RateLimit header fields.
    pub fn rate_limited(reset_s: u64) -> Answer {
        Answer::status(429)
            .header("RateLimit", &format!(r#""api";r=0;t={reset_s}"#))
            .header("RateLimit-Policy", r#""fixed window";"api";q=1000;w=300"#)
    }

    /// Adds `Retry-After` with a number of seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Answer {
        self.header("Retry-After", &seconds.to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The faults of a Hub; clones are of the same Hub.
#[derive(Clone, Default)]
pub struct Faults {
    list: Arc<Mutex<Vec<Injected>>>,
}

impl Faults {
    /// Adds a fault and returns the means to follow it.
    pub fn add(&self, fault: Fault) -> Injected {
        let injected = Injected {
            shared: Arc::new(Shared::new(fault)),
        };
        self.with(|list| list.push(injected.clone()));
        injected
    }

    /// Adds a fault and returns the number by which to [`get`](Self::get) it.
    pub(crate) fn add_numbered(&self, fault: Fault) -> usize {
        let injected = Injected {
            shared: Arc::new(Shared::new(fault)),
        };
        self.with(|list| {
            list.push(injected);
            list.len() - 1
        })
    }

    /// Removes all faults and lets every request go on that is held.
    pub fn clear(&self) {
        for injected in self.with(std::mem::take) {
            injected.release();
        }
    }

    pub(crate) fn get(&self, number: usize) -> Option<Injected> {
        self.with(|list| list.get(number).cloned())
    }

    /// The fault for a request that has just arrived, if there is one.
    pub(crate) fn take(&self, route: Route, path: &str) -> Option<Injected> {
        self.with(|list| {
            let mut taken = None;
            for injected in list
                .iter()
                .filter(|injected| injected.shared.fault.is_for(route, path))
            {
                // Each fault counts all requests that it is for, so that "the third" is
                // the third whatever happened to the first two.
                let due = injected.shared.see();
                if due && taken.is_none() {
                    taken = Some(injected.clone());
                }
            }
            if let Some(injected) = &taken {
                injected.shared.applied.send_modify(|count| *count += 1);
            }
            taken
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut Vec<Injected>) -> T) -> T {
        action(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A fault that was added.
#[derive(Clone)]
pub struct Injected {
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    seen: AtomicU64,
    applied: watch::Sender<u64>,
    held: watch::Sender<u64>,
    verdict: watch::Sender<Option<Verdict>>,
}

/// What becomes of held requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Discard,
}

impl Shared {
    fn new(fault: Fault) -> Shared {
        Shared {
            fault,
            seen: AtomicU64::new(0),
            applied: watch::Sender::new(0),
            held: watch::Sender::new(0),
            verdict: watch::Sender::new(None),
        }
    }

    /// Counts a request; true if the fault is for it.
    fn see(&self) -> bool {
        let before = self.seen.fetch_add(1, Ordering::Relaxed);
        before
            .checked_sub(self.fault.skip)
            .is_some_and(|past| self.fault.times.is_none_or(|times| past < times))
    }
}

impl Injected {
    /// The fault.
    pub fn fault(&self) -> &Fault {
        &self.shared.fault
    }

    /// To how many requests it was applied so far.
    pub fn times_applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// Returns once it was applied to `count` requests.
    pub async fn applied(&self, count: u64) {
        reached(&self.shared.applied, count).await;
    }

    /// Returns once a request is held.
    pub async fn arrived(&self) {
        reached(&self.shared.held, 1).await;
    }

    /// Lets the requests go on that are held, and those that would be.
    pub fn release(&self) {
        self.decide(Verdict::GoOn);
    }

    /// Drops the requests that are held, and those that would be: their
    /// connections are cut, and what was held before its effect has none.
    pub fn discard(&self) {
        self.decide(Verdict::Discard);
    }

    fn decide(&self, verdict: Verdict) {
        self.shared.verdict.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(verdict);
            }
            first
        });
    }

    /// Waits as a held request.
    async fn hold(&self) -> Verdict {
        self.shared.held.send_modify(|count| *count += 1);
        let mut verdict = self.shared.verdict.subscribe();
        match verdict.wait_for(Option::is_some).await {
            Ok(decided) => (*decided).unwrap_or(Verdict::GoOn),
            Err(_) => Verdict::Discard,
        }
    }
}

async fn reached(count: &watch::Sender<u64>, least: u64) {
    // The sender is borrowed, so the wait can only end by reaching the count.
    let _ = count.subscribe().wait_for(|count| *count >= least).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_for_the_requests_that_it_names() {
        let faults = Faults::default();
        let third = faults.add(
            Fault::new(Route::Commit, Action::Cut(Moment::Before))
                .skip(2)
                .times(2),
        );
        let other = faults.add(
            Fault::new(Route::Commit, Action::WrongBytes)
                .for_path("/other/")
                .always(),
        );
        let taken: Vec<bool> = (0..5)
            .map(|_| faults.take(Route::Commit, "/api/x").is_some())
            .collect();
        assert_eq!(taken, [false, false, true, true, false]);
        assert_eq!(third.times_applied(), 2);
        assert!(faults.take(Route::Info, "/other/").is_none());
        assert!(faults.take(Route::Commit, "/other/").is_some());
        assert_eq!(other.times_applied(), 1);
    }

    #[test]
    fn faults_are_written_as_documented() {
        let fault: Fault = serde_json::from_str(
            r#"{"route":"commit","action":{"answer":["after",{"status":504}]}}"#,
        )
        .unwrap();
        assert_eq!(fault.times, Some(1));
        let answer = Answer {
            status: 504,
            headers: Vec::new(),
            body: String::new(),
        };
        assert_eq!(fault.action, Action::Answer(Moment::After, answer));
        let fault: Fault =
            serde_json::from_str(r#"{"route":"cas","times":null,"action":"no-xet"}"#).unwrap();
        assert_eq!(fault.times, None);
    }
}
