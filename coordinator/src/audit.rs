//! Comparing what was fed with the pages, along the surviving lineage.

use std::num::NonZeroU32;

use ledger::{Audit, Order, OrderConfig, OrderError, Slot, lineage};
use run::RunConfig;
use serde::Serialize;

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
/// recomputed from the packed pages on disk.
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
    let reports: Vec<_> = store.all_steps()?.iter().map(|s| s.report).collect();
    let lineage = lineage(&generations, &reports);
    let until = complete.unwrap_or_else(|| lineage.end());
    let training = store
        .rows()?
        .into_iter()
        .filter_map(|(slot, row)| match slot {
            Slot::Training(ordinal) => Some((ordinal, row)),
            Slot::Evaluation(_) => None,
        });
    let rows: Vec<_> = training.collect();
    let digests: std::collections::BTreeMap<_, _> = rows
        .iter()
        .filter_map(|(ordinal, row)| Some((*ordinal, row.digest()?)))
        .collect();
    let fetch = |ordinal| {
        let digest = digests.get(&ordinal).ok_or("it has no packed page")?;
        packed.read(*digest).map_err(|error| error.to_string())
    };
    let audit = ledger::audit(&order, global_batch, rows, &lineage, until, fetch);
    Ok(AuditReport {
        run_id: config.run_id.clone(),
        steps: lineage.steps.len() as u64,
        complete: complete.is_some(),
        audit,
    })
}
