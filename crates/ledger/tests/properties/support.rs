//! A made-up run: an order, its pages, and what an undisturbed training would
//! report.

use std::num::NonZeroU32;

use ledger::{
    Cursor, FedDigest, GenerationRecord, Order, OrderConfig, Ordinal, PackedPage, PageId, PageRow,
    PageTable, Planned, Step, StepReport,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases on every machine; `PROPTEST_RNG_SEED` and `PROPTEST_CASES`
/// look further.
pub(crate) fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        fixed => fixed,
    };
    ProptestConfig {
        rng_seed,
        failure_persistence: None,
        ..config
    }
}

/// Ids per sequence of every made-up page.
pub(crate) const SL: u32 = 4;

pub(crate) fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

pub(crate) fn order(
    seed: u64,
    total_pages: u64,
    evaluation_pages: u32,
    pages_per_epoch: u64,
) -> Order {
    Order::new(OrderConfig {
        seed,
        total_pages,
        evaluation_pages,
        pages_per_epoch,
    })
    .unwrap()
}

/// Everything that a small run is determined by.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) order: Order,
    pub(crate) global_batch: NonZeroU32,
    /// Sequences of each page of the run, by ordinal; `None` for a skipped one.
    pub(crate) pages: Vec<Option<u32>>,
}

impl World {
    /// The packed page at a place; of a skipped one, what it would have been.
    pub(crate) fn page(&self, ordinal: Ordinal) -> PackedPage {
        let page = self.order.page_at(ordinal);
        let sequences = self.pages[ordinal.0 as usize].unwrap_or(0);
        packed_page(page, sequences)
    }

    pub(crate) fn row(&self, ordinal: Ordinal) -> PageRow {
        match self.pages[ordinal.0 as usize] {
            Some(_) => self.page(ordinal).row(),
            None => PageRow::Skipped {
                page: self.order.page_at(ordinal),
                reason: "the source has no such rows".to_owned(),
            },
        }
    }

    pub(crate) fn rows(&self) -> Vec<(Ordinal, PageRow)> {
        (0..self.pages.len() as u64)
            .map(|ordinal| (Ordinal(ordinal), self.row(Ordinal(ordinal))))
            .collect()
    }

    pub(crate) fn empty_table(&self) -> PageTable {
        PageTable::new(self.order.clone(), self.global_batch, Cursor::start())
    }

    pub(crate) fn full_table(&self) -> PageTable {
        let mut table = self.empty_table();
        for (ordinal, row) in self.rows() {
            table.insert(ordinal, row).unwrap();
        }
        table
    }

    /// The steps of the run, and the point where the rows give out.
    pub(crate) fn steps(&self) -> (Vec<Step>, Cursor) {
        let table = self.full_table();
        let mut steps = Vec::new();
        let mut cursor = Cursor::start();
        loop {
            match table.next_step(&cursor).unwrap() {
                Planned::Step(step) => {
                    steps.push(step);
                    cursor = step.after();
                }
                Planned::EmptyEpoch { after, .. } => cursor = after,
                Planned::Unknown { .. } => return (steps, cursor),
            }
        }
    }

    /// The ids at every position of the run.
    pub(crate) fn sequences(&self) -> Vec<Vec<u32>> {
        (0..self.pages.len() as u64)
            .flat_map(|ordinal| {
                let page = self.page(Ordinal(ordinal));
                page.ids()
                    .chunks(SL as usize)
                    .map(<[u32]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// What honest ranks report of a step.
    pub(crate) fn report(&self, generation: u64, step: Step) -> StepReport {
        let sequences = self.sequences();
        let fed = step
            .positions()
            .map(|position| FedDigest::of(position, &sequences[position as usize]))
            .sum();
        StepReport {
            generation,
            step,
            loss_sum: 1.5,
            tokens: u64::from(step.count) * u64::from(SL - 1),
            sequences: u64::from(step.count),
            fed,
            grad_norm: 0.5,
            applied: true,
        }
    }
}

/// A page whose every id differs from page to page and place to place.
pub(crate) fn packed_page(page: PageId, sequences: u32) -> PackedPage {
    let ids = (0..sequences * SL)
        .map(|index| page.0 as u32 * 1000 + index)
        .collect();
    PackedPage::new(page, SL, 1, ids).unwrap()
}

pub(crate) fn generation(number: u64, parent: Option<u64>, base: Cursor) -> GenerationRecord {
    GenerationRecord {
        number,
        parent,
        base,
        members: vec![format!("worker-{number}")],
    }
}

/// Small worlds in which epochs end within steps, pages are skipped or have no
/// sequence, and whole epochs are empty.
pub(crate) fn worlds() -> impl Strategy<Value = World> {
    (any::<u64>(), 1..12_u64, 0..3_u32, 1..10_u32)
        .prop_flat_map(|(seed, training_pages, evaluation_pages, global_batch)| {
            let page = prop_oneof![
                3 => (0..7_u32).prop_map(Some),
                1 => Just(None),
            ];
            (
                Just(seed),
                Just(training_pages),
                Just(evaluation_pages),
                1..=training_pages,
                Just(global_batch),
                prop::collection::vec(page, 1..30),
            )
        })
        .prop_map(
            |(seed, training_pages, evaluation_pages, pages_per_epoch, global_batch, pages)| {
                World {
                    order: order(
                        seed,
                        training_pages + u64::from(evaluation_pages),
                        evaluation_pages,
                        pages_per_epoch,
                    ),
                    global_batch: nonzero(global_batch),
                    pages,
                }
            },
        )
}
