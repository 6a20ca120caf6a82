//! Requests with our own timeouts, and answers of bounded length.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use crate::answers::{error_message, told_wait};
use crate::config::shown;
use crate::{HubConfig, HubError, Refusal};

pub(crate) const USER_AGENT: &str = concat!("peregrine/", env!("CARGO_PKG_VERSION"));

/// How much of a refusal's body is read for the words in it.
const MAX_REFUSAL_BYTES: usize = 16 << 10;

/// How often an answer may point elsewhere.
const MAX_REDIRECTS: usize = 5;

/// The way to one Hub.
///
/// `hf-hub` sets no timeouts, so that a server that goes silent stops it for
/// good: every request here has one.
pub(crate) struct Http {
    client: reqwest::Client,
    endpoint: Url,
    bearer: Option<HeaderValue>,
    answer_timeout: Duration,
    untold_wait: Duration,
}

/// A whole, successful answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(config: &HubConfig) -> Result<Self, HubError> {
        let unusable = |reason: String| HubError::Config {
            endpoint: shown(&config.endpoint),
            reason,
        };
        let endpoint = Url::parse(config.endpoint.trim_end_matches('/'))
            .map_err(|error| unusable(error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
            return Err(unusable("it is no web address".to_owned()));
        }
        let token = config.token.as_ref().filter(|token| !token.is_empty());
        let bearer = token
            .map(|token| {
                let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                    .map_err(|_| unusable("the token holds characters no token has".to_owned()))?;
                bearer.set_sensitive(true);
                Ok(bearer)
            })
            .transpose()?;
        if bearer.is_some() && endpoint.scheme() == "http" && !is_here(&endpoint) {
            // Mirrors in a closed network are reached like this, so it is no error.
            // A process makes several clients.
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                tracing::warn!(
                    "the token travels unencrypted to {}, where everyone on the way can read it: \
                     use https:// if that network is not your own",
                    shown(&config.endpoint)
                );
            });
        }
        Ok(Self {
            client: client(config, &endpoint).map_err(|error| unusable(causes(error)))?,
            endpoint,
            bearer,
            answer_timeout: config.timeouts.answer,
            untold_wait: config.waits.untold_wait,
        })
    }

    /// An address below the endpoint. Each part becomes one segment, whatever
    /// characters it has, but for paths within a repository, which may have
    /// several.
    pub(crate) fn url<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            for part in parts {
                segments.extend(part.split('/'));
            }
        }
        url
    }

    /// An address that the server gave, if it belongs to the endpoint: the
    /// token must not follow a stranger's link.
    pub(crate) fn own_url(&self, address: &str) -> Option<Url> {
        let url = self.endpoint.join(address).ok()?;
        (url.origin() == self.endpoint.origin()).then_some(url)
    }

    /// The endpoint and what each request to it carries, for the one library
    /// that makes requests of its own.
    pub(crate) fn bearer(&self) -> Option<&HeaderValue> {
        self.bearer.as_ref()
    }

    /// A request to the endpoint.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
            None => request,
        }
    }

    /// Sends a request whose answer is small, and reads it to its end.
    pub(crate) async fn call(
        &self,
        call: &'static str,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<Answer, HubError> {
        let mut response = self
            .open(call, request.timeout(self.answer_timeout))
            .await?;
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| interrupted(call, error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(HubError::answer(call, format!("it exceeds {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { headers, body })
    }

    /// Sends a request, and returns the answer before its body if it is a
    /// success.
    pub(crate) async fn open(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<Response, HubError> {
        let response = request
            .send()
            .await
            .map_err(|error| interrupted(call, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(HubError::Refused {
            call,
            refusal: Box::new(self.refusal(response).await),
        })
    }

    async fn refusal(&self, mut response: Response) -> Refusal {
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        // What cannot be read of an error's explanation is done without.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_REFUSAL_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_REFUSAL_BYTES {
                break;
            }
        }
        let code = headers.get("x-error-code");
        let code = code.and_then(|value| value.to_str().ok());
        let told = told_wait(&headers);
        Refusal {
            status: status.as_u16(),
            code: code.map(|code| code.chars().take(60).collect()),
            message: error_message(&headers, &body),
            told: match status {
                StatusCode::TOO_MANY_REQUESTS => Some(told.unwrap_or(self.untold_wait)),
                _ => told,
            },
        }
    }
}

fn client(config: &HubConfig, endpoint: &Url) -> reqwest::Result<reqwest::Client> {
    // Fails only if a provider is installed already, and then that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The system's roots, plus Mozilla's for containers that have none.
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .tls_certs_merge(roots)
        .redirect(Policy::custom(follow))
        .connect_timeout(config.timeouts.connect)
        .read_timeout(config.timeouts.silence);
    // A proxy from the environment is for the network, not for a server on this machine.
    if is_here(endpoint) {
        builder = builder.no_proxy();
    }
    builder.build()
}

/// Whether an address is of this machine alone.
fn is_here(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Files lie on other hosts, so redirects are followed (reqwest takes the token
/// off on the way), but not for ever and not out of TLS.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("the server redirects without end");
    }
    let from = attempt.previous().last();
    let leaves_tls =
        from.is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
    if leaves_tls {
        return attempt.error("the server redirects from https to an address without it");
    }
    attempt.follow()
}

/// A failure of the network, in words.
pub(crate) fn interrupted(call: &'static str, error: reqwest::Error) -> HubError {
    let reason = if error.is_timeout() {
        format!("no answer in time ({})", causes(error))
    } else {
        causes(error)
    };
    HubError::Interrupted { call, reason }
}

/// An error with its chain of causes, which reqwest leaves out of its own
/// message. Without its address: that of a file on another host holds a
/// signature that lets anyone read it.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
