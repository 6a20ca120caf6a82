//! Waiting for something to become true, with a name and a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// How often a condition is looked at. What is waited for here takes from
/// milliseconds (a process's end) to minutes (a run's).
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until `attempt` yields a value.
///
/// `what` completes the sentence "waited 10s for …, in vain".
///
/// # Errors
/// [`Error::TimedOut`] after `limit`; the first error of `attempt`.
pub fn wait_until<T>(
    what: impl Into<String>,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if started.elapsed() >= limit {
            return Err(Error::TimedOut {
                what: what.into(),
                limit,
                log: String::new(),
            });
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yields_the_first_value_there_is() {
        let mut looks = 0;
        let value = wait_until("three looks", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn says_what_it_waited_for() {
        let error = wait_until::<()>("the sky to fall", Duration::ZERO, || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("the sky to fall"), "{error}");
    }

    #[test]
    fn an_error_ends_the_wait() {
        let error = wait_until::<()>("nothing", Duration::from_secs(10), || {
            Err(Error::Interrupted)
        });
        assert!(matches!(error, Err(Error::Interrupted)));
    }
}
