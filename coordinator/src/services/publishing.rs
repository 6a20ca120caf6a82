//! Lending a hotkey to one publisher at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::v1;
use proto::v1::publishing_server::Publishing;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as RpcStatus};

use super::{Answers, Shared};

/// How often a holder hears that it still holds. Shorter than the time after
/// which a broken connection is noticed here, so that a holder that was cut off
/// knows before anyone else can follow it.
const SAID_EVERY: Duration = Duration::from_secs(2);

/// Who holds which hotkey.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hotkeys(Arc<Mutex<Holders>>);

#[derive(Debug, Default)]
struct Holders {
    by_hotkey: HashMap<String, Holder>,
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

/// A hotkey is held while this lives.
#[derive(Debug)]
struct Held {
    hotkeys: Hotkeys,
    hotkey: String,
    since_unix_ms: u64,
    stream: u64,
}

impl Hotkeys {
    /// Lends a hotkey, unless another instance has it; then who that is.
    fn hold(&self, request: &v1::HoldRequest) -> Result<Held, Holder> {
        let mut holders = self.lock();
        let since_unix_ms = match holders.by_hotkey.get(&request.hotkey) {
            Some(holder) if holder.instance != request.instance => return Err(holder.clone()),
            Some(holder) => holder.since_unix_ms,
            None => unix_ms(),
        };
        holders.streams += 1;
        let stream = holders.streams;
        let holder = Holder {
            name: request.holder.clone(),
            instance: request.instance.clone(),
            since_unix_ms,
            stream,
        };
        holders.by_hotkey.insert(request.hotkey.clone(), holder);
        Ok(Held {
            hotkeys: self.clone(),
            hotkey: request.hotkey.clone(),
            since_unix_ms,
            stream,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether no later stream of the same publisher has taken over.
    fn is_current(&self) -> bool {
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

#[tonic::async_trait]
impl Publishing for Shared {
    type HoldStream = Answers<v1::HoldResponse>;

    async fn hold(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<Response<Self::HoldStream>, RpcStatus> {
        let request = request.into_inner();
        self.run.check_reader(request.context.as_ref())?;
        for (field, value) in [
            ("hotkey", &request.hotkey),
            ("instance", &request.instance),
            ("holder", &request.holder),
        ] {
            if value.is_empty() || value.len() > 256 {
                return Err(RpcStatus::invalid_argument(format!(
                    "{field}: needs 1 to 256 bytes, and has {}",
                    value.len()
                )));
            }
        }
        let held = self.hotkeys.hold(&request).map_err(|holder| {
            RpcStatus::already_exists(format!(
                "{} has hotkey {} since {} s; a hotkey has one publisher: stop that one first",
                holder.name,
                request.hotkey,
                unix_ms().saturating_sub(holder.since_unix_ms) / 1000
            ))
        })?;
        tracing::info!(
            hotkey = request.hotkey,
            publisher = request.holder,
            "a publisher holds a hotkey"
        );
        let (sender, answers) = mpsc::channel(1);
        let watching = self.handle.watching();
        tokio::spawn(async move {
            let _watching = watching;
            say_held(&held, &sender).await;
            if held.is_current() {
                tracing::info!(
                    hotkey = request.hotkey,
                    publisher = request.holder,
                    "the hotkey is free"
                );
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Repeats that a hotkey is held, until its holder leaves or takes over on
/// another stream.
async fn say_held(held: &Held, sender: &mpsc::Sender<Result<v1::HoldResponse, RpcStatus>>) {
    let mut ticks = interval(SAID_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let answer = match held.is_current() {
            true => Ok(v1::HoldResponse {
                held_unix_ms: held.since_unix_ms,
            }),
            false => Err(RpcStatus::aborted("held by a later call of yours")),
        };
        let is_last = answer.is_err();
        let said = tokio::select! {
            said = sender.send(answer) => said.is_ok(),
            () = sender.closed() => false,
        };
        if !said || is_last {
            return;
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

    fn request(hotkey: &str, instance: &str) -> v1::HoldRequest {
        v1::HoldRequest {
            context: None,
            hotkey: hotkey.to_owned(),
            holder: format!("publisher {instance}"),
            instance: instance.to_owned(),
        }
    }

    #[test]
    fn a_hotkey_has_one_holder_at_a_time() {
        let hotkeys = Hotkeys::default();
        let first = hotkeys.hold(&request("h", "a")).unwrap();
        let holder = hotkeys.hold(&request("h", "b")).unwrap_err();
        assert_eq!(holder.name, "publisher a");
        hotkeys.hold(&request("another", "b")).unwrap();
        drop(first);
        hotkeys.hold(&request("h", "b")).unwrap();
    }

    #[test]
    fn a_publisher_takes_over_from_its_own_broken_connection() {
        let hotkeys = Hotkeys::default();
        let broken = hotkeys.hold(&request("h", "a")).unwrap();
        let anew = hotkeys.hold(&request("h", "a")).unwrap();
        assert!(!broken.is_current() && anew.is_current());
        assert_eq!(broken.since_unix_ms, anew.since_unix_ms);
        assert!(hotkeys.hold(&request("h", "b")).is_err());
        drop(anew);
        // The broken connection is noticed late, and frees nothing.
        let other = hotkeys.hold(&request("h", "b")).unwrap();
        drop(broken);
        assert!(other.is_current());
    }
}
