//! How the Hub is reached, and how patiently.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use backon::ExponentialBuilder;
use cli::Secret;

/// The public Hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How a [`Hub`](crate::Hub) is reached.
///
/// Everything is said here and nothing in the environment, so that two clients of
/// one process can differ and a test cannot reach a person's account.
#[derive(Clone)]
pub struct HubConfig {
    /// The Hub's address, [`DEFAULT_ENDPOINT`] unless a mirror or a test says
    /// otherwise. A name and a password in it (`https://user:pass@host`) appear in
    /// no message.
    pub endpoint: String,
    /// The token that every request to this address carries, and no other host
    /// ever sees. Without it, only what is public can be read.
    pub token: Option<Secret>,
    /// Where an interrupted transfer keeps what it needs to go on (a few
    /// kilobytes per gigabyte). Made when first needed.
    pub cache_dir: PathBuf,
    /// When to ask again.
    pub waits: WaitPolicy,
    /// When to stop waiting for an answer.
    pub timeouts: Timeouts,
    /// How much is read from a server that nobody has checked, and sent to it.
    pub limits: Limits,
}

impl HubConfig {
    /// The Hub at `endpoint`, with the usual patience and limits.
    pub fn new(endpoint: &str, token: Option<Secret>, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            token,
            cache_dir: cache_dir.into(),
            waits: WaitPolicy::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &shown(&self.endpoint))
            .field("token", &self.token)
            .field("cache_dir", &self.cache_dir)
            .field("waits", &self.waits)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish()
    }
}

/// An endpoint as it may be shown: without a name and a password. Also right for
/// what is no address, since that is what errors show.
pub(crate) fn shown(endpoint: &str) -> String {
    let (scheme, rest) = match endpoint.find("://") {
        Some(at) => endpoint.split_at(at + "://".len()),
        None => ("", endpoint),
    };
    // The last one: a password that was not escaped may have more.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}"),
        None => endpoint.to_owned(),
    }
}

/// When a request that failed is sent again.
///
/// Broken connections and errors of the server are retried with exponential
/// back-off and jitter. A server that says how long to wait is obeyed to the
/// second: an early request is refused again and prolongs the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Attempts at one thing before giving up, the first included; waits that
    /// the server asked for do not count.
    pub attempts: u32,
    /// Wait before the first retry; doubles with each one, plus up to as much
    /// again at random.
    pub first_wait: Duration,
    /// Bound of that wait, before the random part.
    pub longest_backoff: Duration,
    /// The longest wait that is obeyed here. Asked for more, the call fails
    /// with [`Class::Wait`](crate::Class::Wait) and leaves it to its caller.
    pub longest_told_wait: Duration,
    /// The wait after a 429 that names none.
    pub untold_wait: Duration,
    /// How many waits in a row are obeyed for one thing.
    pub told_waits: u32,
}

impl Default for WaitPolicy {
    /// Eight attempts over some two minutes. A told wait may last a little over
    /// five minutes, the window over which the Hub counts requests.
    fn default() -> Self {
        Self {
            attempts: 8,
            first_wait: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(30),
            longest_told_wait: Duration::from_secs(310),
            untold_wait: Duration::from_secs(60),
            told_waits: 6,
        }
    }
}

impl WaitPolicy {
    pub(crate) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_backoff)
            .with_max_times(self.attempts.saturating_sub(1) as usize)
    }
}

/// How long a silence may last. Nothing that moves is ever cut off, however
/// slowly; nothing that stands still is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To be connected, TLS included.
    pub connect: Duration,
    /// Between two reads of an answer, and until its first byte.
    pub silence: Duration,
    /// From a small request to the end of its answer.
    pub answer: Duration,
    /// Without a byte of progress in an upload of weights. Longer than
    /// `silence`, because the server checks what it received at its end.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            answer: Duration::from_secs(180),
            stall: Duration::from_secs(300),
        }
    }
}

/// Bounds on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one answer to an API call.
    pub answer_bytes: usize,
    /// Bytes of files that may travel inside the commit itself, as base64.
    /// Larger ones go by Xet or not at all.
    pub inline_bytes: u64,
    /// Files that a repository may have before it is not read any further.
    pub files: usize,
    /// Blocks of at most 64 MiB that an upload holds in memory at a time.
    pub upload_blocks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer_bytes: 8 << 20,
            inline_bytes: 8 << 20,
            files: 10_000,
            upload_blocks: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_without_its_password() {
        for (endpoint, expected) in [
            (DEFAULT_ENDPOINT, DEFAULT_ENDPOINT),
            ("https://u:pw@hub.example/x", "https://…@hub.example/x"),
            ("http://u:p@w/x@hub.example", "http://…@hub.example"),
            ("u:pw@hub.example", "…@hub.example"),
            ("", ""),
        ] {
            assert_eq!(shown(endpoint), expected);
        }
        let config = HubConfig::new("https://u:pw@hub.example", None, "cache");
        assert!(!format!("{config:?}").contains("pw"));
    }
}
