//! The cluster and the run of one schedule, drawn from its seed.

use std::num::NonZeroU32;

use coordinator::machine::{SetAside, Settings, Straggling};
use ledger::{Order, OrderConfig, PackedPage, PageId};

use crate::dice::Dice;
use crate::sabotage::{OfShell, Sabotage};

/// Token ids in a sequence of the simulated run.
const SL: u32 = 2;

/// What a schedule runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Coordinators; one has a store of its own, several share one and elect.
    pub coordinators: usize,
    /// Workers that the run asks for.
    pub workers: u32,
    /// With fewer nobody trains.
    pub min_workers: u32,
    /// More are kept as spares.
    pub max_workers: u32,
    /// Workers beyond those that the run begins with.
    pub spares: u32,
    /// Whether nothing goes wrong but that coordinators are started again.
    pub only_restarts: bool,
    /// Whether nothing goes wrong but that one worker of several is gone, cut off or
    /// stands still for a long time.
    pub only_one_worker: bool,
    /// Sequences per step.
    pub global_batch: NonZeroU32,
    /// Sequences per micro-batch.
    pub bs: NonZeroU32,
    /// Epochs of the run.
    pub epochs: u64,
    /// A checkpoint is taken whenever so many steps are done; 0 for the epochs'
    /// ends only.
    pub checkpoint_steps: u64,
    /// A worker's lease.
    pub lease_ms: u64,
    /// How often a worker says that it is alive.
    pub heartbeat_ms: u64,
    /// How long a collective may take.
    pub collective_ms: u64,
    /// How long a leader may go without renewing.
    pub leadership_ms: u64,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Config {
    /// The cluster and the run of a seed.
    pub fn draw(seed: u64) -> Config {
        let mut dice = Dice::new(seed, 0);
        let positive = |number: u64| NonZeroU32::new(number as u32).unwrap_or(NonZeroU32::MIN);
        let workers = 1 + dice.within(0..4) as u32;
        let spares = dice.within(0..3) as u32;
        let only_restarts = dice.chance(12);
        let mut config = Config {
            min_workers: 1 + dice.within(0..u64::from(workers)) as u32,
            only_one_worker: false,
            max_workers: workers + dice.within(0..u64::from(spares) + 2) as u32,
            only_restarts,
            coordinators: match dice.chance(50) {
                true => 1,
                false => 2 + dice.among(2),
            },
            workers,
            spares,
            global_batch: positive(dice.within(2..6)),
            bs: positive(dice.within(1..3)),
            epochs: dice.within(2..5),
            checkpoint_steps: dice.within(0..6),
            lease_ms: if only_restarts { 3000 } else { 1000 },
            heartbeat_ms: 200,
            collective_ms: 20_000,
            leadership_ms: 900,
            sabotage: None,
        };
        let all = config.workers_in_all();
        let can_spare_one = all >= 3 && (config.min_workers as usize) < all;
        if can_spare_one && !only_restarts && dice.chance(15) {
            config.only_one_worker = true;
            // So many that the run goes on for longer than anyone is waited for.
            config.epochs = 7;
        }
        config
    }

    pub(crate) fn workers_in_all(&self) -> usize {
        (self.workers + self.spares) as usize
    }

    pub(crate) fn breaks(&self, shell: OfShell) -> bool {
        self.sabotage.is_some_and(|sabotage| sabotage.is(shell))
    }

    pub(crate) fn order(&self) -> Order {
        let config = OrderConfig {
            seed: 7,
            total_pages: 60,
            evaluation_pages: 1,
            pages_per_epoch: 8,
        };
        match Order::new(config) {
            Ok(order) => order,
            Err(error) => unreachable!("the order's figures are constant: {error}"),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let workers = NonZeroU32::new(self.workers).unwrap_or(NonZeroU32::MIN);
        let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Settings {
            min_workers: positive(self.min_workers),
            max_workers: positive(self.max_workers),
            start_grace_ms: 1500,
            regather_ms: 400,
            join_settle_ms: 60,
            straggling: Straggling {
                floor_ms: 3 * self.heartbeat_ms,
                silence_ms: self.heartbeat_ms * 5 / 2,
                medians: 4.0,
                longest: 2.0,
                unwaited_deadlines: 3,
                unwaited_floor_ms: 3 * self.lease_ms,
            },
            set_aside: SetAside {
                young_steps: 2,
                breaks: 3,
                first_ms: 800,
                longest_ms: 3000,
                first_pause_ms: 50,
                longest_pause_ms: 800,
            },
            lease_ms: self.lease_ms,
            collective_ms: self.lease_ms,
            abort_ms: 600,
            pause_ms: 1500,
            page_lease_ms: 2000,
            rows_ahead_ms: 1000,
            reports_grace_ms: 300,
            sabotage: self.sabotage.and_then(Sabotage::of_machine),
            ..Settings::new(workers, self.global_batch, Some(self.epochs))
        }
    }
}

/// What the simulated data packs to: some pages are too short for a sequence.
pub(crate) fn packed(page: PageId) -> PackedPage {
    let sequences = page.0 % 4;
    let ids = (0..sequences * u64::from(SL)).map(|i| (page.0 * 7 + i) as u32);
    match PackedPage::new(page, SL, 1, ids.collect()) {
        Ok(packed) => packed,
        Err(error) => unreachable!("whole sequences were made: {error}"),
    }
}

/// Pages that can never be read.
pub(crate) fn is_unreadable(page: PageId) -> bool {
    page.0 % 17 == 5
}
