//! Whether this process still leads, as far as it can know by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Moment;
use tokio::sync::watch;

use crate::store::StoreError;

/// The share of a lease that is not used: for clocks that do not run equally
/// fast, and for ending what is going on.
const MARGIN: u32 = 10;

/// A leader's claim: what its writes are compared with, and until when it may
/// believe in it.
#[derive(Debug)]
pub(super) struct Fence {
    /// The revision that created the leader's key: no two leaders have the same.
    pub(super) token: i64,
    /// The lease that the key goes with.
    pub(super) lease: i64,
    /// How long after a renewal was sent it is believed in.
    validity: Duration,
    /// When the last renewal that was answered had been sent: a [`Moment`] in
    /// milliseconds, rounded down.
    renewed: AtomicU64,
    /// Why it leads no longer.
    lost: watch::Sender<Option<Arc<str>>>,
}

impl Fence {
    /// A claim that a lease of this length, asked for at `asked`, gives.
    pub(super) fn new(token: i64, lease: i64, length: Duration, asked: Moment) -> Fence {
        Fence {
            token,
            lease,
            validity: length - length / MARGIN,
            renewed: AtomicU64::new(milliseconds(asked)),
            lost: watch::Sender::new(None),
        }
    }

    pub(super) fn validity(&self) -> Duration {
        self.validity
    }

    /// How long the claim holds from now on, if nothing renews it.
    pub(super) fn left(&self) -> Duration {
        let renewed = Duration::from_millis(self.renewed.load(Ordering::Acquire));
        (renewed + self.validity).saturating_sub(Moment::now().since_start())
    }

    /// Fails for good once the claim has run out or was lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.left().is_zero() {
            let silence = self.validity;
            self.lose(&format!("its lease was not renewed for {silence:.1?}"));
        }
        match &*self.lost.borrow() {
            None => Ok(()),
            Some(why) => Err(deposed(why)),
        }
    }

    /// Notes a renewal that was sent at `sent`. One that is heard of too late
    /// changes nothing.
    pub(super) fn renew(&self, sent: Moment) {
        if self.check().is_ok() {
            self.renewed.fetch_max(milliseconds(sent), Ordering::AcqRel);
        }
    }

    /// Ends the claim. The first reason stays.
    pub(super) fn lose(&self, why: &str) {
        self.lost.send_if_modified(|lost| {
            let is_first = lost.is_none();
            lost.get_or_insert_with(|| why.into());
            is_first
        });
    }

    /// Waits until the claim is lost. Looks at the clock first, and often: a timer
    /// may be late when the process was stopped.
    pub(super) async fn lost(&self) -> StoreError {
        let mut news = self.lost.subscribe();
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            let look_again = self.left().min(self.validity / MARGIN);
            tokio::select! {
                // The sender is ours, so there is no error.
                _ = news.changed() => {}
                () = tokio::time::sleep(look_again) => {}
            }
        }
    }
}

fn deposed(why: &str) -> StoreError {
    StoreError::Deposed {
        why: why.to_owned(),
    }
}

fn milliseconds(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_ago(length: Duration) -> Fence {
        let asked = Moment::now() - length;
        Fence::new(1, 2, length, asked)
    }

    #[test]
    fn a_claim_runs_out_before_its_lease() {
        let fence = Fence::new(1, 2, Duration::from_secs(100), Moment::now());
        fence.check().unwrap();
        assert!(fence.left() <= Duration::from_secs(90));
        let nine_tenths = Moment::now() - Duration::from_secs(90);
        let fence = Fence::new(1, 2, Duration::from_secs(100), nine_tenths);
        assert!(fence.check().is_err());
    }

    #[test]
    fn a_claim_that_ran_out_cannot_be_renewed() {
        let fence = long_ago(Duration::from_secs(100));
        fence.renew(Moment::now());
        let error = fence.check().unwrap_err();
        assert!(matches!(error, StoreError::Deposed { .. }), "{error}");
        assert!(error.to_string().contains("not renewed"), "{error}");
    }

    #[test]
    fn renewals_count_from_when_they_were_sent() {
        let length = Duration::from_secs(100);
        let fence = Fence::new(1, 2, length, Moment::now() - length / 2);
        fence.renew(Moment::now() - length / 4);
        let left = fence.left();
        assert!(left <= length * 65 / 100, "{left:?}");
        // An older one, heard of later, shortens nothing.
        fence.renew(Moment::now() - length * 4 / 5);
        let left = fence.left();
        assert!(left > length * 30 / 100, "{left:?}");
    }

    #[tokio::test]
    async fn the_first_reason_for_a_loss_stays() {
        let fence = Fence::new(1, 2, Duration::from_secs(100), Moment::now());
        fence.lose("b leads now");
        fence.lose("something else");
        assert!(fence.lost().await.to_string().contains("b leads now"));
    }
}
