//! Which reported steps survive.
//!
//! Generations form a tree: each one names its parent and the point (its base)
//! from which it goes on. The newest generation and its ancestors are the chain
//! whose weights the survivors hold. A generation's base may lie before the
//! point that an ancestor had reached: then the ancestor's later steps are
//! rolled back. So of the reports of a generation of the chain, those survive
//! that lie at or after its own base and before the base of every generation
//! that came after it in the chain; and of other generations, none.

use std::collections::{BTreeMap, btree_map};

use serde::{Deserialize, Serialize};

use crate::{Cursor, StepReport};

/// A period with one fixed membership and one process group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Only ever grows, over restarts too.
    pub number: u64,
    /// The generation whose weights this one continues, maybe after rolling
    /// some of them back; `None` for a run's first.
    pub parent: Option<u64>,
    /// Where this generation begins.
    pub base: Cursor,
    /// Worker ids in rank order.
    pub members: Vec<String>,
}

/// The steps for which a generation of the chain is responsible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The generation's number.
    pub generation: u64,
    /// Where it begins.
    pub base: Cursor,
    /// The first step number that is no longer its own; `None` for the newest
    /// generation. A span that was rolled back as a whole ends at or before
    /// its base.
    pub end: Option<u64>,
}

impl Span {
    /// Whether a step is this generation's to report.
    pub fn contains(&self, step: u64) -> bool {
        self.base.step <= step && self.end.is_none_or(|end| step < end)
    }
}

/// What contradicts itself among generations and reports. None of it happens
/// by crashes alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineageFault {
    /// Two different records share a number.
    #[error("generation {number} is recorded twice, with different contents")]
    DuplicateGeneration {
        /// The number.
        number: u64,
    },
    /// A generation continues one of which there is no record.
    #[error("generation {number} continues generation {parent}, of which there is no record")]
    UnknownParent {
        /// The child's number.
        number: u64,
        /// The missing parent's.
        parent: u64,
    },
    /// Numbers must grow from parent to child.
    #[error("generation {number} continues generation {parent}, which is not older")]
    ParentNotOlder {
        /// The child's number.
        number: u64,
        /// The parent's number.
        parent: u64,
    },
    /// A step from nowhere.
    #[error("step {step} was reported by generation {generation}, of which there is no record")]
    UnknownGeneration {
        /// The reporter.
        generation: u64,
        /// The step's number.
        step: u64,
    },
    /// A generation reported a step that was done before it began.
    #[error("step {step} was reported by generation {generation}, which begins at step {base}")]
    BeforeBase {
        /// The reporter.
        generation: u64,
        /// The step's number.
        step: u64,
        /// The first step of the generation.
        base: u64,
    },
    /// Members of one generation disagree about what a step consumed.
    #[error("generation {generation} reported step {step} twice, with different contents")]
    ContradictingReports {
        /// The reporter.
        generation: u64,
        /// The step's number.
        step: u64,
    },
}

/// The chain of generations and the reports whose weights survive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    /// From the oldest generation to the newest.
    pub spans: Vec<Span>,
    /// Surviving reports by step number: at most one each, gaps possible.
    pub steps: BTreeMap<u64, StepReport>,
    /// Reports that belong to no lineage, in the order given.
    pub rolled_back: Vec<StepReport>,
    /// Contradictions, in the order found.
    pub faults: Vec<LineageFault>,
}

impl Lineage {
    /// The generation to which a step of the surviving history belongs.
    pub fn generation_of(&self, step: u64) -> Option<u64> {
        // The chain's last generation that began at or before the step owns it:
        // an earlier one's span ends at that base.
        let span = self.spans.iter().rev().find(|span| span.contains(step))?;
        Some(span.generation)
    }

    /// Where the surviving history ends: after its last reported step, or at
    /// the newest generation's base if that has reported none. (Reports still
    /// under way are not known here.)
    pub fn end(&self) -> Cursor {
        let base = self.spans.last().map_or(Cursor::start(), |span| span.base);
        match self.steps.last_key_value() {
            Some((_, report)) if report.step.number >= base.step => report.step.after(),
            _ => base,
        }
    }
}

/// Sorts `reports`, in whatever order and however often they arrived, into
/// those that survive in the newest of `generations` and those rolled back.
///
/// The first of two contradicting reports is kept, and the contradiction
/// recorded.
pub fn lineage(generations: &[GenerationRecord], reports: &[StepReport]) -> Lineage {
    let mut lineage = Lineage::default();
    let records = records_by_number(generations, &mut lineage.faults);
    lineage.spans = chain(&records, &mut lineage.faults);
    let span_of: BTreeMap<u64, &Span> = lineage
        .spans
        .iter()
        .map(|span| (span.generation, span))
        .collect();

    let mut first_reports: BTreeMap<(u64, u64), &StepReport> = BTreeMap::new();
    for report in reports {
        let generation = report.generation;
        let step = report.step.number;
        match first_reports.entry((generation, step)) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(report);
            }
            btree_map::Entry::Occupied(entry) => {
                if !entry.get().agrees_with(report) {
                    lineage
                        .faults
                        .push(LineageFault::ContradictingReports { generation, step });
                }
                continue;
            }
        }
        match records.get(&generation) {
            None => lineage
                .faults
                .push(LineageFault::UnknownGeneration { generation, step }),
            Some(record) if step < record.base.step => {
                lineage.faults.push(LineageFault::BeforeBase {
                    generation,
                    step,
                    base: record.base.step,
                });
            }
            Some(_) => {}
        }
        let survives = span_of
            .get(&generation)
            .is_some_and(|span| span.contains(step));
        if survives {
            // Spans of a chain do not overlap, so nothing is overwritten.
            lineage.steps.insert(step, *report);
        } else {
            lineage.rolled_back.push(*report);
        }
    }
    lineage
}

fn records_by_number<'a>(
    generations: &'a [GenerationRecord],
    faults: &mut Vec<LineageFault>,
) -> BTreeMap<u64, &'a GenerationRecord> {
    let mut records: BTreeMap<u64, &GenerationRecord> = BTreeMap::new();
    for record in generations {
        let first = records.entry(record.number).or_insert(record);
        if *first != record {
            faults.push(LineageFault::DuplicateGeneration {
                number: record.number,
            });
        }
    }
    records
}

/// The newest generation and its ancestors, oldest first, with their spans.
fn chain(records: &BTreeMap<u64, &GenerationRecord>, faults: &mut Vec<LineageFault>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut next = records.last_key_value().map(|(_, record)| *record);
    // The smallest base among the generations that came after.
    let mut end: Option<u64> = None;
    while let Some(record) = next {
        let base = record.base.step;
        spans.push(Span {
            generation: record.number,
            base: record.base,
            end,
        });
        end = Some(end.map_or(base, |end| end.min(base)));
        next = record.parent.and_then(|parent| {
            let number = record.number;
            if parent >= number {
                // Following it could lead in a circle.
                faults.push(LineageFault::ParentNotOlder { number, parent });
                return None;
            }
            if !records.contains_key(&parent) {
                faults.push(LineageFault::UnknownParent { number, parent });
            }
            records.get(&parent).copied()
        });
    }
    spans.reverse();
    spans
}
