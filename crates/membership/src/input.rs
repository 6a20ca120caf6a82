//! What happens to a worker's membership, and what follows.

use ledger::{Cursor, PageId, Slot};
use proto::v1;
use proto::v1::worker_message::Body;

/// Milliseconds on a clock that never goes back. Only differences matter.
pub type Millis = u64;

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The coordinator answered a call to join.
    Joined {
        /// Its leader term.
        term: u64,
    },
    /// A session is being opened: what is said first comes out.
    Connected {
        /// For how long the trainer has waited for the other ranks, if it does.
        waited: Option<Millis>,
    },
    /// The session is over, whoever ended it.
    Disconnected,
    /// The coordinator said something in the session.
    Heard(v1::CoordinatorMessage),
    /// It is time for a heartbeat.
    Beat {
        /// For how long the trainer has waited for the other ranks, if it does.
        waited: Option<Millis>,
    },
    /// There is room for what is to be said.
    Flush,
    /// Time has passed, or something is about to be done for which the worker
    /// must still be a member.
    Tick,
    /// The trainer is about to take part in a generation.
    Entered {
        /// Its number.
        generation: u64,
    },
    /// What the trainer does now.
    Phase(v1::Phase),
    /// What the weights have applied.
    Applied(Cursor),
    /// The worker's standing changed: said now, and again after a reconnection.
    Stand {
        /// The generation that the message belongs to.
        generation: u64,
        /// What the trainer does now.
        phase: v1::Phase,
        /// The message.
        body: Body,
    },
    /// Something to be said once.
    Say {
        /// The generation that the message belongs to.
        generation: u64,
        /// The message.
        body: Body,
    },
    /// A step is done: kept until the coordinator has it.
    Stepped(v1::StepReport),
    /// The process is about to end, and leaves in good order.
    Drain {
        /// Why, in words.
        reason: String,
    },
    /// The process ends: whatever generation it is in is over for it.
    Quit,
}

/// Something to do. Outputs are carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The lease has run out: end the generation's collectives and leave it.
    GiveUp {
        /// Its number.
        generation: u64,
    },
    /// Leave a generation at once.
    Abort {
        /// Its number.
        generation: u64,
        /// Why, in words.
        reason: String,
    },
    /// Join a new generation.
    Form {
        /// Its number.
        generation: u64,
        /// Where it begins.
        base: Cursor,
        /// As the coordinator described it.
        form: v1::Form,
    },
    /// Rank 0's store of the generation listens here.
    Rendezvous {
        /// The generation's number.
        generation: u64,
        /// `host:port`.
        address: String,
    },
    /// Leave the generation together with the others after a step:
    /// [`Membership::is_pausing`](crate::Membership::is_pausing) says so from now on.
    Paused {
        /// Its number.
        generation: u64,
        /// Why, in words.
        reason: String,
    },
    /// Pages to fetch, pack and hand over.
    Prepare(Vec<(Slot, PageId)>),
    /// Rows of the page table, as they came.
    Rows(Vec<v1::PageRow>),
    /// Stop working for this run.
    Stop {
        /// What kind of end it is.
        reason: v1::stop::Reason,
        /// Why, in words.
        message: String,
    },
    /// Say something to the coordinator.
    Say(v1::WorkerMessage),
    /// A message was dropped.
    Ignored(Ignored),
}

/// Why a message was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is of another run.
    OtherRun(String),
    /// Its sender no longer leads.
    OlderTerm {
        /// The message's term.
        term: u64,
        /// The highest seen.
        highest: u64,
    },
    /// It is about a generation that is over.
    OlderGeneration {
        /// The message's generation.
        generation: u64,
        /// The highest seen.
        highest: u64,
    },
    /// A part that it must have is missing or makes no sense.
    Malformed(&'static str),
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ignored::OtherRun(run) => write!(f, "a message of another run, {run:?}"),
            Ignored::OlderTerm { term, highest } => write!(
                f,
                "a message of a leader of term {term}, after one of term {highest}"
            ),
            Ignored::OlderGeneration {
                generation,
                highest,
            } => write!(
                f,
                "a message about generation {generation}, after generation {highest}"
            ),
            Ignored::Malformed(what) => write!(f, "a message without a usable {what}"),
        }
    }
}
