//! What people are told, as values: the shell turns them into log lines.

use ledger::{Cursor, PageId, Slot};

use super::effect::Origin;
use crate::records::{Checkpoint, CheckpointId, Evaluation, Reported, WorkerId};

/// Something that matters to a person who follows the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A worker has joined.
    Joined {
        /// Its name.
        worker: WorkerId,
        /// Its device, in words.
        device: String,
    },
    /// A worker's session ended or fell silent.
    Lost {
        /// Its name.
        worker: WorkerId,
        /// What happened, in words.
        reason: String,
    },
    /// What the coordinator waits for before it forms a generation.
    Waiting {
        /// In words.
        reason: String,
    },
    /// A generation was formed.
    Formed {
        /// Its number.
        generation: u64,
        /// Its members, in rank order.
        members: Vec<WorkerId>,
        /// Where it begins.
        base: Cursor,
        /// Where the state comes from.
        origin: Origin,
        /// Why it was formed, in words.
        reason: String,
        /// Reported steps that it rolls back.
        rolled_back: u64,
    },
    /// A new coordinator leads, and a generation that went on without it is
    /// still alive.
    Adopted {
        /// Its number.
        generation: u64,
        /// Its members, in rank order.
        members: Vec<WorkerId>,
    },
    /// A member keeps the others waiting for longer than a step may take.
    Straggled {
        /// Who.
        worker: WorkerId,
        /// In which generation.
        generation: u64,
        /// What it was doing, and for how long, in words.
        doing: String,
        /// For how long the others have waited, in seconds.
        waited: f64,
        /// How long they may, in seconds.
        deadline: f64,
    },
    /// A worker that broke generation after generation is left out of them.
    SetAside {
        /// Who.
        worker: WorkerId,
        /// For how many seconds.
        seconds: f64,
        /// Why, in words.
        reason: String,
    },
    /// A worker that was set aside may take part again.
    Readmitted {
        /// Who.
        worker: WorkerId,
    },
    /// A generation's members begin to step.
    Running {
        /// Its number.
        generation: u64,
    },
    /// A generation is told to end.
    Leaving {
        /// Its number.
        generation: u64,
        /// Whether in the middle of a step.
        at_once: bool,
        /// Why, in words.
        reason: String,
    },
    /// Every member has left or is lost.
    Ended {
        /// The generation's number.
        generation: u64,
    },
    /// A step is durable.
    Stepped {
        /// Its report.
        reported: Reported,
        /// Tokens per second of the whole cluster: the median of the last steps.
        tokens_per_second: Option<f64>,
        /// Seconds until the run ends at this rate, if it ever does.
        seconds_left: Option<f64>,
    },
    /// An epoch is trained.
    EpochTrained {
        /// Counted from 0.
        epoch: u64,
        /// Mean training loss of its steps, in nats per token; `None` if some of
        /// them are too long ago for a coordinator that was started meanwhile.
        loss: Option<f64>,
    },
    /// The ranks have evaluated.
    Evaluated {
        /// The result.
        evaluation: Evaluation,
        /// Whether it is below every checkpoint's so far.
        best: bool,
    },
    /// A checkpoint is durable.
    CheckpointKept {
        /// Its manifest.
        checkpoint: Checkpoint,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A checkpoint is no longer needed.
    CheckpointDropped {
        /// Which.
        id: CheckpointId,
    },
    /// There is no room for a checkpoint; training goes on without it.
    CheckpointRefused {
        /// What is full, in words, and what to do.
        reason: String,
    },
    /// A checkpoint's files are missing or changed. It is dropped, and the run
    /// goes on from the one before where it has to.
    CheckpointDamaged {
        /// Which.
        id: CheckpointId,
        /// What is wrong, in words.
        reason: String,
    },
    /// Somebody could not read a checkpoint whose files are what they should be.
    CheckpointSound {
        /// Which.
        id: CheckpointId,
        /// What they met with, in words.
        doubt: String,
    },
    /// A page can never be read, and no step will.
    PageSkipped {
        /// What it was for.
        slot: Slot,
        /// Which page.
        page: PageId,
        /// Why, in words.
        reason: String,
    },
    /// A page could not be prepared this time.
    PageDelayed {
        /// What it is for.
        slot: Slot,
        /// Who could not.
        worker: WorkerId,
        /// How often it has failed.
        attempts: u32,
        /// Why, in words.
        reason: String,
    },
    /// A worker did or said something that it should not have.
    Fault {
        /// Who.
        worker: WorkerId,
        /// What, in words.
        what: String,
    },
    /// The run is complete.
    Complete {
        /// Where it ended.
        cursor: Cursor,
    },
    /// The run cannot go on.
    RunFailed {
        /// Why, in words.
        reason: String,
    },
    /// The coordinator begins to stop.
    Stopping,
}
