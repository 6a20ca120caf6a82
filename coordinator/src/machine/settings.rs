//! What the machine is told about the run and how patient to be.

use std::num::NonZeroU32;

use super::event::Millis;
use crate::records::KeptGeneration;

/// The settings of a machine. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many workers the first generation has.
    pub workers: NonZeroU32,
    /// With fewer workers than this nobody trains.
    pub min_workers: NonZeroU32,
    /// More workers than this are kept waiting as spares.
    pub max_workers: NonZeroU32,
    /// Sequences per step.
    pub global_batch: NonZeroU32,
    /// Epochs in all; `None` for a run without end.
    pub epochs: Option<u64>,
    /// A worker silent for so long is lost, and stops by itself.
    pub lease_ms: Millis,
    /// How long a run that is resumed waits for as many workers as it began
    /// with, when there are enough to go on.
    pub start_grace_ms: Millis,
    /// How long the other members of a generation that was lost as a whole are
    /// waited for, once one of them is back.
    pub regather_ms: Millis,
    /// For how long newcomers that are ready wait for others, so that one
    /// change lets all of them in.
    pub join_settle_ms: Millis,
    /// How patient the members of a generation are with each other.
    pub straggling: Straggling,
    /// When a worker that breaks generations is left out of them.
    pub set_aside: SetAside,
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
    /// How many of the newest checkpoints are kept, beside the best.
    pub keep_checkpoints: NonZeroU32,
    /// Whether to go on serving checkpoints when the run is complete.
    pub keep_serving: bool,
    /// A rule to break on purpose.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<super::Sabotage>,
}

/// How long the others may wait for one member, in a generation whose step
/// times are known: the largest of a floor, a multiple of the median, and a
/// multiple of the longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Straggling {
    /// Never less; well above the time between two heartbeats, for what is
    /// known of a worker is as old as its last one.
    pub floor_ms: Millis,
    /// So many median steps.
    pub medians: f64,
    /// So many times the longest of the last steps.
    pub longest: f64,
    /// A worker that has not been heard for so long while others wait is
    /// taken for the reason.
    pub silence_ms: Millis,
    /// A member that trains while nobody waits for it hangs after so many times
    /// as long as others would wait. A false alarm would cost a healthy
    /// generation its step, and where nobody waits a late one costs nobody else.
    pub unwaited_deadlines: u64,
    /// But not before that: copying the state for a checkpoint comes after a step
    /// and counts with it, and takes longer than steps do.
    pub unwaited_floor_ms: Millis,
}

/// When a worker that breaks generations is left out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// A generation that breaks before it has done so many steps counts
    /// against whoever broke it.
    pub young_steps: u64,
    /// So many such generations in a row are too many.
    pub breaks: u32,
    /// For how long the first time; doubled each time after.
    pub first_ms: Millis,
    /// Never longer.
    pub longest_ms: Millis,
    /// A second such generation in a row that breaks without a loss is followed by a
    /// pause of this length, doubled with each one after. Nobody may be to blame, or
    /// nobody can be done without, and each generation is a durable record.
    pub first_pause_ms: Millis,
    /// Never longer.
    pub longest_pause_ms: Millis,
}

impl Settings {
    /// Settings for a run of `workers` workers with the times that suit most
    /// networks.
    pub fn new(workers: NonZeroU32, global_batch: NonZeroU32, epochs: Option<u64>) -> Settings {
        Settings {
            workers,
            min_workers: NonZeroU32::MIN,
            max_workers: NonZeroU32::MAX,
            global_batch,
            epochs,
            lease_ms: 10_000,
            start_grace_ms: 30_000,
            regather_ms: 3_000,
            join_settle_ms: 500,
            straggling: Straggling {
                floor_ms: 3_000,
                medians: 4.0,
                longest: 2.0,
                silence_ms: 2_500,
                unwaited_deadlines: 10,
                unwaited_floor_ms: 60_000,
            },
            set_aside: SetAside {
                young_steps: 10,
                breaks: 3,
                first_ms: 60_000,
                longest_ms: 3_600_000,
                first_pause_ms: 1_000,
                longest_pause_ms: 30_000,
            },
            collective_ms: 60_000,
            abort_ms: 30_000,
            pause_ms: 120_000,
            page_lease_ms: 120_000,
            pages_per_worker: 4,
            rows_ahead_ms: 60_000,
            reports_grace_ms: 3_000,
            linger_ms: 1_000,
            farewell_ms: 5_000,
            keep_checkpoints: NonZeroU32::MIN.saturating_add(1),
            keep_serving: false,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// After so long without a word from here, a member of the newest generation
    /// has surely stopped. It counts its lease from when a message arrives, which
    /// may be a moment after this side believes that it no longer can; and the
    /// lease may be one that a coordinator before this one granted.
    pub(super) fn outlived_ms(&self, newest: Option<&KeptGeneration>) -> Millis {
        let granted = newest.map_or(0, |generation| generation.lease_ms);
        let lease = self.lease_ms.max(granted);
        lease + lease / 4
    }
}
