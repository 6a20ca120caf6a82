//! Which chain, and how long to wait for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use subxt::ext::jsonrpsee::client_transport::ws::Url;

use crate::BLOCK_TIME;

/// A network of the chain, by the names that Bittensor's tools use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Network {
    /// The main network.
    Finney,
    /// The test network.
    Test,
    /// A node on this machine.
    Local,
}

impl Network {
    /// Where the network is reached when no endpoint is named.
    #[must_use]
    pub fn endpoint(self) -> Endpoint {
        Endpoint(
            match self {
                Network::Finney => "wss://entrypoint-finney.opentensor.ai:443",
                Network::Test => "wss://test.finney.opentensor.ai:443",
                Network::Local => "ws://127.0.0.1:9944",
            }
            .to_owned(),
        )
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Finney => "finney",
            Network::Test => "test",
            Network::Local => "local",
        })
    }
}

/// The WebSocket of a node: `ws://HOST:PORT` or `wss://HOST`.
///
/// Providers of nodes put the key to them into the URL, as its path, its query or its
/// user. So Display and Debug show scheme, host and port alone, and `/…` for whatever
/// else there is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// Why a text is not an [`Endpoint`]. It repeats of the text what an [`Endpoint`]
/// shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not a chain endpoint ({reason}): give ws://HOST:PORT or wss://HOST")]
pub struct EndpointError {
    shown: String,
    reason: String,
}

impl Endpoint {
    /// The whole URL, which may hold a key: for connecting, and not for people.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.starts_with("wss:")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:?})", without_secrets(&self.0))
    }
}

/// Scheme, host and port of a URL, or of what was meant to be one, and `/…` for what
/// else it holds.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        // Not a scheme, but something in which a URL stands.
        Some((scheme, _)) if scheme.contains(['/', '\\', '?', '#', '@']) => ("", url),
        Some((scheme, _)) => url.split_at(scheme.len() + "://".len()),
        None => ("", url),
    };
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let all_is_shown = host == authority && matches!(path, "" | "/");
    let more = if all_is_shown { "" } else { "/…" };
    format!("{scheme}{host}{more}")
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse = |reason: &str| EndpointError {
            shown: without_secrets(text),
            reason: reason.to_owned(),
        };
        let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(refuse("its scheme is neither ws nor wss"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host"));
        }
        Ok(Self(url.to_string()))
    }
}

/// Which chain, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Nodes of one chain. The first that answers is used, and when it breaks, the
    /// one after it.
    pub endpoints: Vec<Endpoint>,
    /// How long connecting to one endpoint may take.
    pub connect_timeout: Duration,
    /// How long the answer to one request may take.
    pub request_timeout: Duration,
    /// How long a subscription to finalized blocks may be silent before the chain
    /// itself is asked whether it has grown.
    pub stall: Duration,
}

impl ChainConfig {
    /// A network's own endpoint, with waits that suit a public node.
    #[must_use]
    pub fn network(network: Network) -> Self {
        Self::endpoints(vec![network.endpoint()])
    }

    /// These endpoints, tried in turn, with waits that suit a public node.
    #[must_use]
    pub fn endpoints(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            connect_timeout: Duration::from_secs(10),
            // Metadata is some hundred kilobytes, and public nodes are slow at times.
            request_timeout: Duration::from_secs(30),
            // Finality comes in bursts of a few blocks.
            stall: 5 * BLOCK_TIME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_networks_endpoint_reads_as_itself() {
        for network in [Network::Finney, Network::Test, Network::Local] {
            let endpoint = network.endpoint();
            let parsed: Endpoint = endpoint.as_str().parse().unwrap();
            assert_eq!(
                Url::parse(parsed.as_str()).unwrap(),
                Url::parse(endpoint.as_str()).unwrap()
            );
        }
    }

    #[test]
    fn the_key_in_an_endpoint_is_for_connecting_alone() {
        for (text, shown) in [
            ("wss://node.example/v1/s3cret", "wss://node.example/…"),
            ("wss://node.example/?apikey=s3cret", "wss://node.example/…"),
            ("wss://node.example?apikey=s3cret", "wss://node.example/…"),
            ("wss://node.example/#s3cret", "wss://node.example/…"),
            ("ws://us:s3cret@node.example:99", "ws://node.example:99/…"),
            ("ws://s3cret@[::1]:99/", "ws://[::1]:99/…"),
            ("ws://node.example:99", "ws://node.example:99"),
            ("wss://node.example/", "wss://node.example"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(format!("{endpoint:?}"), format!("Endpoint({shown:?})"));
            assert_eq!(endpoint.as_str(), Url::parse(text).unwrap().as_str());
        }
    }

    #[test]
    fn a_refused_endpoint_is_not_repeated_with_its_key() {
        for text in [
            "https://node.example/v1/s3cret",
            "https://node.example?apikey=s3cret",
            "https://us:s3cret@node.example",
            "us:s3cret@node.example",
            "us:s3cret@wss://node.example",
            "node.example/s3cret",
            "wss://us:s3cret@",
            "wss://node.example:port/s3cret",
            "wss:\\\\us:s3cret@node.example:port",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("s3cret"), "{said}");
            assert!(error.to_string().contains("ws://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn what_is_no_websocket_is_refused_in_words() {
        for (text, reason) in [
            ("https://node.example", "neither ws nor wss"),
            ("node.example:9944", "neither ws nor wss"),
            ("ws://", "host"),
            ("", "relative URL"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
