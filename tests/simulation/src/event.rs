//! What is scheduled to happen in a simulated cluster.

use coordinator::machine::{Event, Joining, Refusal, World};
use coordinator::records::{Checkpoint, CheckpointId, WorkerId};
use ledger::{PageId, PageRow, Slot};

use crate::fault::Node;
use crate::weights::Weights;

/// Something that happens at its time.
pub(crate) enum Do {
    /// A fault begins.
    Fault(usize),
    /// A fault is over, in so far as nothing else ends it.
    Heal(Healing),
    /// A machine starts.
    Boot(Node),
    /// A process that stood still goes on.
    Resume { node: Node, life: u64 },
    /// The next message of a connection reaches the coordinator.
    Up(u64),
    /// The next message of a connection reaches the worker.
    Down(u64),
    /// A batch reaches the store.
    StoreArrives(u64),
    /// Something for a coordinator's process.
    Coordinator {
        index: usize,
        life: u64,
        act: CoordinatorAct,
    },
    /// Something for a worker's process.
    Worker {
        index: usize,
        life: u64,
        act: WorkerAct,
    },
}

/// What ends a lasting fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Healing {
    Disk,
    Store,
    Leadership(usize),
    Slow(usize),
}

/// What a coordinator's process does or hears.
pub(crate) enum CoordinatorAct {
    /// Renews its leadership, or campaigns for it.
    Renew,
    /// Time passes.
    Tick,
    /// The store has answered.
    Committed { commit: u64, kept: bool },
    /// A worker calls.
    Call { caller: Caller, call: Call },
    /// A connection is found broken.
    SessionLost(u64),
    /// The files of a checkpoint were looked at.
    Verified(CheckpointId),
}

/// A unary call.
#[derive(Clone)]
pub(crate) enum Call {
    Join(Joining),
    Page {
        worker: WorkerId,
        slot: Slot,
        row: PageRow,
        term: u64,
    },
    Checkpoint {
        checkpoint: Box<Checkpoint>,
        weights: Weights,
        term: u64,
        /// Whether its files were not there before.
        is_new: bool,
    },
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) worker: usize,
    pub(crate) life: u64,
    pub(crate) attempt: u64,
}

/// An answer to a unary call.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    Joined {
        coordinator: usize,
        life: u64,
        worker: WorkerId,
        world: World,
    },
    Kept,
    /// Not now, or not here: try again.
    Unavailable,
    Refused(Refusal),
}

/// What a worker's process does or hears.
pub(crate) enum WorkerAct {
    /// Its model is built.
    Built,
    /// Calls a coordinator to join.
    Join,
    /// The session is found broken.
    SessionLost(u64),
    /// A call was answered.
    Answer {
        attempt: u64,
        answered: Answered,
    },
    /// A call was not answered in time.
    Unanswered {
        attempt: u64,
    },
    Beat,
    LeaseTimer,
    Flush,
    /// The trainer's present occupation is done.
    Trainer {
        turn: u64,
    },
    /// A collective has finished here.
    CallDone {
        generation: u64,
        number: u64,
    },
    /// A collective has failed here.
    CallFailed {
        generation: u64,
        number: u64,
        reason: &'static str,
    },
    /// The trainer is out of an aborted generation.
    Leave {
        generation: u64,
        reason: String,
    },
    /// A page is fetched and packed, or is not.
    Packed {
        slot: Slot,
        page: PageId,
    },
    /// Hands a page over.
    PutPage {
        slot: Slot,
        page: PageId,
    },
    /// Uploads the first checkpoint that waits.
    Upload {
        id: CheckpointId,
    },
    /// Its process ends in good order.
    Exit,
    /// An old message arrives.
    Straggle,
}

/// What a machine is told, with who waits for an answer.
pub(crate) enum Told {
    Event(Event),
    Call(Caller, Call),
}
