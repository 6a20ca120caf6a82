//! Xet, the storage behind the Hub's large files, through `hf-xet`.
//!
//! The library cuts files into chunks, asks which of them the storage has, and
//! sends the others in blocks of at most 64 MiB ([`Transfer`]); it reads a file
//! by putting chunks together again ([`Reader`]). What it learns it keeps on
//! disk, which lets a second attempt skip what the first one sent; but a cache
//! that claims what the storage no longer has makes files that nobody can read.
//! So each publication has a cache of its own ([`TransferCache`]), which is
//! discarded when the storage contradicts it and when the publication is done.

mod cache;
mod read;
mod upload;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use xet::XetError;
use xet::xet_session::{XetConfig, XetSession, XetSessionBuilder};

pub(crate) use cache::TransferCache;
pub(crate) use read::Reader;
pub(crate) use upload::Transfer;

use crate::answers::XetAccess;
use crate::{Hub, HubConfig, HubError, TransferKind, http};

/// The way into the storage, and where it is renewed when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) access: XetAccess,
    renew_at: String,
    bearer: Option<HeaderValue>,
}

impl Hub {
    /// Asks for a way into the storage, once.
    pub(crate) async fn enter_storage(&self, address: reqwest::Url) -> Result<Entrance, HubError> {
        const CALL: &str = "asking for access to the storage";
        let request = self.http.request(reqwest::Method::GET, address.clone());
        let answer = self.call(CALL, request).await?;
        let access = XetAccess::parse(&answer.body)
            .map_err(|error| HubError::answer(CALL, error.to_string()))?;
        Ok(Entrance {
            access,
            renew_at: address.to_string(),
            bearer: self.http.bearer().cloned(),
        })
    }
}

impl Entrance {
    /// What every request to the storage carries.
    fn headers() -> HeaderMap {
        HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(http::USER_AGENT))])
    }

    /// What a request to the Hub for a new key carries.
    fn renew_headers(&self) -> HeaderMap {
        let mut headers = Self::headers();
        if let Some(bearer) = &self.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        headers
    }
}

/// The runtime that one transfer's tasks live in.
///
/// `hf-xet` spawns tasks that outlive a failed or dropped transfer (`hf-hub`'s
/// progress poller is another). Here they end with their runtime, which ends
/// with the transfer, however that ends.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> Result<Self, HubError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hub-transfer")
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string(), TransferKind::Local))?;
        Ok(Self(Some(runtime)))
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, HubError> {
        match &self.0 {
            Some(runtime) => Ok(runtime.spawn(work)),
            None => Err(failed(
                "its runtime has ended".to_owned(),
                TransferKind::Local,
            )),
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Cancels its tasks, and does not block the async thread it is called on.
            runtime.shutdown_background();
        }
    }
}

/// How `hf-xet` is to behave. `XetConfig::new` would read the environment.
fn xet_config(config: &HubConfig, deduplicate: bool) -> XetConfig {
    let mut xet = XetConfig::default();
    xet.telemetry.enabled = false;
    xet.deduplication.global_dedup_query_enabled = deduplicate;
    // Blocks in flight are what fills memory: up to 64 by default.
    let blocks = config.limits.upload_blocks.max(1);
    xet.client.ac_max_upload_concurrency = blocks;
    xet.client.ac_initial_upload_concurrency = blocks;
    xet.data.max_concurrent_file_ingestion = 1;
    xet.client.connect_timeout = config.timeouts.connect;
    xet.client.read_timeout = config.timeouts.silence;
    xet.client.retry_base_delay = config.waits.first_wait;
    xet.client.retry_max_duration = config.waits.longest_backoff;
    // The rest of the patience is ours, which tells what it is waiting for.
    xet.client.retry_max_attempts = 2;
    // Reading keeps no chunks on disk, and few in memory.
    xet.chunk_cache.size_bytes = 0;
    xet.client.ac_max_download_concurrency = blocks;
    xet.client.ac_initial_download_concurrency = blocks.min(2);
    for (setting, bytes) in [
        ("reconstruction.download_buffer_size", "64mb"),
        ("reconstruction.download_buffer_perfile_size", "16mb"),
        ("reconstruction.download_buffer_limit", "128mb"),
        ("reconstruction.min_prefetch_buffer", "32mb"),
    ] {
        // A name that a later version does without leaves its default.
        xet = xet.clone().with_config(setting, bytes).unwrap_or(xet);
    }
    xet
}

fn session(config: XetConfig, dir: std::path::PathBuf) -> Result<XetSession, XetError> {
    XetSessionBuilder::new_with_config(config)
        .with_cache_dir(dir)
        .with_tokio_handle(tokio::runtime::Handle::current())
        .build()
}

fn failed(reason: String, kind: TransferKind) -> HubError {
    HubError::Transfer { reason, kind }
}

fn from_xet(error: &XetError, throttled_wait: Duration) -> HubError {
    let kind = match error {
        XetError::RateLimited(_) => TransferKind::Throttled(throttled_wait),
        XetError::NotFound(_)
        | XetError::DataIntegrity(_)
        | XetError::Configuration(_)
        | XetError::Internal(_) => TransferKind::Inconsistent,
        XetError::Io(_) => TransferKind::Local,
        XetError::Network(reason) | XetError::ServerError(reason) => match status(reason) {
            Some(400 | 404 | 410 | 416 | 422) => TransferKind::Inconsistent,
            Some(500) => TransferKind::Failing,
            _ => TransferKind::Passing,
        },
        // A key that expired too early, too: the next attempt asks for one.
        _ => TransferKind::Passing,
    };
    failed(error.to_string(), kind)
}

/// The status that the storage answered with, from the text in which the library
/// leaves it: `… HTTP status client error (404 Not Found) …`.
fn status(reason: &str) -> Option<u16> {
    let (_, answer) = reason.split_once("HTTP status ")?;
    let (_, status) = answer.split_once(" error (")?;
    status.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &XetError) -> TransferKind {
        match from_xet(error, Duration::from_secs(60)) {
            HubError::Transfer { kind, .. } => kind,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_an_answer_about_the_contents_says_that_they_are_missing() {
        let network = |words: &str| kind(&XetError::Network(words.to_owned()));
        let server = |words: &str| kind(&XetError::ServerError(words.to_owned()));
        for (status, expected) in [
            ("client error (400 Bad Request)", TransferKind::Inconsistent),
            ("client error (404 Not Found)", TransferKind::Inconsistent),
            ("client error (403 Forbidden)", TransferKind::Passing),
        ] {
            let words = format!("Request error: HTTP status {status}, domain: http://h/v1/x");
            assert_eq!(network(&words), expected, "{status}");
        }
        assert_eq!(
            server("HTTP status server error (500 Internal Server Error)"),
            TransferKind::Failing
        );
        assert_eq!(
            server("HTTP status server error (503 Service Unavailable)"),
            TransferKind::Passing
        );
        assert_eq!(network("connection reset"), TransferKind::Passing);
    }
}
