//! Who may use which hotkey.
//!
//! The mental model: a publisher believes that it holds a hotkey for
//! [`BELIEVED`] after the coordinator's last word, so a hotkey may change hands
//! only when that time has passed for sure. While one coordinator lives, it
//! knows: a stream that ended was ended by its publisher, or was silent for
//! longer. One that takes over, or starts again, knows only the records of what
//! was lent: it lends again to the same publisher at once, and to another when
//! [`LEND_AFTER`] has passed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::v1;
use tokio::time::Instant;
use tonic::Status as RpcStatus;

use crate::records::Hold;
use crate::store::{RunStore, StoreError};

/// How long a holder may act on a word of the coordinator; the protocol says
/// so to publishers.
const BELIEVED: Duration = Duration::from_secs(6);
/// How long a coordinator that has just begun to lead waits before it lends to
/// another what was lent: the last word may have been under way for a while.
const LEND_AFTER: Duration = Duration::from_secs(BELIEVED.as_secs() + 9);

/// Who holds which hotkey.
#[derive(Clone)]
pub(crate) struct Hotkeys {
    holders: Arc<Mutex<Holders>>,
    store: RunStore,
    /// One record is written at a time, in the order of the decisions.
    writing: Arc<tokio::sync::Mutex<()>>,
}

struct Holders {
    by_hotkey: HashMap<String, Holder>,
    /// What was lent when this coordinator began to lead.
    earlier: HashMap<String, Hold>,
    /// From when on that no longer matters.
    free_from: Instant,
    /// Streams so far, of all hotkeys: no number comes twice.
    streams: u64,
}

#[derive(Clone, Debug)]
struct Holder {
    name: String,
    instance: String,
    since_unix_ms: u64,
    /// Tells streams apart: the one that ends last may be an old one.
    stream: u64,
}

/// Why a hotkey is not lent.
#[derive(Debug)]
pub(super) enum Denied {
    /// Another has it.
    Held { holder: String, since_unix_ms: u64 },
    /// Another may believe that it has it, for so long.
    Believed { holder: String, wait: Duration },
    /// That it is lent could not be made durable.
    Store(StoreError),
}

/// A hotkey is held while this lives.
pub(super) struct Held {
    hotkeys: Hotkeys,
    hotkey: String,
    pub(super) since_unix_ms: u64,
    stream: u64,
}

impl Hotkeys {
    /// Hotkeys of which some were lent when the coordinator last wrote.
    pub(crate) fn new(store: RunStore, lent: Vec<Hold>) -> Hotkeys {
        let earlier = lent.into_iter().map(|hold| (hold.hotkey.clone(), hold));
        Hotkeys {
            holders: Arc::new(Mutex::new(Holders {
                by_hotkey: HashMap::new(),
                earlier: earlier.collect(),
                free_from: Instant::now() + LEND_AFTER,
                streams: 0,
            })),
            store,
            writing: Arc::default(),
        }
    }

    /// Lends a hotkey, and returns when that is durable.
    pub(super) async fn lend(&self, request: &v1::HoldRequest) -> Result<Held, Denied> {
        let _writing = self.writing.lock().await;
        let (held, is_news) = self.claim(request)?;
        if is_news {
            let hold = Hold {
                hotkey: request.hotkey.clone(),
                instance: request.instance.clone(),
                holder: request.holder.clone(),
                since_unix_ms: held.since_unix_ms,
            };
            let written = self.write(move |store| store.lend(&hold)).await;
            written.map_err(Denied::Store)?;
        }
        Ok(held)
    }

    /// Takes a hotkey unless another instance has it, or may believe so; and
    /// whether the records do not say so yet.
    fn claim(&self, request: &v1::HoldRequest) -> Result<(Held, bool), Denied> {
        let mut holders = self.lock();
        let known = match holders.by_hotkey.get(&request.hotkey) {
            Some(holder) if holder.instance != request.instance => {
                return Err(Denied::Held {
                    holder: holder.name.clone(),
                    since_unix_ms: holder.since_unix_ms,
                });
            }
            Some(holder) => Some(holder.since_unix_ms),
            None => None,
        };
        let before = holders.earlier.get(&request.hotkey);
        let known = match before {
            Some(hold) if hold.instance == request.instance => Some(hold.since_unix_ms),
            Some(hold) => {
                let wait = holders.free_from.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    return Err(Denied::Believed {
                        holder: hold.holder.clone(),
                        wait,
                    });
                }
                known
            }
            None => known,
        };
        holders.earlier.remove(&request.hotkey);
        let since_unix_ms = known.unwrap_or_else(unix_ms);
        holders.streams += 1;
        let stream = holders.streams;
        let holder = Holder {
            name: request.holder.clone(),
            instance: request.instance.clone(),
            since_unix_ms,
            stream,
        };
        holders.by_hotkey.insert(request.hotkey.clone(), holder);
        let held = Held {
            hotkeys: self.clone(),
            hotkey: request.hotkey.clone(),
            since_unix_ms,
            stream,
        };
        Ok((held, known.is_none()))
    }

    /// Takes a hotkey back from a publisher that has gone.
    pub(super) async fn release(&self, held: Held) {
        let _writing = self.writing.lock().await;
        let hotkey = held.hotkey.clone();
        drop(held);
        if !self.lock().by_hotkey.contains_key(&hotkey)
            && let Err(error) = self.write(move |store| store.take_back(&hotkey)).await
        {
            tracing::warn!("that a hotkey is free could not be written down: {error}");
        }
    }

    async fn write(
        &self,
        write: impl FnOnce(&RunStore) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        let committed = tokio::task::spawn_blocking(move || write(&store));
        committed.await.unwrap_or_else(|panic| {
            Err(StoreError::Corrupt {
                what: "hold",
                reason: panic.to_string(),
            })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Denied {
    pub(super) fn status(self, hotkey: &str) -> RpcStatus {
        match self {
            Denied::Held {
                holder,
                since_unix_ms,
            } => RpcStatus::already_exists(format!(
                "{holder} has hotkey {hotkey} since {} s; a hotkey has one publisher: stop that \
                 one first",
                unix_ms().saturating_sub(since_unix_ms) / 1000
            )),
            Denied::Believed { holder, wait } => RpcStatus::unavailable(format!(
                "{holder} had hotkey {hotkey} when this coordinator began to lead, and may not \
                 have heard yet that it has not; ask again in {:.0} s",
                wait.as_secs_f64().ceil()
            )),
            Denied::Store(error) => RpcStatus::unavailable(format!(
                "that hotkey {hotkey} is lent could not be made durable: {error}"
            )),
        }
    }
}

impl Held {
    /// Whether no later stream of the same publisher has taken over.
    pub(super) fn is_current(&self) -> bool {
        let holders = self.hotkeys.lock();
        let holder = holders.by_hotkey.get(&self.hotkey);
        holder.is_some_and(|holder| holder.stream == self.stream)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = self.hotkeys.lock();
        let holder = holders.by_hotkey.get(&self.hotkey);
        if holder.is_some_and(|holder| holder.stream == self.stream) {
            holders.by_hotkey.remove(&self.hotkey);
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Embedded;

    fn request(hotkey: &str, instance: &str) -> v1::HoldRequest {
        v1::HoldRequest {
            context: None,
            hotkey: hotkey.to_owned(),
            holder: format!("publisher {instance}"),
            instance: instance.to_owned(),
        }
    }

    fn store(folder: &tempfile::TempDir) -> RunStore {
        RunStore::new(Embedded::open(&folder.path().join("store")).unwrap())
    }

    fn fresh(folder: &tempfile::TempDir) -> Hotkeys {
        Hotkeys::new(store(folder), Vec::new())
    }

    #[tokio::test]
    async fn a_hotkey_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let hotkeys = fresh(&folder);
        let first = hotkeys.lend(&request("h", "a")).await.unwrap();
        let denied = hotkeys.lend(&request("h", "b")).await.err().unwrap();
        let status = denied.status("h");
        assert_eq!(status.code(), tonic::Code::AlreadyExists);
        assert!(status.message().starts_with("publisher a"), "{status}");
        hotkeys.lend(&request("another", "b")).await.unwrap();
        hotkeys.release(first).await;
        hotkeys.lend(&request("h", "b")).await.unwrap();
    }

    #[tokio::test]
    async fn a_publisher_takes_over_from_its_own_broken_connection() {
        let folder = tempfile::tempdir().unwrap();
        let hotkeys = fresh(&folder);
        let broken = hotkeys.lend(&request("h", "a")).await.unwrap();
        let anew = hotkeys.lend(&request("h", "a")).await.unwrap();
        assert!(!broken.is_current() && anew.is_current());
        assert_eq!(broken.since_unix_ms, anew.since_unix_ms);
        assert!(hotkeys.lend(&request("h", "b")).await.is_err());
        hotkeys.release(anew).await;
        // The broken connection is noticed late, and frees nothing.
        let other = hotkeys.lend(&request("h", "b")).await.unwrap();
        drop(broken);
        assert!(other.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_takeover_the_same_publisher_goes_on_and_another_waits() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let before = Hotkeys::new(store.clone(), Vec::new());
        let held = before.lend(&request("h", "a")).await.unwrap();
        // As a coordinator that is killed: nothing is released.
        let lent = store.holds().unwrap();
        assert_eq!(lent.len(), 1);

        let after = Hotkeys::new(store.clone(), lent.clone());
        let status = after
            .lend(&request("h", "b"))
            .await
            .err()
            .unwrap()
            .status("h");
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(status.message().contains("publisher a"), "{status}");
        let again = after.lend(&request("h", "a")).await.unwrap();
        assert_eq!(again.since_unix_ms, held.since_unix_ms);

        let after = Hotkeys::new(store, lent);
        tokio::time::advance(LEND_AFTER - Duration::from_secs(1)).await;
        assert!(after.lend(&request("h", "b")).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        after.lend(&request("h", "b")).await.unwrap();
    }

    #[tokio::test]
    async fn a_hotkey_that_was_given_back_is_free_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let before = Hotkeys::new(store.clone(), Vec::new());
        let held = before.lend(&request("h", "a")).await.unwrap();
        before.release(held).await;
        assert_eq!(store.holds().unwrap(), []);
        let after = Hotkeys::new(store.clone(), store.holds().unwrap());
        after.lend(&request("h", "b")).await.unwrap();
    }
}
