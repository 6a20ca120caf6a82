//! The rows client.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backon::Retryable;
use ledger::PageId;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use run::ROWS_PER_PAGE;

use super::DEFAULT_ENDPOINT;
use super::answer::{self, Answer, Asked, Failure};
use super::budget::RequestBudget;
use super::one_page::may_concern_one_page;
use super::retry::{RetryPolicy, exhausted_quota};
use crate::metrics::{SourceCounters, SourceMetrics};
use crate::source::{BoxFuture, Source, SourceError, SourceInfo, check_pinned};

/// The largest answer that is read; a page of Falcon RefinedWeb is about 300 kB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A token that is sent but never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a token; white space around it is not part of it.
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To be connected, TLS included.
    pub connect: Duration,
    /// Between two reads of the answer.
    pub read: Duration,
    /// From the request to the end of the answer.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            total: Duration::from_secs(90),
        }
    }
}

/// How the dataset server is reached; shared by all datasets that are read from it.
#[derive(Clone, Debug)]
pub struct ServerAccess {
    /// The server, [`DEFAULT_ENDPOINT`] unless a test or a mirror says otherwise.
    pub endpoint: String,
    /// The Hugging Face token, sent as a bearer.
    pub token: Option<Secret>,
    /// How many requests at once, and the server's word to slow down.
    pub budget: Arc<RequestBudget>,
    /// When to ask again.
    pub retry: RetryPolicy,
    /// When to stop waiting for an answer.
    pub timeouts: Timeouts,
}

impl Default for ServerAccess {
    /// The public server without a token, eight requests at once.
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            budget: Arc::new(RequestBudget::new(8)),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Which rows to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewerConfig {
    /// Dataset, such as `tiiuae/falcon-refinedweb`.
    pub dataset: String,
    /// Config of the dataset, such as `default`.
    pub config: String,
    /// Split, such as `train`.
    pub split: String,
    /// Column that holds the text, such as `content`.
    pub column: String,
    /// What the run was planned on; without it, the first answer decides.
    pub pinned: Option<SourceInfo>,
}

/// A dataset as the viewer's rows API serves it.
#[derive(Debug)]
pub struct DatasetViewer {
    config: ViewerConfig,
    access: ServerAccess,
    http: reqwest::Client,
    rows_url: reqwest::Url,
    /// Dataset, config and split, for errors.
    what: String,
    pinned: OnceLock<SourceInfo>,
    counters: SourceCounters,
}

impl DatasetViewer {
    /// A client; sends nothing yet.
    ///
    /// # Errors
    /// [`SourceError::Client`] if the endpoint is not a URL or the token cannot be sent.
    pub fn new(config: ViewerConfig, access: ServerAccess) -> Result<Self, SourceError> {
        let rows_url = format!("{}/rows", access.endpoint.trim_end_matches('/'));
        let rows_url = reqwest::Url::parse(&rows_url).map_err(|error| {
            SourceError::Client(format!(
                "the endpoint {} is not a URL: {error}",
                access.endpoint
            ))
        })?;
        let what = format!(
            "{}, config {}, split {}",
            config.dataset, config.config, config.split
        );
        let pinned = OnceLock::new();
        if let Some(info) = &config.pinned {
            pinned.get_or_init(|| info.clone());
        }
        let http = http_client(&access, &rows_url)?;
        let counters = SourceCounters::default();
        Ok(Self {
            config,
            access,
            http,
            rows_url,
            what,
            pinned,
            counters,
        })
    }

    pub(super) fn retry(&self) -> RetryPolicy {
        self.access.retry
    }

    /// `again` says that it was asked for before, for the count of retries.
    pub(super) async fn fetch(
        &self,
        page: PageId,
        length: u64,
        again: bool,
    ) -> Result<Answer, SourceError> {
        let asked = Asked {
            what: &self.what,
            column: &self.config.column,
            page: page.0,
            offset: page.0.saturating_mul(ROWS_PER_PAGE),
            length,
        };
        let policy = self.access.retry;
        let mut attempts = 0;
        let outcome = (|| {
            attempts += 1;
            self.attempt(asked, again || attempts > 1)
        })
        .retry(policy.backoff())
        .when(|failure| match failure {
            Failure::Passing { .. } => true,
            // Of a whole page, whoever wants it insists.
            Failure::OtherRows(_) => length < ROWS_PER_PAGE,
            Failure::Final(_) => false,
        })
        .adjust(|failure, backoff| {
            let backoff = backoff?;
            let told = match failure {
                Failure::Passing {
                    told: Some(told), ..
                } => policy.bounded(*told),
                _ => Duration::ZERO,
            };
            Some(told.max(backoff))
        })
        .notify(|failure, wait| {
            if let Failure::Passing { cause, .. } = failure {
                tracing::warn!(
                    page = page.0,
                    ?wait,
                    cause,
                    "asking the dataset server again"
                );
            }
        })
        .await;
        outcome.map_err(|failure| match failure {
            Failure::Final(error) => error,
            Failure::OtherRows(problem) => SourceError::OtherRows {
                page: page.0,
                problem,
                after: policy.longest_backoff,
            },
            Failure::Passing { cause, told, .. } => SourceError::Unavailable {
                attempts,
                after: told.map_or(policy.longest_backoff, |told| policy.bounded(told)),
                cause,
            },
        })
    }

    async fn attempt(&self, asked: Asked<'_>, is_retry: bool) -> Result<Answer, Failure> {
        let _permit = self.access.budget.admit().await;
        self.counters.requests.add(1);
        if is_retry {
            self.counters.retries.add(1);
        }
        let answer = self.exchange(asked).await;
        if let Err(Failure::Passing {
            told,
            throttled: true,
            ..
        }) = &answer
        {
            self.counters.throttled.add(1);
            if let Some(told) = told {
                self.access
                    .budget
                    .close_for(self.access.retry.bounded(*told));
            }
        }
        answer
    }

    async fn exchange(&self, asked: Asked<'_>) -> Result<Answer, Failure> {
        let query = [
            ("dataset", self.config.dataset.clone()),
            ("config", self.config.config.clone()),
            ("split", self.config.split.clone()),
            ("offset", asked.offset.to_string()),
            ("length", asked.length.to_string()),
        ];
        let request = self.http.get(self.rows_url.clone()).query(&query);
        let mut response = request.send().await.map_err(|error| interrupted(&error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| interrupted(&error))?
        {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Final(SourceError::PageUnreadable {
                    page: asked.page,
                    reason: format!("its rows exceed {} MiB", MAX_ANSWER_BYTES >> 20),
                }));
            }
            body.extend_from_slice(&chunk);
        }
        self.counters.bytes.add(body.len() as u64);
        if !status.is_success() {
            return Err(answer::failure(asked, status, &headers, &body));
        }
        // The answer is good, but it was the last one in this window: the next would be a 429.
        if let Some(wait) = exhausted_quota(&headers) {
            self.access
                .budget
                .close_for(self.access.retry.bounded(wait));
        }
        let answer = answer::rows(asked, self.pinned.get(), &headers, &body)?;
        let pinned = self.pinned.get_or_init(|| answer.info.clone());
        // Another answer may have pinned a different revision in the meantime.
        check_pinned(asked.what, pinned, &answer.info)?;
        Ok(answer)
    }
}

impl Source for DatasetViewer {
    fn describe(&self) -> BoxFuture<'_, Result<SourceInfo, SourceError>> {
        Box::pin(async { Ok(self.fetch(PageId(0), 1, false).await?.info) })
    }

    fn page(&self, page: PageId) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        Box::pin(async move {
            if let Some(pinned) = self.pinned.get() {
                pinned.rows_of(page)?;
            }
            match self.fetch(page, ROWS_PER_PAGE, false).await {
                Ok(answer) => Ok(answer.texts),
                Err(error) if may_concern_one_page(&error) => self.insist(page, error).await,
                Err(error) => Err(error),
            }
        })
    }

    fn metrics(&self) -> SourceMetrics {
        self.counters.snapshot()
    }
}

fn http_client(
    access: &ServerAccess,
    rows_url: &reqwest::Url,
) -> Result<reqwest::Client, SourceError> {
    // Fails only if a provider is installed already, and then that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The system's roots, plus Mozilla's for containers that have none.
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SourceError::Client(causes(&error)))?;
    let mut headers = HeaderMap::new();
    if let Some(token) = &access.token {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.0)).map_err(|_| {
            SourceError::Client("the Hugging Face token holds characters no token has".into())
        })?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("peregrine/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .tls_certs_merge(roots)
        .connect_timeout(access.timeouts.connect)
        .read_timeout(access.timeouts.read)
        .timeout(access.timeouts.total);
    // A proxy from the environment is for the network, not for a server on this machine.
    if matches!(
        rows_url.host_str(),
        Some("127.0.0.1" | "localhost" | "[::1]")
    ) {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| SourceError::Client(causes(&error)))
}

fn interrupted(error: &reqwest::Error) -> Failure {
    Failure::passing(causes(error))
}

/// An error with its chain of causes, which reqwest leaves out of its own message.
fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
