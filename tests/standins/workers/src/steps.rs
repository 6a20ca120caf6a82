//! The steps that all simulated workers take: planned once, by rank 0's ears.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use ledger::{
    Cursor, FedDigest, Order, OrderConfig, PackedPage, PageId, PageRow, PageTable, Planned, Slot,
    StepReport,
};
use proto::v1;
use run::RunConfig;
use tokio::sync::Notify;

/// Sequences of a made-up page: as many as a page of web text has.
const SEQUENCES_PER_PAGE: u32 = 50;

/// What the workers of one process know together.
#[derive(Debug, Default)]
pub(crate) struct SharedRun {
    plan: Mutex<Option<Plan>>,
    running: AtomicUsize,
    one_more_runs: Notify,
}

#[derive(Debug)]
struct Plan {
    order: Order,
    batch: NonZeroU32,
    rows: BTreeMap<Slot, PageRow>,
    cursor: Cursor,
    generation: u64,
    /// Every step that could be planned so far, by number.
    reports: Vec<v1::StepReport>,
}

impl SharedRun {
    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a generation; rank 0 calls this, and hears the rows.
    pub(crate) fn begin(
        &self,
        config: &RunConfig,
        generation: u64,
        base: Cursor,
    ) -> anyhow::Result<()> {
        let order = OrderConfig {
            seed: config.seed,
            total_pages: config.data.pages(),
            evaluation_pages: config.eval_pages,
            pages_per_epoch: config.pages_per_epoch,
        };
        let batch = NonZeroU32::new(config.global_batch).context("a global batch of 0")?;
        *self.plan() = Some(Plan {
            order: Order::new(order)?,
            batch,
            rows: BTreeMap::new(),
            cursor: base,
            generation,
            reports: Vec::new(),
        });
        Ok(())
    }

    /// Takes in rows, and plans as many steps as they allow.
    pub(crate) fn add_rows(&self, rows: Vec<v1::PageRow>) -> anyhow::Result<()> {
        let mut plan = self.plan();
        let Some(plan) = plan.as_mut() else {
            return Ok(());
        };
        for row in rows {
            let (slot, row) = row.try_into()?;
            plan.rows.insert(slot, row);
        }
        plan.go_on()
    }

    /// The report of the `number`-th step of the generation, once it can be
    /// planned.
    pub(crate) fn report(&self, number: usize) -> Option<v1::StepReport> {
        self.plan().as_ref()?.reports.get(number).cloned()
    }

    /// Counts one more worker that is in a running generation.
    pub(crate) fn runs(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.one_more_runs.notify_one();
    }

    /// Waits until so many are.
    pub(crate) async fn everyone_runs(&self, workers: usize) {
        while self.running.load(Ordering::SeqCst) < workers {
            self.one_more_runs.notified().await;
        }
    }
}

impl Plan {
    fn go_on(&mut self) -> anyhow::Result<()> {
        let mut table = PageTable::new(self.order.clone(), self.batch, self.cursor);
        for (slot, row) in &self.rows {
            if let Slot::Training(ordinal) = slot
                && *ordinal >= self.cursor.page.ordinal
            {
                table.insert(*ordinal, row.clone())?;
            }
        }
        while let Planned::Step(step) = table.next_step(&self.cursor)? {
            let report = StepReport {
                generation: self.generation,
                step,
                loss_sum: 6.5 * f64::from(step.count),
                tokens: u64::from(step.count) * 3,
                sequences: u64::from(step.count),
                fed: FedDigest::of(step.first, &[1, 2, 3, 4]),
                grad_norm: 1.25,
                applied: true,
            };
            self.reports.push(v1::StepReport {
                learning_rate: 3e-4,
                times: Some(v1::StepTimes {
                    total: 0.5,
                    data: 0.01,
                    forward: 0.15,
                    backward: 0.25,
                    communication: 0.07,
                    optimizer: 0.02,
                    checkpoint: 0.0,
                }),
                ..v1::StepReport::from(&report)
            });
            self.cursor = step.after();
        }
        self.rows.retain(|slot, _| match slot {
            Slot::Evaluation(_) => false,
            Slot::Training(ordinal) => *ordinal >= self.cursor.page.ordinal,
        });
        Ok(())
    }
}

/// What a made-up page packs to.
pub(crate) fn packed(page: PageId, sl: u32) -> anyhow::Result<PackedPage> {
    let ids = (0..SEQUENCES_PER_PAGE * sl).map(|id| id % 50_000);
    Ok(PackedPage::new(page, sl, 0, ids.collect())?)
}
