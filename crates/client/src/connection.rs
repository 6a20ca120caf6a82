//! The channel to a coordinator.

use std::time::Duration;

use proto::MAX_MESSAGE_BYTES;
use proto::v1::checkpoints_client::CheckpointsClient;
use proto::v1::cluster_client::ClusterClient;
use proto::v1::operator_client::OperatorClient;
use proto::v1::publishing_client::PublishingClient;
use tonic::transport::{Channel, Endpoint};

use crate::error::describe_chain;
use crate::{Address, Error, RetryPolicy, retry};

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
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            connect_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(20),
        }
    }
}

/// A channel to a coordinator. Cloning shares it; after a failure the next
/// call connects anew.
#[derive(Clone, Debug)]
pub struct Connection {
    address: Address,
    channel: Channel,
}

/// Flow-control windows: what may be under way unacknowledged. A checkpoint's
/// chunks are about a megabyte, and a round trip between continents is 0.2 s.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

impl Connection {
    /// A connection that is opened by its first call.
    ///
    /// # Errors
    /// [`Error::Connect`] when the address makes no URI.
    pub fn lazy(address: &Address, options: &ConnectOptions) -> Result<Connection, Error> {
        Ok(Connection {
            address: address.clone(),
            channel: endpoint(address, options)?.connect_lazy(),
        })
    }

    /// Where the coordinator listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The channel itself, for services that the protocol does not name (health).
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What workers call.
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Reading checkpoints.
    pub fn checkpoints(&self) -> CheckpointsClient<Channel> {
        CheckpointsClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Who may use a hotkey: see [`proto::v1::HoldRequest`].
    pub fn publishing(&self) -> PublishingClient<Channel> {
        PublishingClient::new(self.channel())
    }

    /// What a person asks.
    pub fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Connects once.
///
/// # Errors
/// [`Error::Connect`] when nobody answers within `connect_timeout`.
pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<Connection, Error> {
    let channel = endpoint(address, options)?
        .connect()
        .await
        .map_err(|error| unreachable_at(address, &error))?;
    Ok(Connection {
        address: address.clone(),
        channel,
    })
}

/// Connects, and keeps trying as the policy says while nobody answers: the
/// coordinator may start after the programs that need it.
///
/// # Errors
/// [`Error::Connect`] when the policy gives up.
pub async fn connect_with_retries(
    address: &Address,
    options: &ConnectOptions,
    policy: &RetryPolicy,
) -> Result<Connection, Error> {
    retry("connecting to the coordinator", policy, || {
        connect(address, options)
    })
    .await
}

fn endpoint(address: &Address, options: &ConnectOptions) -> Result<Endpoint, Error> {
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
        address: address.clone(),
        reason: describe_chain(error),
    }
}
