//! The way to a coordinator, or to the one of several that leads.

use std::sync::Arc;
use std::time::Duration;

use proto::MAX_MESSAGE_BYTES;
use proto::v1::checkpoints_client::CheckpointsClient;
use proto::v1::cluster_client::ClusterClient;
use proto::v1::coordinators_client::CoordinatorsClient;
use proto::v1::operator_client::OperatorClient;
use proto::v1::publishing_client::PublishingClient;
use tokio::time::sleep;
use tonic::transport::Endpoint;

use crate::error::describe_chain;
use crate::leader_channel::LeaderChannel;
use crate::peers::Peers;
use crate::retry::announce;
use crate::{Address, Addresses, Error, RetryPolicy, retry};

/// How long a connection waits for its peer.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How often an HTTP/2 ping asks whether the peer is still there.
    pub keep_alive_interval: Duration,
    /// How long the answer to such a ping may take before the connection
    /// counts as broken.
    pub keep_alive_timeout: Duration,
    /// Among several coordinators: how long a call or a stream may be silent
    /// before it is asked who leads. A process that was stopped keeps its
    /// connections open.
    pub silence: Duration,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            connect_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(20),
            silence: Duration::from_secs(2),
        }
    }
}

/// The way to the coordinator that leads. Cloning shares it; after a failure
/// the next call connects anew, to another coordinator where that one leads.
#[derive(Clone, Debug)]
pub struct Connection {
    peers: Arc<Peers>,
}

/// The shortest and the longest moment for which a caller waits although the
/// leader has been found: many callers are woken at once.
const MOMENT_MS: std::ops::Range<u64> = 50..150;
/// The longest wait where there are several coordinators: one of them may lead
/// within seconds.
const LONGEST_WAIT_AMONG_SEVERAL: Duration = Duration::from_secs(1);

/// Flow-control windows: what may be under way unacknowledged. A checkpoint's
/// chunks are about a megabyte, and a round trip between continents is 0.2 s.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

impl Connection {
    /// A connection that is opened by its first call.
    ///
    /// # Errors
    /// [`Error::Connect`] when an address makes no URI.
    pub fn lazy(
        addresses: impl Into<Addresses>,
        options: &ConnectOptions,
    ) -> Result<Connection, Error> {
        let peers = Peers::new(&addresses.into(), options, true)?;
        Ok(Connection { peers })
    }

    /// A connection to this coordinator and no other, whether or not it leads.
    ///
    /// # Errors
    /// [`Error::Connect`] when the address makes no URI.
    pub fn direct(address: &Address, options: &ConnectOptions) -> Result<Connection, Error> {
        let peers = Peers::new(&address.into(), options, false)?;
        Ok(Connection { peers })
    }

    /// Where the coordinator that calls go to listens.
    pub fn address(&self) -> Address {
        self.peers.route().address
    }

    /// The channel itself, for services that the protocol does not name (health).
    pub fn channel(&self) -> LeaderChannel {
        LeaderChannel::new(Arc::clone(&self.peers))
    }

    /// Waits before another attempt: as long as asked for, or until the leader
    /// has been found meanwhile.
    pub async fn pause(&self, wait: Duration) {
        let wait = match self.peers.has_others() {
            true => wait.min(LONGEST_WAIT_AMONG_SEVERAL),
            false => wait,
        };
        let found = self.peers.found();
        let moment = Duration::from_millis(rand::random_range(MOMENT_MS)).min(wait);
        sleep(moment).await;
        tokio::select! {
            () = found => {}
            () = sleep(wait - moment) => {}
        }
    }

    /// Calls `attempt` until it succeeds, fails for good, or the policy gives
    /// up, as [`retry`](crate::retry()) does, but does not wait any longer once
    /// the leader has been found.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn retry<T, Attempt>(
        &self,
        doing: &str,
        policy: &RetryPolicy,
        mut attempt: impl FnMut() -> Attempt,
    ) -> Result<T, Error>
    where
        Attempt: Future<Output = Result<T, Error>>,
    {
        let mut waits = policy.waits();
        loop {
            let error = match attempt().await {
                Err(error) if !error.is_fatal() => error,
                outcome => return outcome,
            };
            let Some(wait) = waits.next() else {
                return Err(error);
            };
            announce(doing, &error, wait);
            self.pause(wait).await;
        }
    }

    /// What workers call.
    pub fn cluster(&self) -> ClusterClient<LeaderChannel> {
        ClusterClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Reading checkpoints.
    pub fn checkpoints(&self) -> CheckpointsClient<LeaderChannel> {
        CheckpointsClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What coordinators are to each other.
    pub fn coordinators(&self) -> CoordinatorsClient<LeaderChannel> {
        CoordinatorsClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Who may use a hotkey: see [`proto::v1::HoldRequest`].
    pub fn publishing(&self) -> PublishingClient<LeaderChannel> {
        PublishingClient::new(self.channel())
    }

    /// What a person asks.
    pub fn operator(&self) -> OperatorClient<LeaderChannel> {
        OperatorClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Connects once; of several coordinators, to the one that leads, or to the
/// first that answers where none does.
///
/// # Errors
/// [`Error::Connect`] when nobody answers within `connect_timeout`.
pub async fn connect(
    addresses: impl Into<Addresses>,
    options: &ConnectOptions,
) -> Result<Connection, Error> {
    let addresses = addresses.into();
    if addresses.has_several() {
        let peers = Peers::new(&addresses, options, true)?;
        return match peers.ask_once().await {
            true => Ok(Connection { peers }),
            false => Err(Error::Connect {
                addresses,
                reason: "none of them answers".to_owned(),
            }),
        };
    }
    let address = addresses.first();
    let channel = endpoint(address, options)?
        .connect()
        .await
        .map_err(|error| unreachable_at(address, &error))?;
    Ok(Connection {
        peers: Peers::connected(address, channel, options),
    })
}

/// Connects, and keeps trying as the policy says while nobody answers: the
/// coordinator may start after the programs that need it.
///
/// # Errors
/// [`Error::Connect`] when the policy gives up.
pub async fn connect_with_retries(
    addresses: impl Into<Addresses>,
    options: &ConnectOptions,
    policy: &RetryPolicy,
) -> Result<Connection, Error> {
    let addresses = addresses.into();
    retry("connecting to the coordinator", policy, || {
        connect(&addresses, options)
    })
    .await
}

pub(crate) fn endpoint(address: &Address, options: &ConnectOptions) -> Result<Endpoint, Error> {
    let endpoint =
        Endpoint::from_shared(address.uri()).map_err(|error| unreachable_at(address, &error))?;
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

fn unreachable_at(address: &Address, error: &tonic::transport::Error) -> Error {
    Error::Connect {
        addresses: address.into(),
        reason: describe_chain(error),
    }
}
