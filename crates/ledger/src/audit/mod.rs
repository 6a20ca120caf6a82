//! Whether training consumed what was planned.
//!
//! The audit walks the plan from the run's beginning, and beside it the
//! lineage. For each step it recomputes, from the pages themselves, the digest
//! that the ranks must have summed if they fed exactly the step's sequences,
//! and compares it with the one reported. A plan alone would prove nothing,
//! since shares are computed and not recorded.
//!
//! Architecture invariant: the audit takes nothing on trust that it can
//! compute: pages must match the page table's digests, and steps and bases the
//! plan.

mod account;
mod bases;
mod diagnosis;
mod reports;
mod violation;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use self::account::Findings;
pub use self::account::{Audit, Counts, EpochAudit, SkippedPage};
use self::bases::Bases;
use self::diagnosis::{Verdict, diagnose};
use self::reports::InMemory;
pub use self::reports::Reports;
pub use self::violation::Violation;
use crate::{
    Cursor, FedDigest, Lineage, Order, Ordinal, PackedPage, PageRow, PageTable, Planned, Step,
    TableError,
};

/// Audits `lineage` from the run's beginning to `until`.
///
/// `rows` is the page table from ordinal 0 on, best in order: then memory stays
/// small, whatever the run's length. It is read as far as needed. `fetch`
/// brings a packed page, from a cache or prepared again; it is asked for each
/// page that steps up to `until` consumed, in order and once. Steps reported
/// beyond `until` are not looked at.
pub fn audit<Rows, Fetch>(
    order: &Order,
    global_batch: NonZeroU32,
    rows: Rows,
    lineage: &Lineage,
    until: Cursor,
    fetch: Fetch,
) -> Audit
where
    Rows: IntoIterator<Item = (Ordinal, PageRow)>,
    Fetch: FnMut(Ordinal) -> Result<PackedPage, String>,
{
    let reports = InMemory::of(lineage);
    audit_reports(order, global_batch, rows, lineage, reports, until, fetch)
}

/// The same audit with the reports from elsewhere: of `lineage`, spans and
/// faults are used and its steps are not. So a run of any length is audited in
/// memory for a few of its steps.
pub fn audit_reports<Rows, Fetch>(
    order: &Order,
    global_batch: NonZeroU32,
    rows: Rows,
    lineage: &Lineage,
    reports: impl Reports,
    until: Cursor,
    fetch: Fetch,
) -> Audit
where
    Rows: IntoIterator<Item = (Ordinal, PageRow)>,
    Fetch: FnMut(Ordinal) -> Result<PackedPage, String>,
{
    let mut auditor = Auditor {
        table: PageTable::new(order.clone(), global_batch, Cursor::start()),
        rows: rows.into_iter(),
        fetch,
        lineage,
        reports,
        pages: BTreeMap::new(),
        previous: Vec::new(),
        epochs: Vec::new(),
        skipped_pages: Vec::new(),
        violations: Findings::default(),
    };
    let faults = lineage.faults.iter().cloned();
    auditor.violations.extend(faults.map(Violation::Lineage));
    auditor.walk(until);
    let mut total = Counts::default();
    for epoch in &auditor.epochs {
        total.add(&epoch.counts);
    }
    Audit {
        epochs: auditor.epochs,
        total,
        skipped_pages: auditor.skipped_pages,
        violation_count: auditor.violations.count,
        violations: auditor.violations.listed,
    }
}

struct Auditor<'a, Rows, Fetch, Found> {
    /// Holds the rows around the walk's current point only.
    table: PageTable,
    rows: Rows,
    fetch: Fetch,
    lineage: &'a Lineage,
    reports: Found,
    /// Pages that the walk has not left; `None` if a page could not be had.
    pages: BTreeMap<Ordinal, Option<PackedPage>>,
    /// Digests of the step before, if they could be computed: where a sequence
    /// fed twice may have come from.
    previous: Vec<FedDigest>,
    epochs: Vec<EpochAudit>,
    skipped_pages: Vec<SkippedPage>,
    violations: Findings,
}

impl<Rows, Fetch, Found> Auditor<'_, Rows, Fetch, Found>
where
    Rows: Iterator<Item = (Ordinal, PageRow)>,
    Fetch: FnMut(Ordinal) -> Result<PackedPage, String>,
    Found: Reports,
{
    fn walk(&mut self, until: Cursor) {
        let mut bases = Bases::of(self.lineage);
        let mut cursor = Cursor::start();
        bases.pass(&cursor);
        while (cursor.step, cursor.epoch) < (until.step, until.epoch) {
            let planned = match self.plan(&cursor) {
                Ok(planned) => planned,
                Err(error) => {
                    self.violations.push(Violation::Table(error));
                    break;
                }
            };
            match planned {
                Planned::Step(step) if step.number < until.step => {
                    self.check_step(&step);
                    cursor = step.after();
                }
                Planned::EmptyEpoch { after, .. } => {
                    self.leave_pages(&cursor, &after);
                    self.epoch(cursor.epoch).complete = true;
                    cursor = after;
                }
                // `until` claims a later epoch, but this one still has steps.
                Planned::Step(_) => break,
                Planned::Unknown { needs } => {
                    self.violations.push(Violation::RowMissing {
                        ordinal: needs,
                        step: cursor.step,
                    });
                    break;
                }
            }
            bases.pass(&cursor);
        }
        if cursor != until {
            self.violations.push(Violation::WrongEnd {
                until,
                reached: cursor,
            });
        }
        self.violations.extend(bases.not_met_until(&cursor));
    }

    /// Plans the step after `cursor`, reading as many rows as that takes.
    fn plan(&mut self, cursor: &Cursor) -> Result<Planned, TableError> {
        loop {
            let planned = self.table.next_step(cursor)?;
            let Planned::Unknown { .. } = planned else {
                return Ok(planned);
            };
            let Some((ordinal, row)) = self.rows.next() else {
                return Ok(planned);
            };
            self.table.insert(ordinal, row)?;
        }
    }

    fn check_step(&mut self, step: &Step) {
        self.leave_pages(&step.before(), &step.after());
        let expected = self.expected_digests(step);
        let mut counts = self.compare(step, expected.as_deref());
        counts.planned = u64::from(step.count);
        counts.missed = counts.planned - counts.trained;
        let epoch = self.epoch(step.epoch);
        epoch.counts.add(&counts);
        epoch.complete = step.last_of_epoch;
        self.previous = expected.unwrap_or_default();
        self.pages = self.pages.split_off(&step.next_page.ordinal);
        self.table.forget_before(step.next_page.ordinal);
    }

    /// Compares the plan of a step with its report. Fills in `trained`,
    /// `repeated`, `unverified` and `not_applied`.
    fn compare(&mut self, step: &Step, expected: Option<&[FedDigest]>) -> Counts {
        let mut counts = Counts::default();
        let Some(report) = self.reports.surviving(step.number) else {
            let missing = self.missing_step(step);
            self.violations.push(missing);
            return counts;
        };
        if report.step != *step {
            self.violations.push(Violation::WrongStep {
                generation: report.generation,
                planned: *step,
                reported: report.step,
            });
            // What it claims of the past is a repetition, whatever it fed.
            let claimed = report.step.positions();
            counts.repeated = claimed.end.min(step.first).saturating_sub(claimed.start);
            return counts;
        }
        if report.sequences != u64::from(step.count) {
            self.violations.push(Violation::WrongCount {
                generation: report.generation,
                step: *step,
                sequences: report.sequences,
            });
        }
        // Without the pages there is nothing to compare with; why they could
        // not be had is a violation already.
        let Some(expected) = expected else {
            counts.unverified = u64::from(step.count);
            return counts;
        };
        let verdict = diagnose(&self.previous, expected, report.fed);
        let planned = u64::from(step.count);
        (counts.trained, counts.repeated) = match verdict {
            Verdict::AsPlanned => (planned, 0),
            Verdict::Repeated(run) => (planned, run.len),
            Verdict::Missed(run) => (planned - run.len, 0),
            Verdict::Replaced { missed, .. } => (planned - missed.len, missed.len),
            Verdict::Unexplained => (0, 0),
        };
        if !report.applied {
            counts.not_applied = counts.trained;
        }
        if verdict != Verdict::AsPlanned {
            let window_first = step.first - self.previous.len() as u64;
            self.violations.push(Violation::WrongContent {
                generation: report.generation,
                step: *step,
                finding: verdict.in_words(window_first),
            });
        }
        counts
    }

    fn missing_step(&mut self, step: &Step) -> Violation {
        let belongs_to = self.lineage.generation_of(step.number);
        match (belongs_to, self.reports.rolled_back(step.number)) {
            (Some(belongs_to), Some(reported_by)) => Violation::WrongGeneration {
                step: *step,
                belongs_to,
                reported_by,
            },
            _ => Violation::MissingStep {
                step: *step,
                belongs_to,
            },
        }
    }

    /// The digest of each of the step's sequences; `None` if a page of it is
    /// not to be had.
    fn expected_digests(&mut self, step: &Step) -> Option<Vec<FedDigest>> {
        let pieces = self.table.ordinals_of(step.first, step.count)?;
        // All pages are looked at, so that every bad one is named.
        for piece in &pieces {
            self.ensure_page(piece.ordinal);
        }
        let mut digests = Vec::with_capacity(step.count as usize);
        for piece in pieces {
            let page = self.pages.get(&piece.ordinal)?.as_ref()?;
            for index in piece.sequences {
                let position = step.first + digests.len() as u64;
                digests.push(FedDigest::of(position, page.sequence(index)?));
            }
        }
        Some(digests)
    }

    /// Fetches a page unless that was done, and holds it against its row.
    fn ensure_page(&mut self, ordinal: Ordinal) {
        if self.pages.contains_key(&ordinal) {
            return;
        }
        let page = match (self.fetch)(ordinal) {
            Ok(page) if self.table.row(ordinal) == Some(&page.row()) => Some(page),
            Ok(page) => {
                self.violations.push(Violation::PageDiffers {
                    ordinal,
                    row: self.table.row(ordinal).cloned(),
                    found: page.row(),
                });
                None
            }
            Err(reason) => {
                self.violations
                    .push(Violation::PageUnavailable { ordinal, reason });
                None
            }
        };
        self.pages.insert(ordinal, page);
    }

    /// Takes note of the skipped pages among those that the walk leaves behind.
    fn leave_pages(&mut self, from: &Cursor, to: &Cursor) {
        let epoch = from.epoch;
        let left_behind = from.page.ordinal.0..to.page.ordinal.0;
        let skipped = left_behind.map(Ordinal).filter_map(|ordinal| {
            let PageRow::Skipped { page, reason } = self.table.row(ordinal)? else {
                return None;
            };
            Some(SkippedPage {
                ordinal,
                page: *page,
                epoch,
                reason: reason.clone(),
            })
        });
        let skipped: Vec<SkippedPage> = skipped.collect();
        self.epoch(epoch).counts.skipped += skipped.len() as u64;
        self.skipped_pages.extend(skipped);
    }

    /// The account of `epoch`, which is the latest one or a new one.
    fn epoch(&mut self, epoch: u64) -> &mut EpochAudit {
        let is_new = self.epochs.last().is_none_or(|last| last.epoch != epoch);
        if is_new {
            self.epochs.push(EpochAudit {
                epoch,
                complete: false,
                counts: Counts::default(),
            });
        }
        let last = self.epochs.len() - 1;
        &mut self.epochs[last]
    }
}
