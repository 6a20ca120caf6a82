//! Trying again, and waiting as told.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{Class, Event, Events, HubError, WaitPolicy};

/// How often a countdown is told.
const TICK: Duration = Duration::from_secs(1);

/// The attempts that are left for one thing.
pub(crate) struct Attempts<'a> {
    policy: &'a WaitPolicy,
    backoff: ExponentialBackoff,
    told_waits: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(policy: &'a WaitPolicy) -> Self {
        Self {
            policy,
            backoff: policy.backoff().build(),
            told_waits: policy.told_waits,
        }
    }

    /// Waits before the next attempt as `error` demands, or gives it back when
    /// there is to be none.
    pub(crate) async fn wait_after(
        &mut self,
        error: HubError,
        events: Events<'_>,
    ) -> Result<(), HubError> {
        match error.class() {
            Class::Fatal => Err(error),
            Class::Wait(told) => {
                if told > self.policy.longest_told_wait || self.told_waits == 0 {
                    return Err(error);
                }
                self.told_waits -= 1;
                count_down(&error.to_string(), told, events).await;
                Ok(())
            }
            Class::Retry | Class::Ambiguous => {
                let Some(after) = self.backoff.next() else {
                    return Err(error);
                };
                let why = error.to_string();
                tracing::debug!(?after, "trying again: {why}");
                events(Event::Retrying { why, after });
                sleep(after).await;
                Ok(())
            }
        }
    }
}

/// Does `attempt` until it succeeds, fails for good, or the policy gives up.
// Not an `AsyncFnMut`: of its futures the compiler cannot prove that they are
// `Send`, and so of no future of this crate.
pub(crate) async fn patiently<T, Attempt>(
    policy: &WaitPolicy,
    events: Events<'_>,
    mut attempt: impl FnMut() -> Attempt,
) -> Result<T, HubError>
where
    Attempt: Future<Output = Result<T, HubError>>,
{
    let mut attempts = Attempts::new(policy);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // Only a commit is ambiguous, and those are not sent from here: any
        // other conflict will be the same next time.
        if error.class() == Class::Ambiguous {
            return Err(error);
        }
        attempts.wait_after(error, events).await?;
    }
}

/// Waits, and says every second how long it still takes.
async fn count_down(why: &str, told: Duration, events: Events<'_>) {
    tracing::info!(seconds = told.as_secs(), "waiting as told: {why}");
    let end = Instant::now() + told;
    loop {
        let now = Instant::now();
        let left = end.saturating_duration_since(now);
        if left.is_zero() {
            return;
        }
        events(Event::Waiting {
            why: why.to_owned(),
            left,
        });
        sleep_until(end.min(now + TICK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::*;
    use crate::Refusal;

    fn refused(status: u16, told: Option<u64>) -> HubError {
        HubError::Refused {
            call: "asking",
            refusal: Box::new(Refusal {
                status,
                code: None,
                message: "no".to_owned(),
                told: told.map(Duration::from_secs),
            }),
        }
    }

    /// What `patiently` does with attempts that fail like this, one after the
    /// other, and then succeed: how many it made, the seconds it took, and the
    /// events.
    async fn observe(
        failures: &[(u16, Option<u64>)],
    ) -> (Result<(), HubError>, usize, u64, Vec<Event>) {
        let policy = WaitPolicy {
            attempts: 3,
            told_waits: 2,
            ..WaitPolicy::default()
        };
        let events = Mutex::new(Vec::new());
        let made = Cell::new(0);
        let begun = Instant::now();
        let outcome = patiently(
            &policy,
            &|event| events.lock().unwrap().push(event),
            || async {
                made.set(made.get() + 1);
                match failures.get(made.get() - 1) {
                    Some(&(status, told)) => Err(refused(status, told)),
                    None => Ok(()),
                }
            },
        )
        .await;
        let seconds = begun.elapsed().as_secs();
        (outcome, made.get(), seconds, events.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_told_wait_is_kept_to_the_second_with_a_countdown() {
        let (outcome, made, seconds, events) = observe(&[(429, Some(55))]).await;
        assert!(outcome.is_ok());
        assert_eq!((made, seconds), (2, 55));
        let left: Vec<u64> = events
            .iter()
            .map(|event| match event {
                Event::Waiting { left, .. } => left.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(left, (1..=55).rev().collect::<Vec<u64>>());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_are_too_long_or_too_many_are_the_callers() {
        let (outcome, made, seconds, _) = observe(&[(503, Some(3600))]).await;
        assert_eq!((made, seconds), (1, 0));
        let class = outcome.unwrap_err().class();
        assert_eq!(class, Class::Wait(Duration::from_secs(3600)));

        let (outcome, made, seconds, _) = observe(&[(429, Some(10)); 3]).await;
        assert!(outcome.is_err());
        assert_eq!((made, seconds), (3, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_retried_a_few_times_with_growing_waits() {
        let (outcome, made, seconds, events) = observe(&[(500, None), (502, None)]).await;
        assert!(outcome.is_ok());
        assert_eq!(made, 3);
        assert!((3..=6).contains(&seconds), "{seconds}");
        assert_eq!(events.len(), 2);

        let (outcome, made, ..) = observe(&[(500, None); 9]).await;
        assert_eq!(outcome.unwrap_err().status(), Some(500));
        assert_eq!(made, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_is_not_retried() {
        for status in [400, 401, 403, 404, 409, 413] {
            let (outcome, made, seconds, events) = observe(&[(status, None)]).await;
            assert_eq!(outcome.unwrap_err().status(), Some(status));
            assert_eq!((made, seconds, events.len()), (1, 0, 0));
        }
    }
}
