//! Notices a device that does not come back.
//!
//! An abort ends collectives, and what waits for data; it cannot end a kernel
//! that hangs in the driver, nor a call that never returns. A training thread
//! that is still in a generation long after that was ended will not leave it, so
//! the process has to: it exits with the code that asks its supervisor to start
//! it again, and receives the state from the others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use c10d::AbortHandle;
use proto::v1;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(200);
/// How many of its own steps a thread may take to notice that its generation is
/// over: it looks between a forward and a backward pass only.
const STEPS: u32 = 4;

/// Watches one training thread.
pub(crate) struct Watchdog {
    /// For a step of unknown length.
    first_patience: Duration,
    least_patience: Duration,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// The generation that the thread is in.
    inside: Option<AbortHandle>,
    /// Since when that has been over.
    over_since: Option<Instant>,
    longest_step: Option<Duration>,
}

impl Watchdog {
    pub(crate) fn new(limits: &v1::Limits) -> Self {
        Self {
            first_patience: Duration::from_millis(limits.collective_ms),
            least_patience: Duration::from_millis(2 * limits.lease_ms),
            watched: Mutex::default(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Each update is one assignment.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread is in a generation that `abort` ends.
    pub(crate) fn enter(&self, abort: &AbortHandle) {
        let mut watched = self.watched();
        watched.inside = Some(abort.clone());
        watched.over_since = None;
    }

    /// It is out of it.
    pub(crate) fn leave(&self) {
        self.watched().inside = None;
    }

    /// It has taken a step, which took so long.
    pub(crate) fn stepped(&self, took: Duration) {
        let mut watched = self.watched();
        watched.longest_step = watched.longest_step.max(Some(took));
    }

    /// For how long the thread has not left a generation that is over, if that
    /// is longer than it can take.
    fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let mut watched = self.watched();
        let is_over = watched.inside.as_ref()?.reason().is_some();
        if !is_over {
            return None;
        }
        let over_for = now.duration_since(*watched.over_since.get_or_insert(now));
        let patience = match watched.longest_step {
            Some(step) => self.least_patience.max(step * STEPS),
            None => self.first_patience.max(self.least_patience),
        };
        (over_for > patience).then_some(over_for)
    }

    /// Waits until the thread is stuck, which it may never be. Yields for how
    /// long it has been.
    pub(crate) async fn stuck(&self) -> Duration {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            if let Some(over_for) = self.stuck_for(Instant::now()) {
                return over_for;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn watchdog() -> Watchdog {
        Watchdog::new(&v1::Limits {
            lease_ms: LEASE.as_millis() as u64,
            collective_ms: 300_000,
            ..Default::default()
        })
    }

    #[test]
    fn a_thread_that_leaves_when_told_is_not_stuck() {
        let watchdog = watchdog();
        let abort = AbortHandle::new();
        watchdog.stepped(Duration::from_secs(1));
        watchdog.enter(&abort);
        let now = Instant::now();
        assert_eq!(
            watchdog.stuck_for(now + 100 * LEASE),
            None,
            "nobody told it"
        );
        abort.abort("a worker was lost");
        assert_eq!(watchdog.stuck_for(now), None);
        watchdog.leave();
        assert_eq!(watchdog.stuck_for(now + 100 * LEASE), None);
    }

    #[test]
    fn a_thread_that_stays_is_stuck_after_two_leases_or_four_of_its_steps() {
        for (step, patience) in [(1, 2 * LEASE), (30, Duration::from_secs(120))] {
            let watchdog = watchdog();
            let abort = AbortHandle::new();
            watchdog.stepped(Duration::from_secs(step));
            watchdog.enter(&abort);
            abort.abort("a worker was lost");
            let now = Instant::now();
            assert_eq!(watchdog.stuck_for(now), None);
            assert_eq!(watchdog.stuck_for(now + patience), None);
            let later = patience + Duration::from_millis(1);
            assert_eq!(watchdog.stuck_for(now + later), Some(later));
        }
    }

    #[test]
    fn the_first_step_may_take_as_long_as_a_collective() {
        let watchdog = watchdog();
        let abort = AbortHandle::new();
        watchdog.enter(&abort);
        abort.abort("a worker was lost");
        let now = Instant::now();
        assert_eq!(watchdog.stuck_for(now), None);
        assert_eq!(watchdog.stuck_for(now + Duration::from_secs(300)), None);
        assert!(watchdog.stuck_for(now + Duration::from_secs(301)).is_some());
    }
}
