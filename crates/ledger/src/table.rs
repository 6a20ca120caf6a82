//! The page table: from rows to positions, and from positions to steps.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::ops::Range;

use crate::{Cursor, Order, Ordinal, PageId, PageRow, PageStart, Step};

/// What follows a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// The next step. No later row changes it.
    Step(Step),
    /// All of the epoch's pages are skipped or too short: it has no step.
    EmptyEpoch {
        /// The epoch without steps.
        epoch: u64,
        /// The start of the epoch after it.
        after: Cursor,
    },
    /// The rows known so far do not decide the next step yet.
    Unknown {
        /// The first row that is missing.
        needs: Ordinal,
    },
}

/// A run of sequences within one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePiece {
    /// The page's place in the order.
    pub ordinal: Ordinal,
    /// Which of its sequences; never empty.
    pub sequences: Range<u32>,
}

/// A row or a cursor that contradicts the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The row is about another page than the order has at that place.
    #[error("the row for {ordinal} is about {found}, but the order has {expected} there")]
    WrongPage {
        /// Where the row was to go.
        ordinal: Ordinal,
        /// The page at that place.
        expected: PageId,
        /// The page that the row is about.
        found: PageId,
    },
    /// A different row is known for that place.
    #[error("a different row is known for {ordinal}: {known}; refused: {offered}")]
    Contradiction {
        /// Where the row was to go.
        ordinal: Ordinal,
        /// The row in the table.
        known: Box<PageRow>,
        /// The row that was refused.
        offered: Box<PageRow>,
    },
    /// The table no longer reaches back that far.
    #[error("{ordinal} lies before {first}, where the page table begins")]
    Forgotten {
        /// What was asked for.
        ordinal: Ordinal,
        /// The first place the table covers.
        first: Ordinal,
    },
    /// The cursor stands at a point that the order and the rows do not have.
    #[error("the cursor ({cursor}) does not stand on this page table: {reason}")]
    ForeignCursor {
        /// The cursor.
        cursor: Box<Cursor>,
        /// What is wrong with it.
        reason: &'static str,
    },
}

#[derive(Debug)]
struct Entry {
    row: PageRow,
    /// Position after the page's last sequence.
    end: u64,
}

/// The known rows of a contiguous stretch of the order, with the positions
/// that follow from them. Looking up a position or planning a step takes a
/// binary search; a row takes about 70 bytes.
#[derive(Debug)]
pub struct PageTable {
    order: Order,
    global_batch: NonZeroU32,
    /// The first place covered.
    first: PageStart,
    entries: VecDeque<Entry>,
    /// Rows that came before the rows in front of them.
    held_back: BTreeMap<Ordinal, PageRow>,
}

impl PageTable {
    /// An empty table, for steps of `global_batch` sequences, that begins with
    /// the page in which `first` stands.
    pub fn new(order: Order, global_batch: NonZeroU32, first: Cursor) -> PageTable {
        PageTable {
            order,
            global_batch,
            first: first.page,
            entries: VecDeque::new(),
            held_back: BTreeMap::new(),
        }
    }

    /// The order whose pages the rows describe.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Sequences per step.
    pub fn global_batch(&self) -> NonZeroU32 {
        self.global_batch
    }

    /// Learns a row. Rows may come in any order: one that comes early is held
    /// back until those in front of it are known. Learning a row again changes
    /// nothing.
    ///
    /// # Errors
    /// If the row is about the wrong page, differs from the one that is known,
    /// or lies before the table's beginning.
    pub fn insert(&mut self, ordinal: Ordinal, row: PageRow) -> Result<(), TableError> {
        let expected = self.order.page_at(ordinal);
        if row.page() != expected {
            return Err(TableError::WrongPage {
                ordinal,
                expected,
                found: row.page(),
            });
        }
        if ordinal < self.first.ordinal {
            return Err(self.forgotten(ordinal));
        }
        if let Some(known) = self.row(ordinal).or_else(|| self.held_back.get(&ordinal)) {
            if *known == row {
                return Ok(());
            }
            return Err(TableError::Contradiction {
                ordinal,
                known: Box::new(known.clone()),
                offered: Box::new(row),
            });
        }
        self.held_back.insert(ordinal, row);
        while let Some(row) = self.held_back.remove(&self.end().ordinal) {
            let begin = self.end().position;
            let end = begin.saturating_add(u64::from(row.sequences()));
            self.entries.push_back(Entry { row, end });
        }
        Ok(())
    }

    /// The places whose rows are known without a gap, as the numbers inside
    /// [`Ordinal`]. Rows held back are not among them.
    pub fn known_ordinals(&self) -> Range<u64> {
        self.first.ordinal.0..self.end().ordinal.0
    }

    /// The end of the known rows: the first unknown place, and the position
    /// with which it begins.
    pub fn end(&self) -> PageStart {
        PageStart {
            ordinal: Ordinal(
                self.first
                    .ordinal
                    .0
                    .saturating_add(self.entries.len() as u64),
            ),
            position: self
                .entries
                .back()
                .map_or(self.first.position, |entry| entry.end),
        }
    }

    /// The row at a place; `None` if it is unknown, held back or forgotten.
    pub fn row(&self, ordinal: Ordinal) -> Option<&PageRow> {
        let index = ordinal.0.checked_sub(self.first.ordinal.0)?;
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        Some(&entry.row)
    }

    /// All known rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = (Ordinal, &PageRow)> {
        (self.first.ordinal.0..)
            .map(Ordinal)
            .zip(self.entries.iter().map(|entry| &entry.row))
    }

    /// The position with which the page at a place begins; `None` if it is not
    /// known or forgotten.
    pub fn position_of(&self, ordinal: Ordinal) -> Option<u64> {
        let index = usize::try_from(ordinal.0.checked_sub(self.first.ordinal.0)?).ok()?;
        match index.checked_sub(1) {
            None => Some(self.first.position),
            Some(previous) => self.entries.get(previous).map(|entry| entry.end),
        }
    }

    /// The page that holds the sequence at `position`, and which of the page's
    /// sequences it is; `None` if that is unknown or forgotten.
    pub fn locate(&self, position: u64) -> Option<(Ordinal, u32)> {
        if position < self.first.position {
            return None;
        }
        // Pages without sequences end where they begin, so the first page that
        // ends after the position is the one that holds it.
        let index = self.entries.partition_point(|entry| entry.end <= position);
        let entry = self.entries.get(index)?;
        let begin = entry.end - u64::from(entry.row.sequences());
        let ordinal = Ordinal(self.first.ordinal.0 + index as u64);
        Some((ordinal, (position - begin) as u32))
    }

    /// What comes after `cursor`. A step is planned as soon as it is certain,
    /// its `last_of_epoch` included: the rows must show one sequence more than
    /// it takes, or reach the epoch's end.
    ///
    /// # Errors
    /// If the cursor's page is forgotten, or the cursor contradicts the order
    /// or the known rows.
    pub fn next_step(&self, cursor: &Cursor) -> Result<Planned, TableError> {
        let known_end = self.end();
        let unknown = Planned::Unknown {
            needs: known_end.ordinal,
        };
        if self.check_cursor(cursor)? == CursorRow::Unknown {
            return Ok(unknown);
        }
        let epoch_end = Ordinal(self.order.epoch_ordinals(cursor.epoch).end);
        let (epoch_is_known, end_position) = match self.position_of(epoch_end) {
            Some(position) => (true, position),
            None => (false, known_end.position),
        };
        let available = end_position - cursor.position;
        let global_batch = u64::from(self.global_batch.get());
        if available <= global_batch && !epoch_is_known {
            return Ok(unknown);
        }
        if available == 0 {
            return Ok(Planned::EmptyEpoch {
                epoch: cursor.epoch,
                after: Cursor {
                    epoch: cursor.epoch.saturating_add(1),
                    page: PageStart {
                        ordinal: epoch_end,
                        position: end_position,
                    },
                    ..*cursor
                },
            });
        }
        let last_of_epoch = available <= global_batch;
        // At most the global batch, so it fits.
        let count = available.min(global_batch) as u32;
        let next_page = if last_of_epoch {
            PageStart {
                ordinal: epoch_end,
                position: end_position,
            }
        } else {
            match self.page_after(cursor.position + u64::from(count)) {
                Some(page) => page,
                None => return Ok(unknown),
            }
        };
        Ok(Planned::Step(Step {
            number: cursor.step,
            epoch: cursor.epoch,
            first: cursor.position,
            count,
            last_of_epoch,
            page: cursor.page,
            next_page,
        }))
    }

    /// The pages, and the sequences within them, that make `count` sequences
    /// from position `first` on, in order; `None` if any is unknown or
    /// forgotten.
    pub fn ordinals_of(&self, first: u64, count: u32) -> Option<Vec<PagePiece>> {
        let mut pieces = Vec::new();
        let mut position = first;
        let end = first.checked_add(u64::from(count))?;
        while position < end {
            let (ordinal, begin) = self.locate(position)?;
            let in_page = self.row(ordinal)?.sequences() - begin;
            // At most `in_page`, so it fits.
            let taken = u64::from(in_page).min(end - position) as u32;
            pieces.push(PagePiece {
                ordinal,
                sequences: begin..begin + taken,
            });
            position += u64::from(taken);
        }
        Some(pieces)
    }

    /// Drops the rows before `ordinal`, as far as rows are known. Cursors that
    /// stand before it can no longer be planned from.
    pub fn forget_before(&mut self, ordinal: Ordinal) {
        while self.first.ordinal < ordinal {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.first = PageStart {
                ordinal: self.first.ordinal.next(),
                position: entry.end,
            };
        }
    }

    /// Where training stands once it has consumed everything before
    /// `position`, as [`Cursor`] writes it.
    fn page_after(&self, position: u64) -> Option<PageStart> {
        let (ordinal, last_consumed) = self.locate(position.checked_sub(1)?)?;
        let consumed = last_consumed + 1;
        if consumed == self.row(ordinal)?.sequences() {
            Some(PageStart {
                ordinal: ordinal.next(),
                position,
            })
        } else {
            Some(PageStart {
                ordinal,
                position: position - u64::from(consumed),
            })
        }
    }

    /// Refuses cursors that this table cannot have planned: they may come from
    /// another machine or an old file.
    fn check_cursor(&self, cursor: &Cursor) -> Result<CursorRow, TableError> {
        let foreign = |reason| {
            Err(TableError::ForeignCursor {
                cursor: Box::new(*cursor),
                reason,
            })
        };
        if cursor.page.ordinal < self.first.ordinal {
            return Err(self.forgotten(cursor.page.ordinal));
        }
        if self.order.epoch_of(cursor.page.ordinal) != cursor.epoch {
            return foreign("its page belongs to another epoch");
        }
        let Some(consumed) = cursor.position.checked_sub(cursor.page.position) else {
            return foreign("its position lies before its page");
        };
        match self.position_of(cursor.page.ordinal) {
            None => return Ok(CursorRow::Unknown),
            Some(position) if position != cursor.page.position => {
                return foreign("its page begins at another position");
            }
            Some(_) => {}
        }
        match self.row(cursor.page.ordinal) {
            None => Ok(CursorRow::Unknown),
            Some(row) if consumed > 0 && consumed >= u64::from(row.sequences()) => {
                foreign("its position lies beyond its page")
            }
            Some(_) => Ok(CursorRow::Known),
        }
    }

    fn forgotten(&self, ordinal: Ordinal) -> TableError {
        TableError::Forgotten {
            ordinal,
            first: self.first.ordinal,
        }
    }
}

/// Whether the row of the page in which a cursor stands is known.
#[derive(PartialEq, Eq)]
enum CursorRow {
    Known,
    Unknown,
}
