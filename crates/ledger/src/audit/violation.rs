//! What an audit objects to.

use serde::{Serialize, Serializer};

use crate::{Cursor, LineageFault, Ordinal, PageRow, Step, TableError};

/// One thing that should not be. Displayed as a sentence for people, and
/// serialised as that sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Generations or reports contradict each other.
    #[error(transparent)]
    Lineage(LineageFault),
    /// The page table contradicts the order or itself.
    #[error("page table: {0}")]
    Table(TableError),
    /// The page table ends or has a hole before the audit's end.
    #[error("the page table has no row for {ordinal}, so step {step} cannot be planned")]
    RowMissing {
        /// The place without a row.
        ordinal: Ordinal,
        /// The step that needs it.
        step: u64,
    },
    /// A page could not be brought, so nothing is known about what was fed of it.
    #[error("the page at {ordinal} cannot be verified, for it cannot be read again: {reason}")]
    PageUnavailable {
        /// Its place.
        ordinal: Ordinal,
        /// Why.
        reason: String,
    },
    /// A page is not the one of which the page table speaks.
    #[error("the page at {ordinal} is {found}, but its row says {}", in_words(row.as_ref()))]
    PageDiffers {
        /// Its place.
        ordinal: Ordinal,
        /// The page table's row.
        row: Option<PageRow>,
        /// The row that the page would have.
        found: PageRow,
    },
    /// A gap: no generation reported the step.
    #[error("{step} was reported by nobody{}", owner_in_words(*belongs_to))]
    MissingStep {
        /// The planned step.
        step: Step,
        /// The generation that ought to have trained it.
        belongs_to: Option<u64>,
    },
    /// The step was reported, but by a generation whose report does not survive.
    #[error(
        "{step} belongs to generation {belongs_to}, but was reported only by generation \
         {reported_by}, whose weights from there on did not survive"
    )]
    WrongGeneration {
        /// The planned step.
        step: Step,
        /// The generation that ought to have trained it.
        belongs_to: u64,
        /// The generation that said it did.
        reported_by: u64,
    },
    /// A generation of the chain begins at a point that the plan does not have.
    #[error("generation {generation} begins at a point that is not of the plan: {base}")]
    WrongBase {
        /// The generation.
        generation: u64,
        /// Where it begins.
        base: Cursor,
    },
    /// The ranks trained on other positions than the plan has.
    #[error("generation {generation} reported {reported} in place of {planned}")]
    WrongStep {
        /// The reporter.
        generation: u64,
        /// What the plan has.
        planned: Step,
        /// What was reported.
        reported: Step,
    },
    /// The ranks fed more or fewer sequences than the step has.
    #[error(
        "{step}: generation {generation} fed {sequences} sequences, {} were planned",
        step.count
    )]
    WrongCount {
        /// The reporter.
        generation: u64,
        /// The planned step.
        step: Step,
        /// How many sequences went through a model.
        sequences: u64,
    },
    /// The digest of what was fed is not that of the step's sequences.
    #[error("{step}: generation {generation} did not feed what was planned: {finding}")]
    WrongContent {
        /// The reporter.
        generation: u64,
        /// The planned step.
        step: Step,
        /// What must have happened, in words.
        finding: String,
    },
    /// The audit was to end at a point that the plan does not have, or cannot
    /// be followed to.
    #[error("the audit was to end at ({until}), but the plan leads to ({reached})")]
    WrongEnd {
        /// Where the audit was to end.
        until: Cursor,
        /// Where it ended.
        reached: Cursor,
    },
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn in_words(row: Option<&PageRow>) -> String {
    row.map_or_else(|| "nothing".to_owned(), PageRow::to_string)
}

fn owner_in_words(generation: Option<u64>) -> String {
    generation.map_or_else(String::new, |number| {
        format!(", but belongs to generation {number}")
    })
}
