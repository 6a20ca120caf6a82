//! How long to wait before asking again, and how often to ask.

use std::time::Duration;

use backon::ExponentialBuilder;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Exponential back-off with jitter, and the bound on the server's own waiting times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests for one page before giving up, the first included.
    pub attempts: u32,
    /// Wait before the first retry; doubles with each one, plus up to as much again at random.
    pub first_wait: Duration,
    /// Bound of that wait, before the random part.
    pub longest_backoff: Duration,
    /// Bound of a wait that the server asked for.
    pub longest_told_wait: Duration,
}

impl Default for RetryPolicy {
    /// Eight attempts over some two minutes. A told wait may last a little over five minutes,
    /// the window over which the server counts requests.
    fn default() -> Self {
        Self {
            attempts: 8,
            first_wait: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(30),
            longest_told_wait: Duration::from_secs(310),
        }
    }
}

impl RetryPolicy {
    pub(super) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_backoff)
            .with_max_times(self.attempts.saturating_sub(1) as usize)
    }

    /// The server's wait, bounded.
    pub(super) fn bounded(&self, told: Duration) -> Duration {
        told.min(self.longest_told_wait)
    }
}

/// The wait that an answer asks for: the longer of `Retry-After` in seconds and the time after
/// which an exhausted quota of `RateLimit` (`"api";r=0;t=55`) is filled again.
pub(super) fn told_wait(headers: &HeaderMap) -> Option<Duration> {
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok())
        .map(Duration::from_secs);
    retry_after.max(exhausted_quota(headers))
}

/// How long until the quota is filled again, if an answer says that nothing is left of it.
pub(super) fn exhausted_quota(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|quota| {
            let parameter = |name: &str| {
                quota.split(';').skip(1).find_map(|parameter| {
                    let (key, value) = parameter.split_once('=')?;
                    (key.trim() == name).then(|| value.trim().parse::<u64>().ok())?
                })
            };
            match (parameter("r"), parameter("t")) {
                (Some(0), Some(seconds)) => Some(Duration::from_secs(seconds)),
                _ => None,
            }
        })
        .max()
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder as _;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn told(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        told_wait(&headers(pairs)).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_servers_waiting_times_are_read() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("retry-after", "7")]), Some(7));
        assert_eq!(told(&[("ratelimit", "\"api\";r=0;t=55")]), Some(55));
        assert_eq!(
            told(&[("ratelimit", "\"api\"; r=0; t=55"), ("retry-after", "7")]),
            Some(55)
        );
        assert_eq!(
            told(&[("ratelimit", "\"pages\";r=0;t=9, \"api\";r=0;t=12")]),
            Some(12)
        );
    }

    #[test]
    fn a_quota_that_is_not_exhausted_asks_for_no_wait() {
        assert_eq!(told(&[("ratelimit", "\"api\";r=3;t=55")]), None);
        assert_eq!(
            told(&[("ratelimit", "\"pages\";r=0;t=4, \"api\";r=3;t=55")]),
            Some(4)
        );
    }

    #[test]
    fn nonsense_asks_for_no_wait() {
        assert_eq!(told(&[("retry-after", "soon")]), None);
        assert_eq!(told(&[("retry-after", "-1")]), None);
        assert_eq!(told(&[("ratelimit", ";;=,r=0;t")]), None);
    }

    #[test]
    fn a_told_wait_is_bounded() {
        let policy = RetryPolicy::default();
        assert_eq!(
            policy.bounded(Duration::from_secs(55)),
            Duration::from_secs(55)
        );
        assert_eq!(
            policy.bounded(Duration::from_secs(86_400)),
            policy.longest_told_wait
        );
    }

    #[test]
    fn back_off_grows_to_its_bound_with_jitter_and_ends() {
        let policy = RetryPolicy {
            attempts: 6,
            first_wait: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(4),
            ..RetryPolicy::default()
        };
        let waits: Vec<f64> = policy
            .backoff()
            .build()
            .map(|wait| wait.as_secs_f64())
            .collect();
        assert_eq!(waits.len(), 5);
        for (wait, base) in waits.iter().zip([1.0, 2.0, 4.0, 4.0, 4.0]) {
            assert!(
                (base..=2.0 * base).contains(wait),
                "{wait} is not {base} plus up to as much"
            );
        }
    }
}
