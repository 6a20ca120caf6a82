//! When to try again, and how long to wait before it.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder, Retryable as _};
use tracing::warn;

use crate::Error;

/// How long to wait before each further attempt: twice as long each time, up
/// to a longest wait, with jitter, so that many clients that lost the same
/// coordinator do not come back all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait before the second attempt, before jitter.
    pub first_wait: Duration,
    /// The longest wait, before jitter; jitter at most doubles it.
    pub longest_wait: Duration,
    /// How long all waits together may last; `None`: never give up.
    pub give_up_after: Option<Duration>,
}

impl RetryPolicy {
    /// For a program that has nothing to do without its coordinator: never
    /// gives up.
    pub const PATIENT: RetryPolicy = RetryPolicy {
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_secs(15),
        give_up_after: None,
    };

    /// For a command that someone waits for: gives up when its waits have
    /// lasted five seconds.
    pub const BRIEF: RetryPolicy = RetryPolicy {
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_secs(2),
        give_up_after: Some(Duration::from_secs(5)),
    };

    /// The waits, from the first on. After an attempt that got somewhere, start
    /// them again.
    pub fn waits(&self) -> Waits {
        Waits(self.builder().build())
    }

    fn builder(&self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_wait)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .with_total_delay(self.give_up_after)
    }
}

/// The waits before further attempts; ends when the policy gives up.
#[derive(Debug)]
pub struct Waits(ExponentialBackoff);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

/// Calls `attempt` until it succeeds, fails for good, or the policy gives up;
/// each failure in between is logged, as what happened while `doing`.
///
/// # Errors
/// The last attempt's.
pub async fn retry<T, Attempt, Attempts>(
    doing: &str,
    policy: &RetryPolicy,
    attempt: Attempts,
) -> Result<T, Error>
where
    Attempts: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T, Error>>,
{
    attempt
        .retry(policy.builder())
        .when(|error: &Error| !error.is_fatal())
        .notify(|error, wait| announce(doing, error, wait))
        .await
}

/// Logs that something is tried again.
pub(crate) fn announce(doing: &str, error: &Error, wait: Duration) {
    warn!(
        "{doing}: {error}; trying again in {:.1} s",
        wait.as_secs_f64()
    );
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tonic::Status;

    use super::*;

    const QUICK: RetryPolicy = RetryPolicy {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(4),
        give_up_after: None,
    };

    #[test]
    fn waits_grow_to_the_longest_and_stay_there() {
        let policy = RetryPolicy {
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_millis(800),
            give_up_after: None,
        };
        let waits: Vec<Duration> = policy.waits().take(12).collect();
        for (attempt, wait) in waits.iter().enumerate() {
            let before_jitter = Duration::from_millis((100 << attempt.min(3)) as u64);
            assert!(
                *wait >= before_jitter && *wait <= before_jitter * 2,
                "attempt {attempt}: {wait:?}"
            );
        }
    }

    #[test]
    fn a_policy_with_an_end_gives_up() {
        let policy = RetryPolicy {
            give_up_after: Some(Duration::from_millis(20)),
            ..QUICK
        };
        assert!(policy.waits().sum::<Duration>() <= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn what_is_unavailable_is_tried_until_it_answers() {
        let attempts = Cell::new(0);
        let answer = retry("asking", &QUICK, || async {
            attempts.set(attempts.get() + 1);
            match attempts.get() {
                1..=3 => Err(Error::call("Status", Status::unavailable("starting"))),
                attempt => Ok(attempt),
            }
        })
        .await;
        assert_eq!(answer.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_refusal_is_not_tried_again() {
        let attempts = Cell::new(0);
        let answer: Result<(), Error> = retry("joining", &QUICK, || async {
            attempts.set(attempts.get() + 1);
            Err(Error::call(
                "Join",
                Status::failed_precondition("another run"),
            ))
        })
        .await;
        assert!(answer.unwrap_err().is_fatal());
        assert_eq!(attempts.get(), 1);
    }
}
