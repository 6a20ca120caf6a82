//! Every rule's enemy: what can be broken on purpose, and where.

use coordinator::machine::Sabotage as OfMachine;
use membership::Sabotage as OfWorker;

/// Something broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// In the coordinator's state machine.
    Machine(OfMachine),
    /// In the worker's membership.
    Membership(OfWorker),
    /// In the shells that this crate models.
    Shell(OfShell),
}

/// What the shells around the decisions can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfShell {
    /// The driver says things before their records are durable.
    SendBeforePersist,
    /// The store takes in writes of leaders that were replaced.
    SkipFencing,
    /// A coordinator goes on serving when its leadership has run out.
    ServeWhenDeposed,
    /// The trainer applies a step's update twice.
    ApplyTwice,
    /// The trainer counts a step that it has not applied.
    SkipStep,
    /// A worker whose weights are half overwritten by another's state says that
    /// it holds what it held before.
    ClaimOverwritten,
    /// The last step of an epoch is reported only when the epoch's end is dealt
    /// with.
    ReportAfterEpoch,
    /// A checkpoint of steps that were rolled back, and that was refused for that,
    /// fails the run.
    BlameOldCheckpoints,
    /// A rank applies the gradients of its own share, and not the sum of all ranks'.
    UpdateAlone,
    /// A rank feeds another rank's share as well as its own.
    FeedTwice,
}

impl From<OfMachine> for Sabotage {
    fn from(sabotage: OfMachine) -> Sabotage {
        Sabotage::Machine(sabotage)
    }
}

impl From<OfWorker> for Sabotage {
    fn from(sabotage: OfWorker) -> Sabotage {
        Sabotage::Membership(sabotage)
    }
}

impl From<OfShell> for Sabotage {
    fn from(sabotage: OfShell) -> Sabotage {
        Sabotage::Shell(sabotage)
    }
}

impl Sabotage {
    pub(crate) fn of_machine(self) -> Option<OfMachine> {
        match self {
            Sabotage::Machine(sabotage) => Some(sabotage),
            _ => None,
        }
    }

    pub(crate) fn of_worker(self) -> Option<OfWorker> {
        match self {
            Sabotage::Membership(sabotage) => Some(sabotage),
            _ => None,
        }
    }

    pub(crate) fn is(self, shell: OfShell) -> bool {
        self == Sabotage::Shell(shell)
    }
}
