//! What the machine is told about the run and how patient to be.

use std::num::NonZeroU32;

use super::event::Millis;

/// The settings of a machine. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many workers a generation has.
    pub workers: NonZeroU32,
    /// Sequences per step.
    pub global_batch: NonZeroU32,
    /// Epochs in all; `None` for a run without end.
    pub epochs: Option<u64>,
    /// A worker silent for so long is lost, and stops by itself.
    pub lease_ms: Millis,
    /// How long rank 0 may take to open the store at which a group meets.
    pub collective_ms: Millis,
    /// How long members may take to leave in the middle of a step.
    pub abort_ms: Millis,
    /// How long members may take to agree on a step after which they leave.
    pub pause_ms: Millis,
    /// How long one worker may take over a page before another gets it.
    pub page_lease_ms: Millis,
    /// How many pages one worker prepares at a time.
    pub pages_per_worker: usize,
    /// How much work the page table must cover ahead of the steps.
    pub rows_ahead_ms: Millis,
    /// How long a worker that holds unreported steps is waited for.
    pub reports_grace_ms: Millis,
    /// How long to stay after the run is complete and the last watcher gone,
    /// for one that is just connecting again.
    pub linger_ms: Millis,
    /// How long workers may take to hang up once told to stop.
    pub farewell_ms: Millis,
    /// Whether to go on serving checkpoints when the run is complete.
    pub keep_serving: bool,
    /// A rule to break on purpose.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<super::Sabotage>,
}

impl Settings {
    /// Settings for a run of `workers` workers with the times that suit most
    /// networks.
    pub fn new(workers: NonZeroU32, global_batch: NonZeroU32, epochs: Option<u64>) -> Settings {
        Settings {
            workers,
            global_batch,
            epochs,
            lease_ms: 10_000,
            collective_ms: 60_000,
            abort_ms: 30_000,
            pause_ms: 120_000,
            page_lease_ms: 120_000,
            pages_per_worker: 4,
            rows_ahead_ms: 60_000,
            reports_grace_ms: 3_000,
            linger_ms: 1_000,
            farewell_ms: 5_000,
            keep_serving: false,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// After so long without a word from here, a worker has surely stopped. It
    /// counts its lease from when a message arrives, which may be a moment after
    /// this side believes that it no longer can.
    pub(super) fn outlived_ms(&self) -> Millis {
        self.lease_ms + self.lease_ms / 4
    }
}
