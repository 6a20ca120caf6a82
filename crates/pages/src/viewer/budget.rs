//! How many requests may be on their way at once, and until when none may be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A request budget, shared by everything that asks one server under one token.
///
/// The server counts requests by token, so its word to slow down holds for all of them: asking
/// on while it waits only prolongs the block.
#[derive(Debug)]
pub struct RequestBudget {
    permits: Semaphore,
    closed_until: Mutex<Option<Instant>>,
}

impl RequestBudget {
    /// A budget of `concurrent` requests at once (at least one).
    pub fn new(concurrent: usize) -> Self {
        Self {
            permits: Semaphore::new(concurrent.max(1)),
            closed_until: Mutex::new(None),
        }
    }

    /// Waits until a request may be sent; the permit is held until its answer is read.
    ///
    /// `None` never happens: the semaphore is not closed while the budget exists.
    pub(super) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        loop {
            if let Some(instant) = self.closed_until() {
                tokio::time::sleep_until(instant).await;
            }
            let permit = self.permits.acquire().await.ok()?;
            // The budget may have closed while this waited in the queue.
            if self.closed_until().is_none() {
                return Some(permit);
            }
        }
    }

    /// Lets no request start for this long; never shortens an earlier word.
    pub(super) fn close_for(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut closed_until = self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *closed_until = (*closed_until).max(Some(until));
    }

    fn closed_until(&self) -> Option<Instant> {
        let closed_until = *self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        closed_until.filter(|instant| *instant > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_closed_budget_admits_nobody_until_it_opens() {
        let budget = RequestBudget::new(4);
        let start = Instant::now();
        budget.close_for(Duration::from_secs(55));
        budget.close_for(Duration::from_secs(5));
        assert!(budget.admit().await.is_some());
        assert!(start.elapsed() >= Duration::from_secs(55));
    }

    #[tokio::test(start_paused = true)]
    async fn who_queued_before_the_budget_closed_waits_too() {
        let budget = RequestBudget::new(1);
        let start = Instant::now();
        let held = budget.admit().await;
        let (admitted_after, ()) = tokio::join!(
            async {
                let permit = budget.admit().await;
                assert!(permit.is_some());
                start.elapsed()
            },
            async {
                // The other branch is queued by now: it was polled first.
                budget.close_for(Duration::from_secs(30));
                drop(held);
            }
        );
        assert!(admitted_after >= Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_budget_are_admitted_at_once() {
        let budget = RequestBudget::new(2);
        let _first = budget.admit().await;
        let _second = budget.admit().await;
        let third = tokio::time::timeout(Duration::from_secs(1), budget.admit()).await;
        assert!(third.is_err());
    }
}
