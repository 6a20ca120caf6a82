//! What an audit has to say: counts by epoch, pages that were skipped, and what
//! should not be.

use serde::{Deserialize, Serialize};

use super::Violation;
use crate::{Ordinal, PageId};

/// Violations that are listed. One fault can have as many as a run has steps,
/// and what follows tells no more than the first of them.
const MOST_LISTED: usize = 1000;

/// What became of the sequences of an epoch or a run. `planned` is always
/// `trained + missed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sequences that the plan has.
    pub planned: u64,
    /// Of those, sequences shown to have been fed.
    pub trained: u64,
    /// Times that a sequence was fed beyond its first.
    pub repeated: u64,
    /// Planned sequences that nothing shows to have been fed: their step is
    /// missing, or what it fed cannot be told.
    pub missed: u64,
    /// Of those missed, sequences of which nothing can be verified, because
    /// their step's pages are not to be had.
    pub unverified: u64,
    /// Pages that were skipped.
    pub skipped: u64,
    /// Of those trained, sequences whose step updated no weights, because a
    /// gradient was not finite.
    pub not_applied: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.planned += other.planned;
        self.trained += other.trained;
        self.repeated += other.repeated;
        self.missed += other.missed;
        self.unverified += other.unverified;
        self.skipped += other.skipped;
        self.not_applied += other.not_applied;
    }
}

/// What became of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochAudit {
    /// The epoch's number.
    pub epoch: u64,
    /// Whether the audit reached the epoch's end.
    pub complete: bool,
    /// Its sequences and pages, as far as the audit went.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A page that can never be read, and that no step consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPage {
    /// Its place in the order.
    pub ordinal: Ordinal,
    /// The page.
    pub page: PageId,
    /// The epoch that does without it.
    pub epoch: u64,
    /// Why, in words.
    pub reason: String,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// In order; an epoch that was not reached is missing.
    pub epochs: Vec<EpochAudit>,
    /// Summed over the epochs.
    pub total: Counts,
    /// Every skipped page, in order.
    pub skipped_pages: Vec<SkippedPage>,
    /// How much should not be.
    pub violation_count: u64,
    /// The first of it, a thousand things at most; as words when serialised.
    pub violations: Vec<Violation>,
}

impl Audit {
    /// Whether every planned sequence was trained exactly once, and nothing
    /// contradicts anything.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }
}

/// Violations as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) count: u64,
    pub(super) listed: Vec<Violation>,
}

impl Findings {
    pub(super) fn push(&mut self, violation: Violation) {
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push(violation);
        }
    }
}

impl Extend<Violation> for Findings {
    fn extend<T: IntoIterator<Item = Violation>>(&mut self, violations: T) {
        for violation in violations {
            self.push(violation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_counted_and_the_first_are_listed() {
        let mut findings = Findings::default();
        findings.extend((0..5000).map(|ordinal| Violation::PageUnavailable {
            ordinal: Ordinal(ordinal),
            reason: String::new(),
        }));
        assert_eq!((findings.count, findings.listed.len()), (5000, MOST_LISTED));
    }
}
