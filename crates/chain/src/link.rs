//! One connection to one endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls_platform_verifier::Verifier;
use subxt::OnlineClient;
use subxt::backend::LegacyBackend;
use subxt::config::RpcConfigFor;
use subxt::ext::jsonrpsee::client_transport::ws::{Url, WsTransportClientBuilder};
use subxt::ext::jsonrpsee::core::client::Client;
use subxt::ext::jsonrpsee::ws_client::PingConfig;
use subxt::rpcs::client::{RawRpcFuture, RawRpcSubscription, RawValue, RpcClientT};
use subxt::rpcs::methods::LegacyRpcMethods;
use subxt::rpcs::{Error as RpcError, RpcClient};
use subxt::utils::H256;

use crate::{ChainConfig, ChainError, Config, Endpoint};

/// The largest answer that is accepted; the metadata is under a megabyte, a
/// metagraph of a full subnet too, both as hexadecimal.
const MAX_RESPONSE_BYTES: u32 = 64 << 20;

/// How often a ping asks whether the peer is still there, and how long its silence
/// is borne.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_SILENCE: Duration = Duration::from_secs(45);

/// A connection to a node: subxt's client, and the plain methods beside it.
///
/// It is used until it breaks, and then dropped, never mended: what mends itself is
/// the [`Chain`](crate::Chain), which opens another.
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    pub(crate) client: OnlineClient<Config>,
    pub(crate) rpc: LegacyRpcMethods<RpcConfigFor<Config>>,
    wire: Arc<Wire>,
}

impl Link {
    /// Connects, and asks for the genesis block.
    ///
    /// The methods used are the ones that every node has had for years, and not the
    /// newer `chainHead` ones: those forget blocks, and re-submit a transaction
    /// through a second method if the first one fails.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        config: &ChainConfig,
        runtimes: &Config,
    ) -> Result<Link, String> {
        let url = Url::parse(endpoint.as_str()).map_err(|error| error.to_string())?;
        let mut transport = WsTransportClientBuilder::default()
            .connection_timeout(config.connect_timeout)
            .max_response_size(MAX_RESPONSE_BYTES);
        if endpoint.is_encrypted() {
            transport = transport.with_custom_cert_store(tls()?);
        }
        let connecting = tokio::time::timeout(config.connect_timeout, transport.build(url));
        let (sender, receiver) = connecting
            .await
            .map_err(|_| format!("no connection within {:?}", config.connect_timeout))?
            .map_err(|error| error.to_string())?;
        let client = Client::builder()
            .request_timeout(config.request_timeout)
            .enable_ws_ping(
                PingConfig::new()
                    .ping_interval(PING_EVERY)
                    .inactive_limit(PING_SILENCE),
            )
            .build_with_tokio(sender, receiver);
        let wire = Arc::new(Wire {
            client,
            failed: AtomicBool::new(false),
        });
        let methods = RpcClient::new(wire.clone());
        let backend = LegacyBackend::builder().build(methods.clone());
        let client = OnlineClient::from_backend_with_config(runtimes.clone(), Arc::new(backend))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Link {
            endpoint: endpoint.clone(),
            client,
            rpc: LegacyRpcMethods::new(methods),
            wire,
        })
    }

    pub(crate) fn genesis(&self) -> H256 {
        self.client.genesis_hash()
    }

    /// Whether the connection is of no more use: it is closed, or a request on it
    /// was not answered.
    pub(crate) fn is_broken(&self) -> bool {
        self.wire.failed.load(Ordering::Relaxed) || !self.wire.client.is_connected()
    }

    /// Gives the connection up, so that the next use opens another.
    pub(crate) fn give_up(&self) {
        self.wire.failed.store(true, Ordering::Relaxed);
    }

    /// An error about something that was asked over this connection.
    pub(crate) fn fault(&self, doing: &str, error: impl std::fmt::Display) -> ChainError {
        ChainError::Request {
            endpoint: self.endpoint.clone(),
            doing: doing.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// The client, and whether a request on it has failed in another way than by the
/// node's saying so.
struct Wire {
    client: Client,
    failed: AtomicBool,
}

impl Wire {
    fn note<T>(&self, answer: Result<T, RpcError>) -> Result<T, RpcError> {
        if let Err(RpcError::Client(_)) = &answer {
            self.failed.store(true, Ordering::Relaxed);
        }
        answer
    }
}

impl RpcClientT for Wire {
    fn request_raw<'a>(
        &'a self,
        method: &'a str,
        params: Option<Box<RawValue>>,
    ) -> RawRpcFuture<'a, Box<RawValue>> {
        Box::pin(async move { self.note(self.client.request_raw(method, params).await) })
    }

    fn subscribe_raw<'a>(
        &'a self,
        subscribe: &'a str,
        params: Option<Box<RawValue>>,
        unsubscribe: &'a str,
    ) -> RawRpcFuture<'a, RawRpcSubscription> {
        Box::pin(async move {
            let answer = self.client.subscribe_raw(subscribe, params, unsubscribe);
            self.note(answer.await)
        })
    }
}

/// The system's roots, plus Mozilla's for containers that have none.
fn tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    let verifier = Verifier::new_with_extra_roots(roots, provider.clone())
        .map_err(|error| error.to_string())?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_checked_without_any_provider_being_installed() {
        let config = tls().unwrap();
        assert!(!config.crypto_provider().cipher_suites.is_empty());
    }
}
