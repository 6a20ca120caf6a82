//! What a newcomer should have at hand before it interrupts anyone.

use ledger::{Ordinal, PageRow, Slot};

use super::Machine;
use super::effect::Answer;
use super::event::RequestId;

/// The steps whose pages a newcomer fetches: those that pass while it does, and
/// the first ones that it takes part in.
const COMING_STEPS: f64 = 12.0;
/// The same in time, where steps are short.
const COMING_SECONDS: f64 = 10.0;
/// A bound on how many pages of either kind that may be, whatever their size.
const MOST_PAGES: usize = 64;

impl Machine {
    pub(super) fn on_coming_pages_asked(&mut self, request: RequestId) {
        let rows = self.coming_rows();
        self.reply(request, Ok(Answer::Coming(rows)));
    }

    /// Rows of the pages that the members of the current generation are about to
    /// need, and after them the evaluation's. Any of them may be the newcomer's to
    /// train on: its rank is not known yet.
    fn coming_rows(&self) -> Vec<(Slot, PageRow)> {
        if self.current.is_none() {
            // Nobody waits for it: whatever it fetches first, it fetches in time.
            return Vec::new();
        }
        let batch = f64::from(self.settings.global_batch.get());
        let speed = self.reports.sequences_per_second().unwrap_or(0.0);
        let wanted = (COMING_STEPS * batch).max(COMING_SECONDS * speed);
        let mut rows = Vec::new();
        let mut sequences = 0.0;
        let mut ordinal = self.furthest_ordinal();
        while sequences < wanted && rows.len() < MOST_PAGES {
            let slot = Slot::Training(Ordinal(ordinal));
            let Some(row) = self.table.row(slot) else {
                break;
            };
            sequences += f64::from(row.sequences());
            if row.sequences() > 0 {
                rows.push((slot, row.clone()));
            }
            ordinal += 1;
        }
        let evaluation = self.table.evaluation_rows();
        let evaluation = evaluation.filter(|(_, row)| row.sequences() > 0);
        let evaluation = evaluation.take(MOST_PAGES);
        rows.extend(evaluation.map(|(slot, row)| (slot, row.clone())));
        rows
    }
}
