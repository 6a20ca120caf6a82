//! What a coordinator does about what happened.

use std::sync::Arc;

use ledger::{Cursor, PageId, PageRow, Slot};

use super::event::{Millis, RequestId, SessionId, World};
use super::happening::Happening;
use crate::records::{Checkpoint, CheckpointId, Evaluation, Record, WorkerId};

/// Something for the shell to do. Effects are carried out in order: a
/// [`Persist`](Effect::Persist) is durable before anything after it happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make a fact durable.
    Persist(Record),
    /// Say something to a worker.
    Send {
        /// Its session.
        session: SessionId,
        /// The world that the message belongs to.
        world: World,
        /// The message.
        message: Message,
    },
    /// Answer a call.
    Reply {
        /// The call.
        request: RequestId,
        /// The answer, or why there is none.
        answer: Result<Answer, Refusal>,
    },
    /// End a session.
    Close {
        /// The session.
        session: SessionId,
        /// What its worker is told.
        refusal: Refusal,
    },
    /// Remove a checkpoint's files once nobody reads them.
    DeleteCheckpoint(Checkpoint),
    /// Compare a checkpoint's files with its manifest, and say what was found.
    VerifyCheckpoint(Checkpoint),
    /// Tell people.
    Tell(Happening),
    /// Stop the coordinator. Nothing follows.
    Exit(Outcome),
}

/// How a coordinator's life ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The run is complete.
    Complete,
    /// It was asked to stop; the run can be resumed.
    Stopped,
    /// The run cannot go on, for this reason.
    Failed(String),
}

/// A successful answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The worker has joined.
    Joined {
        /// The name that it has from now on.
        worker: WorkerId,
        /// The coordinator's world.
        world: World,
    },
    /// Pages that training is about to need, the most urgent first.
    Coming(Vec<(Slot, PageRow)>),
    /// The page and its row are durable.
    PageKept,
    /// The checkpoint is committed.
    CheckpointKept(CheckpointId),
    /// So many bytes of checkpoints are no longer kept.
    RoomMade(u64),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason in words, and what to do.
    pub message: String,
}

/// What a caller can conclude from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The call contradicts itself or what is known; repeating it is no use.
    Invalid,
    /// The caller's world is not this one's, or it must do something first.
    Precondition,
    /// The caller has to begin again: join, and open another session.
    Again,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Invalid, message)
    }

    pub(super) fn precondition(message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Precondition, message)
    }

    pub(super) fn again(message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Again, message)
    }

    fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            message: message.into(),
        }
    }
}

/// What a worker is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Its heartbeat was heard.
    Ack {
        /// For how long it may go on without hearing anything.
        lease_ms: Millis,
        /// Every report of a step below this is durable.
        reported_steps: u64,
    },
    /// A new generation; the message's world names it.
    Form(Form),
    /// Where rank 0's store listens.
    Rendezvous {
        /// `host:port`.
        address: String,
    },
    /// Leave the generation now.
    Abort {
        /// Why, in words.
        reason: String,
    },
    /// Leave the generation together, after a step that the ranks agree on.
    Pause {
        /// Why, in words.
        reason: String,
        /// Whether to leave a durable checkpoint behind.
        checkpoint: bool,
    },
    /// Pages to fetch, pack and hand over.
    Prepare(Vec<Assignment>),
    /// Rows of the page table.
    PageRows(Arc<[(Slot, PageRow)]>),
    /// Stop working for this run.
    Stop {
        /// What kind of end it is.
        reason: StopReason,
        /// Why, in words.
        message: String,
    },
}

/// A new generation, as its members are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The generation before it; `None` for the first.
    pub parent: Option<u64>,
    /// Where it begins.
    pub base: Cursor,
    /// In rank order; one list for all of them.
    pub members: Arc<[FormMember]>,
    /// The receiver's place among them.
    pub rank: u32,
    /// Whether none of them lacks the state at `base`.
    pub all_have_state: bool,
    /// Where the state at `base` comes from.
    pub origin: Origin,
    /// The best evaluation among durable checkpoints.
    pub best: Option<Evaluation>,
}

/// A member of a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormMember {
    /// Its name.
    pub worker: WorkerId,
    /// Whether it already holds the state at the base.
    pub has_state: bool,
}

/// Where a generation's state comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This rank has it.
    Rank(u32),
    /// Rank 0 builds it from the seed, or from initial weights.
    Initial {
        /// The checkpoint with the initial weights.
        weights: Option<CheckpointId>,
    },
    /// Rank 0 restores it.
    Checkpoint(CheckpointId),
}

/// A page that a worker is to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What it is for.
    pub slot: Slot,
    /// Which page.
    pub page: PageId,
    /// For how long it is this worker's.
    pub lease_ms: Millis,
}

/// Why a worker is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The run is complete.
    Complete,
    /// The coordinator is stopping; the run can be resumed.
    Shutdown,
    /// The run cannot go on.
    Failed,
}
