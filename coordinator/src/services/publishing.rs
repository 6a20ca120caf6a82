//! Lending a hotkey to one publisher at a time.

use std::time::Duration;

use proto::v1;
use proto::v1::publishing_server::Publishing;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as RpcStatus};

use super::hotkeys::Held;
use super::{Answers, Shared};

/// How often a holder hears that it still holds. Shorter than the time after
/// which a broken connection is noticed here, so that a holder that was cut off
/// knows before anyone else can follow it.
const SAID_EVERY: Duration = Duration::from_secs(2);
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
        let lent = self.hotkeys.lend(&request).await;
        let held = lent.map_err(|denied| denied.status(&request.hotkey))?;
        tracing::info!(
            hotkey = request.hotkey,
            publisher = request.holder,
            "a publisher holds a hotkey"
        );
        let (sender, answers) = mpsc::channel(1);
        let watching = self.handle.watching();
        let shared = self.clone();
        tokio::spawn(async move {
            let _watching = watching;
            say_held(&held, &sender).await;
            // Of a coordinator that leads no more it says nothing that the
            // stream ended.
            if held.is_current() && !shared.handle.is_gone() {
                tracing::info!(
                    hotkey = request.hotkey,
                    publisher = request.holder,
                    "the hotkey is free"
                );
                shared.hotkeys.release(held).await;
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
