//! The page table as the coordinator needs it: which rows exist, and how much
//! they add up to.

use std::collections::BTreeMap;

use ledger::{Order, Ordinal, PageRow, Slot};

/// The durable rows that a member of a coming generation could still need,
/// and totals over all that ever were.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<Slot, PageRow>,
    epochs: BTreeMap<u64, EpochTotal>,
    packed: u64,
    skipped: u64,
    /// Training pages, and their sequences, for the mean.
    training_pages: u64,
    training_sequences: u64,
    forgotten_before: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct EpochTotal {
    rows: u64,
    sequences: u64,
}

/// Sequences that a page is thought to hold while none is known: what a page
/// of web text packs to at 1024 tokens.
const SUPPOSED_SEQUENCES: f64 = 50.0;

impl Table {
    pub(super) fn new(order: &Order, rows: BTreeMap<Slot, PageRow>) -> Table {
        let mut table = Table::default();
        for (slot, row) in rows {
            table.insert(order, slot, row);
        }
        table
    }

    pub(super) fn insert(&mut self, order: &Order, slot: Slot, row: PageRow) {
        if row.is_skipped() {
            self.skipped += 1;
        } else {
            self.packed += 1;
        }
        if let Slot::Training(ordinal) = slot {
            let epoch = self.epochs.entry(order.epoch_of(ordinal)).or_default();
            epoch.rows += 1;
            epoch.sequences += u64::from(row.sequences());
            self.training_pages += 1;
            self.training_sequences += u64::from(row.sequences());
        }
        self.rows.insert(slot, row);
    }

    pub(super) fn row(&self, slot: Slot) -> Option<&PageRow> {
        self.rows.get(&slot)
    }

    /// The evaluation's rows, in order.
    pub(super) fn evaluation_rows(&self) -> impl Iterator<Item = (Slot, &PageRow)> {
        let first_training = Slot::Training(Ordinal(0));
        let rows = self.rows.range(..first_training);
        rows.map(|(slot, row)| (*slot, row))
    }

    /// Whether a slot has a row, forgotten ones included.
    pub(super) fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Training(Ordinal(ordinal)) if ordinal < self.forgotten_before => true,
            _ => self.rows.contains_key(&slot),
        }
    }

    /// What a generation that begins in the page at `first` may need: the
    /// evaluation's rows and all from there on.
    pub(super) fn rows_from(&self, first: Ordinal) -> Vec<(Slot, PageRow)> {
        let needed = |slot: &Slot| match slot {
            Slot::Evaluation(_) => true,
            Slot::Training(ordinal) => *ordinal >= first,
        };
        let rows = self.rows.iter().filter(|(slot, _)| needed(slot));
        rows.map(|(slot, row)| (*slot, row.clone())).collect()
    }

    /// Lets go of training rows that no checkpoint and no generation will ask
    /// for again. The store keeps them.
    pub(super) fn forget_before(&mut self, first: Ordinal) {
        if first.0 <= self.forgotten_before {
            return;
        }
        self.forgotten_before = first.0;
        self.rows.retain(|slot, _| match slot {
            Slot::Evaluation(_) => true,
            Slot::Training(ordinal) => *ordinal >= first,
        });
    }

    /// Remembers rows that were let go of. They are counted already.
    pub(super) fn recall(&mut self, rows: BTreeMap<Slot, PageRow>) {
        self.forgotten_before = 0;
        for (slot, row) in rows {
            self.rows.entry(slot).or_insert(row);
        }
    }

    pub(super) fn packed(&self) -> u64 {
        self.packed
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Sequences per training page: the mean so far, and something plausible
    /// before there is one.
    pub(super) fn sequences_per_page(&self) -> f64 {
        if self.training_sequences == 0 {
            return SUPPOSED_SEQUENCES;
        }
        self.training_sequences as f64 / self.training_pages as f64
    }

    /// Steps and sequences of the first `epochs` epochs, if all their rows are
    /// known.
    pub(super) fn exact_totals(
        &self,
        epochs: u64,
        pages_per_epoch: u64,
        batch: u64,
    ) -> Option<(u64, u64)> {
        let mut steps = 0;
        let mut sequences = 0;
        for epoch in 0..epochs {
            let total = self.epochs.get(&epoch)?;
            if total.rows < pages_per_epoch {
                return None;
            }
            steps += total.sequences.div_ceil(batch);
            sequences += total.sequences;
        }
        Some((steps, sequences))
    }

    /// Sequences of the first `epochs` epochs; pages without a row count as
    /// the mean page.
    pub(super) fn estimated_sequences(&self, epochs: u64, pages_per_epoch: u64) -> f64 {
        let known = self.epochs.range(..epochs).map(|(_, total)| total);
        let (rows, sequences) = known.fold((0, 0), |(rows, sequences), total| {
            (rows + total.rows, sequences + total.sequences)
        });
        let pages = epochs as f64 * pages_per_epoch as f64;
        sequences as f64 + (pages - rows as f64).max(0.0) * self.sequences_per_page()
    }
}
