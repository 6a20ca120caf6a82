//! Following a coordinator's checkpoints.

use std::time::Duration;

use proto::v1::{CheckpointState, Context, WatchRequest};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use crate::retry::announce;
use crate::{Connection, Error, RetryPolicy, Waits};

const WATCH: &str = "Watch";

/// How long the coordinator may take to accept the call.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The states of a coordinator's checkpoints, across reconnections.
///
/// A new connection begins with the present state, so a state may come again:
/// whoever acts on one must be able to tell that it already has. While the
/// watch lives, the coordinator counts its owner as someone who still needs
/// the last checkpoint; drop it when done.
#[derive(Debug)]
pub struct Watch {
    connection: Connection,
    request: WatchRequest,
    policy: RetryPolicy,
    waits: Waits,
    link: Link,
    run_complete: bool,
}

#[derive(Debug)]
enum Link {
    Down { try_at: Instant },
    Up(Box<Streaming<CheckpointState>>),
}

impl Watch {
    /// A watch that the coordinator's status shows as `watcher`. It connects
    /// with the first call of [`Watch::next`].
    pub fn new(
        connection: Connection,
        context: Context,
        watcher: &str,
        policy: RetryPolicy,
    ) -> Watch {
        Watch {
            connection,
            request: WatchRequest {
                context: Some(context),
                watcher: watcher.to_owned(),
            },
            waits: policy.waits(),
            policy,
            link: Link::Down {
                try_at: Instant::now(),
            },
            run_complete: false,
        }
    }

    /// The next state; `None` when the run is complete and no other will come.
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The coordinator's refusal, or the last failure when the policy gives up.
    pub async fn next(&mut self) -> Result<Option<CheckpointState>, Error> {
        loop {
            let failure = match &mut self.link {
                Link::Down { try_at } => {
                    let wait = try_at.saturating_duration_since(Instant::now());
                    if !wait.is_zero() {
                        self.connection.pause(wait).await;
                    }
                    match self.open().await {
                        Ok(states) => {
                            self.link = Link::Up(Box::new(states));
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Link::Up(states) => match states.message().await {
                    Ok(Some(state)) => {
                        self.waits = self.policy.waits();
                        self.run_complete = state.run_complete;
                        return Ok(Some(state));
                    }
                    Ok(None) | Err(_) if self.run_complete => return Ok(None),
                    Ok(None) => Error::Interrupted {
                        call: WATCH,
                        reason: "the coordinator ended the watch before the run".to_owned(),
                    },
                    Err(status) => Error::call(WATCH, status),
                },
            };
            self.reconnect_after(failure)?;
        }
    }

    async fn open(&self) -> Result<Streaming<CheckpointState>, Error> {
        let mut checkpoints = self.connection.checkpoints();
        match timeout(ANSWER_TIMEOUT, checkpoints.watch(self.request.clone())).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::call(WATCH, status)),
            Err(_) => Err(Error::silent(WATCH, ANSWER_TIMEOUT)),
        }
    }

    fn reconnect_after(&mut self, failure: Error) -> Result<(), Error> {
        if failure.is_fatal() {
            return Err(failure);
        }
        let Some(wait) = self.waits.next() else {
            return Err(failure);
        };
        let doing = format!("watching the coordinator at {}", self.connection.address());
        announce(&doing, &failure, wait);
        self.link = Link::Down {
            try_at: Instant::now() + wait,
        };
        Ok(())
    }
}
