//! The clock that leases are counted by.

use std::ops::Sub;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, in time since the machine started. Time in which the process was
/// stopped, or the machine suspended, counts; `std::time::Instant` leaves the
/// latter out on Linux, and a lease runs out elsewhere meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        Moment(Duration::new(seconds, nanoseconds))
    }

    /// How long the machine had been up.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Moment::now().0.saturating_sub(self.0)
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// An earlier moment, at the earliest the machine's start.
    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_never_runs_backwards() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(first <= second);
        assert!(first.since_start() > Duration::ZERO);
        let earlier = second - Duration::from_secs(1);
        assert!(earlier.elapsed() >= Duration::from_secs(1).min(second.since_start()));
    }
}
