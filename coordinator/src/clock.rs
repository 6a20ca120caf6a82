//! The clock that the machine's deadlines are counted by.

use crate::machine::Millis;

/// Counts only the time in which the coordinator listened.
///
/// While its process stands still (a suspended machine, a disk that takes seconds for
/// a batch) nobody is heard, and what was said meanwhile waits in its sockets when it
/// goes on. If that time counted, everyone would have been silent for as long, and
/// workers would be given up for what the coordinator missed. So a gap between two
/// looks at the clock counts as `longest` at most.
///
/// To count less is safe: this side takes nobody for stopped too early. What a worker
/// may do without a word from here is counted by the worker, in real time.
#[derive(Debug)]
pub struct Clock {
    longest: Millis,
    looked: Millis,
    counted: Millis,
}

impl Clock {
    /// A clock that shows `now`, on which no gap counts as more than `longest`.
    #[must_use]
    pub fn new(now: Millis, longest: Millis) -> Clock {
        Clock {
            longest,
            looked: now,
            counted: now,
        }
    }

    /// What it shows when `now` has come by a clock that never stands still.
    pub fn look(&mut self, now: Millis) -> Millis {
        let gap = now.saturating_sub(self.looked);
        self.looked = self.looked.max(now);
        self.counted += gap.min(self.longest);
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_looked_at_counts_in_full() {
        let mut clock = Clock::new(500, 1_000);
        for now in (600..=60_000).step_by(100) {
            assert_eq!(clock.look(now), now);
        }
        assert_eq!(clock.look(61_000), 61_000);
    }

    #[test]
    fn a_gap_counts_as_the_longest_and_time_goes_on_after_it() {
        let mut clock = Clock::new(0, 1_000);
        assert_eq!(clock.look(60_000), 1_000);
        assert_eq!(clock.look(60_000), 1_000);
        assert_eq!(clock.look(60_100), 1_100);
        // It never goes back, whatever it is asked.
        assert_eq!(clock.look(59_000), 1_100);
        assert_eq!(clock.look(60_200), 1_200);
    }
}
