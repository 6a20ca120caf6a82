//! Which sequence is consumed by which step, exactly.
//!
//! # Mental model
//!
//! The ledger is a tape. The [`Order`] says which page lies at each place of
//! the tape: place 0, 1, 2, … are [`Ordinal`]s, and the page at a place is a
//! pure function of the run's seed, so nobody stores a list. Each page packs to
//! some number of sequences ([`PackedPage`]); the [`PageTable`] learns those
//! numbers one row at a time and, by summing them, gives every sequence of the
//! run one number, its *position*. Training reads the tape from left to right:
//! a [`Cursor`] stands between two sequences, and the [`PageTable`] answers, for
//! any cursor, which [`Step`] comes next. How many workers there are never
//! enters: a step is cut into micro-batches first, and only then are the
//! micro-batches dealt out as [`Share`]s.
//!
//! ```text
//! Order      page 71 │ page 4          │ page 90 │ page 13     …   ordinals
//! PageTable  2 seqs  │ 3 seqs          │ skipped │ 2 seqs      …   rows
//! position   0     1 │ 2     3     4   │         │ 5     6     …
//! steps      [ step 0        ][ step 1                 ]       …   (global batch 3)
//! ```
//!
//! What was planned is one thing, what was fed is another. While a step runs,
//! the ranks sum a [`FedDigest`] over what their models really saw; the sum
//! travels in a [`StepReport`]. Workers come and go, so reports belong to
//! generations, and a generation may begin before the point its parent had
//! reached, which rolls the steps in between back. [`lineage()`] keeps the
//! reports whose weights survive; [`audit()`] compares them with digests
//! recomputed from the pages.
//!
//! # Invariants
//!
//! Architecture invariant: no IO, no clock, no async, no randomness but the
//! run's seed. Everything here is a function of its arguments, so that the
//! coordinator, every worker and the audit reach the same answer apart.
//!
//! Architecture invariant: a step never depends on the number of workers, and
//! the page table never gives an answer that a later row could change; while
//! it cannot know, it says [`Planned::Unknown`].
//!
//! Architecture invariant: the table holds no cursor. Rolling back is asking
//! it about an earlier cursor.
//!
//! Architecture invariant: the permutation, the packed page's bytes and both
//! digests are formats. Runs outlive binaries, so changing any of them breaks
//! a test here and needs a new version of the format.

#![forbid(unsafe_code)]

pub mod audit;
mod cursor;
mod fed;
mod ids;
pub mod lineage;
mod order;
mod packed_page;
mod page_digest;
mod permutation;
mod report;
mod row;
mod share;
mod step;
mod table;

pub use audit::{Audit, Counts, EpochAudit, Reports, SkippedPage, Violation, audit, audit_reports};
pub use cursor::{Cursor, PageStart};
pub use fed::{FedDigest, FedDigestParseError};
pub use ids::{Ordinal, PageId, Slot};
pub use lineage::{GenerationRecord, Lineage, LineageFault, Span, lineage};
pub use order::{Order, OrderConfig, OrderError};
pub use packed_page::{PackedPage, PackedPageError};
pub use page_digest::PageDigest;
pub use report::StepReport;
pub use row::PageRow;
pub use share::{MicroBatch, Share};
pub use step::Step;
pub use table::{PagePiece, PageTable, Planned, TableError};
