//! What can happen to a coordinator.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Cursor, PageRow, Slot};

use crate::records::{Checkpoint, CheckpointId, Evaluation, Reported, WorkerId};

/// Milliseconds on a clock that never goes back. Only differences matter.
pub type Millis = u64;

/// One session of one worker: the stream that it keeps open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A call that waits for its [`Answer`](super::Answer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened outside of the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker introduces itself.
    Join {
        /// Who waits for the answer.
        request: RequestId,
        /// What it says of itself.
        joining: Joining,
    },
    /// A worker that is not ready yet would like to have the pages at hand that
    /// are needed next.
    ComingPagesAsked {
        /// Who waits for the answer.
        request: RequestId,
    },
    /// A worker that has joined opens its session.
    SessionOpened {
        /// The new session; never used before.
        session: SessionId,
        /// The name that it was given when it joined.
        worker: WorkerId,
    },
    /// A session is over, whoever ended it.
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// A worker says something in its session.
    Said {
        /// In which session.
        session: SessionId,
        /// The world that the speaker lives in.
        world: World,
        /// What it says.
        message: FromWorker,
    },
    /// A packed page is on disk, and could become a row of the page table.
    PagePut {
        /// Who waits for the answer.
        request: RequestId,
        /// Who prepared it.
        worker: WorkerId,
        /// What it is for.
        slot: Slot,
        /// The row that describes it.
        row: PageRow,
    },
    /// A checkpoint is whole and on disk, and could be committed.
    CheckpointStored {
        /// Who waits for the answer.
        request: RequestId,
        /// Its manifest.
        checkpoint: Checkpoint,
    },
    /// A checkpoint is about to be uploaded, and there is no room for it.
    RoomWanted {
        /// Who waits for the answer.
        request: RequestId,
        /// How much, and why.
        room: RoomWanted,
    },
    /// Somebody could not read a checkpoint.
    CheckpointDoubted {
        /// Which.
        id: CheckpointId,
        /// What was wrong, in words.
        reason: String,
    },
    /// A checkpoint's files were compared with its manifest.
    CheckpointVerified {
        /// Which.
        id: CheckpointId,
        /// What was found.
        verified: Verified,
    },
    /// The number of clients that watch or read checkpoints has changed.
    Watching {
        /// How many there are now.
        watchers: usize,
    },
    /// The coordinator was asked to stop.
    ShutdownAsked,
    /// Time has passed.
    Tick,
}

/// The term and generation that a message's sender lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Leader term.
    pub term: u64,
    /// Generation; 0 before the first.
    pub generation: u64,
}

/// What a worker says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// The name that it would like.
    pub name: String,
    /// Drawn when its process started.
    pub instance: String,
    /// Device, precision and threads, in words.
    pub device: String,
    /// The highest term and generation that its process has seen.
    pub world: World,
}

/// Room for a checkpoint that is about to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomWanted {
    /// Bytes that are missing.
    pub lacking: u64,
    /// Checkpoints that somebody reads: their bytes cannot be had yet.
    pub in_use: BTreeSet<CheckpointId>,
    /// What is full, in words, and what to do.
    pub reason: String,
}

/// What a look at a checkpoint's files has shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Verified {
    /// They are what the manifest says, or at least not known to be anything else.
    Sound,
    /// They are not.
    Damaged {
        /// What is wrong, in words.
        reason: String,
        /// Every row of the page table. The run may have to go back further
        /// than rows are remembered.
        rows: BTreeMap<Slot, PageRow>,
    },
}

/// A sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// What the worker is doing.
    pub activity: Activity,
    /// For how long it has been doing that.
    pub activity_ms: Millis,
    /// Where it stands.
    pub cursor: Option<Cursor>,
}

/// What a worker says in its session.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// It is alive.
    Heartbeat(Heartbeat),
    /// Its model is built and it can be put into a generation.
    Ready {
        /// What its weights and state have applied, if it has any.
        applied: Option<Cursor>,
        /// The generation in which it applied the last of that.
        applied_generation: u64,
    },
    /// It is rank 0 and its store accepts connections.
    StoreListening {
        /// `host:port`.
        address: String,
    },
    /// Steps that every rank has done.
    StepReports(Vec<Reported>),
    /// The ranks have evaluated.
    Evaluated(Evaluation),
    /// It is out of the generation that its world names.
    Left {
        /// Reports that were not acknowledged.
        reports: Vec<Reported>,
        /// Why, in words; empty when it was asked to.
        reason: String,
    },
    /// The last epoch is trained, evaluated and checkpointed.
    Finished {
        /// The run's end.
        cursor: Cursor,
    },
    /// It would like to leave after a step of everyone's.
    Drain {
        /// Why, in words.
        reason: String,
    },
    /// The run cannot go on, whoever trains it.
    RunFailed {
        /// Why, in words.
        reason: String,
    },
    /// It could not restore from a checkpoint: a file is missing, or has not
    /// its hash.
    CheckpointDamaged {
        /// Which.
        id: CheckpointId,
        /// What was wrong, in words.
        reason: String,
    },
    /// A page that it was assigned cannot be prepared.
    PageFailed {
        /// What the page is for.
        slot: Slot,
        /// Why, in words.
        reason: String,
        /// Whether it can never be.
        permanent: bool,
    },
}

/// What a worker does, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Builds its model.
    #[default]
    Starting,
    /// Waits for a generation.
    Ready,
    /// Builds the process group and takes the state.
    Forming,
    /// Brings a checkpoint from the coordinator to its machine, as rank 0 does
    /// before the others meet it; anew whenever more of it has come.
    Restoring,
    /// Waits for packed pages.
    WaitingForData,
    /// Computes its share of a step.
    Training,
    /// Has done its part of a step and waits for the others.
    Reducing,
    /// Copies its state for a checkpoint, or waits until it is stored.
    Checkpointing,
    /// Evaluates one batch after the other; anew with each.
    Evaluating,
    /// Has reached the run's end.
    Finished,
}

impl Activity {
    /// Whether only a member of a generation does this.
    pub(super) fn is_in_generation(self) -> bool {
        match self {
            Activity::Starting | Activity::Ready | Activity::Finished => false,
            Activity::Forming
            | Activity::WaitingForData
            | Activity::Training
            | Activity::Reducing
            | Activity::Checkpointing
            | Activity::Restoring
            | Activity::Evaluating => true,
        }
    }

    /// The activity in a word or two.
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Starting => "starting",
            Activity::Ready => "ready",
            Activity::Forming => "forming",
            Activity::WaitingForData => "waiting for data",
            Activity::Training => "training",
            Activity::Reducing => "reducing",
            Activity::Checkpointing => "checkpointing",
            Activity::Restoring => "restoring",
            Activity::Evaluating => "evaluating",
            Activity::Finished => "finished",
        }
    }
}
