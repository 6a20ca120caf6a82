//! The pages that a worker packs and hands over, and its table of them.

use coordinator::records::WorkerId;
use ledger::{Cursor, PageId, PageRow, PageTable, Slot};
use membership::Input;
use proto::v1;
use proto::v1::worker_message::Body;

use super::calls::Waiting;
use crate::config::{is_unreadable, packed};
use crate::event::Call;
use crate::rule::Rule;
use crate::sim::Sim;

/// A page is read in time at the third attempt, if it can be: with every failure the
/// pause before the next is twice as long, and progress is promised within a time.
const PASSING_FAILURES: u32 = 2;

impl Sim {
    pub(super) fn begin_book(&mut self, index: usize, base: Cursor) {
        let mut table = PageTable::new(self.order.clone(), self.config.global_batch, base);
        let process = &mut self.workers[index].process;
        process.rows = process.rows.split_off(&base.page.ordinal);
        let mut refused = None;
        for (ordinal, row) in &process.rows {
            refused = refused.or(table.insert(*ordinal, row.clone()).err());
        }
        process.table = Some(table);
        if let Some(error) = refused {
            self.broken(Rule::StepsMonotone, || error.to_string());
        }
    }

    pub(super) fn learn(&mut self, index: usize, slot: Slot, row: PageRow) {
        let Slot::Training(ordinal) = slot else {
            return;
        };
        let process = &mut self.workers[index].process;
        let table = process.table.as_mut();
        let table = table.filter(|table| ordinal.0 >= table.known_ordinals().start);
        let refused = table.and_then(|table| table.insert(ordinal, row.clone()).err());
        process.rows.insert(ordinal, row);
        if let Some(error) = refused {
            self.broken(Rule::StepsMonotone, || error.to_string());
        }
    }

    pub(super) fn packed(&mut self, index: usize, slot: Slot, page: PageId) {
        let permanent = is_unreadable(page);
        let passing = self.dice.chance(3) && self.may_delay(page);
        if permanent || passing {
            let body = Body::PageFailed(v1::PageFailed {
                slot: Some(slot.into()),
                reason: "it cannot be read".to_owned(),
                permanent,
            });
            return self.tell(
                index,
                Input::Say {
                    generation: 0,
                    body,
                },
            );
        }
        self.put_page(index, slot, page);
    }

    /// Whether an attempt at a page may go wrong without being the last; counts it.
    pub(super) fn may_delay(&mut self, page: PageId) -> bool {
        let failures = self.passing_failures.entry(page).or_default();
        let may = *failures < PASSING_FAILURES;
        *failures += u32::from(may);
        may
    }

    pub(super) fn put_page(&mut self, index: usize, slot: Slot, page: PageId) {
        let Some(term) = self.term_of(index) else {
            return;
        };
        let call = Call::Page {
            worker: WorkerId(self.workers[index].name.clone()),
            slot,
            row: packed(page).row(),
            term,
        };
        self.call(index, call, Waiting::Page(slot, page));
    }
}
