//! Progress: soon after the last fault, and all the time where most workers are
//! never hindered.

use crate::rule::Rule;
use crate::sim::Sim;

/// After the last fault, something must be trained within so many milliseconds.
const SOON: u64 = 15_000;
/// And the run must have come to its end within so many.
const AT_LAST: u64 = 180_000;
/// While faults leave most workers alone, these must train a further step within so
/// many: they notice who holds them up (a deadline, or a lease), leave, meet again,
/// and one of them packs a page that was another's.
const WITHOUT_THE_FEW: u64 = 6_000;

impl Sim {
    pub(crate) fn check_progress(&mut self) {
        let since = self.quiet_since;
        // A run does not begin without the workers that it asks for.
        let has_begun = self.last_step_at > 0;
        if self.now > since + AT_LAST {
            self.broken(Rule::Progress, || {
                format!("{AT_LAST} ms after the last fault the run is not complete")
            });
        } else if self.now > since.max(self.last_step_at) + SOON {
            self.broken(Rule::Progress, || {
                format!("nothing was trained for {SOON} ms, long after the last fault")
            });
        } else if self.has_majority && has_begun && self.now > self.last_step_at + WITHOUT_THE_FEW {
            self.broken(Rule::Progress, || {
                format!(
                    "nothing was trained for {WITHOUT_THE_FEW} ms, and most workers are not hindered"
                )
            });
        }
    }
}
