//! Comparing what was fed with the pages, along the surviving lineage.

mod pieces;

use std::num::NonZeroU32;

use ledger::{
    Audit, GenerationRecord, Lineage, LineageFault, Order, OrderConfig, OrderError, Ordinal,
    PageId, PageRow, Slot, lineage,
};
use run::RunConfig;
use serde::Serialize;

use self::pieces::{PIECE, Reader, Rows, Steps};
use crate::packed::PackedPages;
use crate::store::{RunStore, StoreError};

/// An audit of a run, as `coordinator audit --json` prints it.
#[derive(Debug, Serialize)]
pub struct AuditReport {
    /// The run.
    pub run_id: String,
    /// Steps of the surviving lineage.
    pub steps: u64,
    /// Whether the run was complete.
    pub complete: bool,
    /// What the ledger found.
    #[serde(flatten)]
    pub audit: Audit,
    /// Pages that the evaluation does without, because they can never be read.
    pub skipped_evaluation_pages: Vec<SkippedEvaluationPage>,
}

/// A page that the evaluation does without.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SkippedEvaluationPage {
    /// Which of the evaluation's pages.
    pub index: u32,
    /// The page.
    pub page: PageId,
    /// Why, in words.
    pub reason: String,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The records cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored run makes no order.
    #[error("the stored run has no order of pages: {0}")]
    Order(#[from] OrderError),
    /// The stored run's steps are empty.
    #[error("the stored run has a global batch of 0")]
    EmptyStep,
}

/// The order of a run's pages.
///
/// # Errors
/// If the run asks for more pages than there are.
pub fn order_of(config: &RunConfig) -> Result<Order, OrderError> {
    Order::new(OrderConfig {
        seed: config.seed,
        total_pages: config.data.pages(),
        // A validated run has at most this many.
        evaluation_pages: u32::try_from(config.eval_pages).unwrap_or(u32::MAX),
        pages_per_epoch: config.pages_per_epoch,
    })
}

/// Audits a run up to the last step that its lineage has reported. Digests are
/// recomputed from the packed pages on disk. Rows and steps are read a piece at
/// a time, so that memory does not grow with the run.
///
/// # Errors
/// If the records cannot be read. What contradicts them is in the report.
pub fn audit_run(
    store: &RunStore,
    packed: &PackedPages,
    config: &RunConfig,
) -> Result<AuditReport, AuditError> {
    let order = order_of(config)?;
    let global_batch = NonZeroU32::new(config.global_batch).ok_or(AuditError::EmptyStep)?;
    // In this order: what a running coordinator adds meanwhile is only more
    // rows, which the audit does not reach.
    let complete = store.complete()?;
    let generations: Vec<_> = store.generations()?.into_iter().map(|g| g.record).collect();
    let chain = chain_of(store, &generations)?;
    let until = match complete {
        Some(end) => end,
        None => reported_end(store, &chain)?,
    };
    let reader = Reader::new(store);
    let mut steps = Steps::of(&reader, PIECE, &generations, &chain.spans);
    let rows = Rows::of(&reader, PIECE);
    let fetch = |ordinal: Ordinal| {
        let row = reader.read(|store| store.row(Slot::Training(ordinal)));
        let digest = row.as_ref().and_then(PageRow::digest);
        let digest = digest.ok_or("it has no packed page")?;
        packed.read(digest).map_err(|error| error.to_string())
    };
    let audit = ledger::audit_reports(&order, global_batch, rows, &chain, &mut steps, until, fetch);
    let steps = steps.found;
    reader.finish()?;
    Ok(AuditReport {
        run_id: config.run_id.clone(),
        steps,
        complete: complete.is_some(),
        audit,
        skipped_evaluation_pages: skipped_evaluation_pages(store, &order)?,
    })
}

/// The surviving chain of generations, without its steps, and what contradicts
/// itself. The store has each report once, under its generation and step, so of
/// the contradictions among reports only one is possible: a step from before
/// its generation began.
fn chain_of(store: &RunStore, generations: &[GenerationRecord]) -> Result<Lineage, StoreError> {
    let mut chain = lineage(generations, &[]);
    for record in generations {
        let base = record.base.step;
        for early in store.steps(record.number, 0, base)? {
            chain.faults.push(LineageFault::BeforeBase {
                generation: record.number,
                step: early.report.step.number,
                base,
            });
        }
    }
    Ok(chain)
}

/// Where the surviving history ends.
fn reported_end(store: &RunStore, chain: &Lineage) -> Result<ledger::Cursor, StoreError> {
    let Some(newest) = chain.spans.last() else {
        return Ok(chain.end());
    };
    let last = store.last_step(newest.generation, newest.base.step)?;
    Ok(last.map_or(newest.base, |last| last.report.step.after()))
}

fn skipped_evaluation_pages(
    store: &RunStore,
    order: &Order,
) -> Result<Vec<SkippedEvaluationPage>, StoreError> {
    let mut skipped = Vec::new();
    for index in 0..order.config().evaluation_pages {
        if let Some(PageRow::Skipped { page, reason }) = store.row(Slot::Evaluation(index))? {
            skipped.push(SkippedEvaluationPage {
                index,
                page,
                reason,
            });
        }
    }
    Ok(skipped)
}
