//! The worker's copy of the page table: enough to plan the steps ahead as
//! every other rank does.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::{Cursor, Order, Ordinal, PagePiece, PageRow, PageTable, Planned, Slot, TableError};
use tokio::sync::watch;

/// Rows as they arrive, and the plan that follows from them.
pub(crate) struct Book {
    order: Order,
    global_batch: NonZeroU32,
    rows: Mutex<Rows>,
    /// Counts changes, so that whoever waits for a row misses none.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Rows {
    evaluation: BTreeMap<u32, PageRow>,
    /// Training rows, also those that came before there was a table.
    training: BTreeMap<Ordinal, PageRow>,
    table: Option<PageTable>,
}

impl Book {
    pub(crate) fn new(order: Order, global_batch: NonZeroU32) -> Self {
        Self {
            order,
            global_batch,
            rows: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Rows are inserted whole, one at a time.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns a row from the coordinator.
    pub(crate) fn insert(&self, slot: Slot, row: PageRow) -> Result<(), TableError> {
        let mut rows = self.rows();
        match slot {
            Slot::Evaluation(index) => {
                rows.evaluation.insert(index, row);
            }
            Slot::Training(ordinal) => {
                if let Some(table) = rows
                    .table
                    .as_mut()
                    .filter(|table| ordinal.0 >= table.known_ordinals().start)
                {
                    table.insert(ordinal, row.clone())?;
                }
                rows.training.insert(ordinal, row);
            }
        }
        drop(rows);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Makes every cursor from `base` on plannable, as far as rows from there on
    /// are known, and forgets those before it. Where `base` lies before the
    /// last one, the coordinator sends the rows between again.
    pub(crate) fn begin(&self, base: Cursor) -> Result<(), TableError> {
        let mut rows = self.rows();
        let mut table = PageTable::new(self.order.clone(), self.global_batch, base);
        rows.training = rows.training.split_off(&base.page.ordinal);
        for (ordinal, row) in &rows.training {
            table.insert(*ordinal, row.clone())?;
        }
        rows.table = Some(table);
        drop(rows);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// What comes after `cursor`, as far as the rows tell.
    pub(crate) fn next_step(&self, cursor: &Cursor) -> Result<Planned, TableError> {
        match &self.rows().table {
            Some(table) => table.next_step(cursor),
            None => Ok(Planned::Unknown {
                needs: cursor.page.ordinal,
            }),
        }
    }

    /// The rows and sequences that make `count` sequences from `first` on.
    pub(crate) fn pieces(&self, first: u64, count: u32) -> Option<Vec<(PagePiece, PageRow)>> {
        let rows = self.rows();
        let table = rows.table.as_ref()?;
        table
            .ordinals_of(first, count)?
            .into_iter()
            .map(|piece| {
                let row = table.row(piece.ordinal)?.clone();
                Some((piece, row))
            })
            .collect()
    }

    /// Every evaluation row, in order, once all are known.
    pub(crate) fn evaluation(&self) -> Option<Vec<PageRow>> {
        let rows = self.rows();
        (rows.evaluation.len() == self.order.evaluation().len())
            .then(|| rows.evaluation.values().cloned().collect())
    }

    /// Tells when a row was learned.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use ledger::{OrderConfig, PageDigest};

    use super::*;

    fn book() -> (Book, Order) {
        let order = Order::new(OrderConfig {
            seed: 1,
            total_pages: 10,
            evaluation_pages: 2,
            pages_per_epoch: 4,
        })
        .unwrap();
        let batch = NonZeroU32::new(3).unwrap();
        (Book::new(order.clone(), batch), order)
    }

    fn row(order: &Order, slot: Slot, sequences: u32) -> PageRow {
        PageRow::Packed {
            page: order.page(slot).unwrap(),
            sequences,
            digest: PageDigest([7; 32]),
            dropped_tokens: 0,
        }
    }

    fn learn(book: &Book, order: &Order, slot: Slot) {
        book.insert(slot, row(order, slot, 5)).unwrap();
    }

    #[test]
    fn rows_that_come_before_the_generation_count() {
        let (book, order) = book();
        for ordinal in 0..2 {
            learn(&book, &order, Slot::Training(Ordinal(ordinal)));
        }
        let start = Cursor::start();
        assert!(matches!(
            book.next_step(&start).unwrap(),
            Planned::Unknown { .. }
        ));
        book.begin(start).unwrap();
        assert!(matches!(book.next_step(&start).unwrap(), Planned::Step(_)));
    }

    #[test]
    fn a_generation_may_begin_before_the_point_the_last_had_reached() {
        let (book, order) = book();
        let learn_all = || {
            for ordinal in 0..4 {
                learn(&book, &order, Slot::Training(Ordinal(ordinal)));
            }
        };
        learn_all();
        book.begin(Cursor::start()).unwrap();
        let mut cursor = Cursor::start();
        while cursor.page.ordinal.0 < 2 {
            let Planned::Step(step) = book.next_step(&cursor).unwrap() else {
                panic!("four pages hold more than two pages' steps");
            };
            cursor = step.after();
        }
        book.begin(cursor).unwrap();
        assert!(book.next_step(&Cursor::start()).is_err());

        book.begin(Cursor::start()).unwrap();
        learn_all();
        assert!(matches!(
            book.next_step(&Cursor::start()).unwrap(),
            Planned::Step(_)
        ));
    }

    #[test]
    fn evaluation_is_known_once_every_row_is() {
        let (book, order) = book();
        learn(&book, &order, Slot::Evaluation(1));
        assert!(book.evaluation().is_none());
        learn(&book, &order, Slot::Evaluation(0));
        let rows = book.evaluation().unwrap();
        assert_eq!(
            rows.iter().map(PageRow::page).collect::<Vec<_>>(),
            order.evaluation()
        );
    }

    #[test]
    fn whoever_waits_for_a_row_is_woken() {
        let (book, order) = book();
        let mut changes = book.changes();
        assert!(!changes.has_changed().unwrap());
        learn(&book, &order, Slot::Training(Ordinal(0)));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(!changes.has_changed().unwrap());
    }
}
