//! Every rule's enemy: what can be broken on purpose, where, and who must
//! notice.

use coordinator::machine::Sabotage as OfMachine;
use membership::Sabotage as OfWorker;

use crate::rule::Rule;

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
    /// A rank feeds another rank's share as well as its own.
    FeedTwice,
}

impl Sabotage {
    /// Everything that can be broken, and the rules of which one must be found
    /// broken.
    pub fn all() -> Vec<(Sabotage, &'static [Rule])> {
        use Sabotage::{Machine, Membership, Shell};
        vec![
            (
                Machine(OfMachine::FormWithoutWaiting),
                &[Rule::OneLiveGeneration],
            ),
            (Machine(OfMachine::BaseFromCheckpoint), &[Rule::HighestWins]),
            (Machine(OfMachine::BaseFromLaggard), &[Rule::HighestWins]),
            (
                Machine(OfMachine::BaseUnreported),
                &[Rule::StateAsClaimed, Rule::ExactlyOnce, Rule::DurableFirst],
            ),
            (Machine(OfMachine::NeverAbort), &[Rule::MembersTold]),
            (
                Machine(OfMachine::AcceptOldReports),
                &[Rule::ReplacedIsSilent],
            ),
            (
                Machine(OfMachine::AcceptOldCheckpoints),
                &[Rule::ReplacedIsSilent],
            ),
            (
                Machine(OfMachine::CountReportsTwice),
                &[Rule::StepsMonotone],
            ),
            (
                Machine(OfMachine::ForgetGeneration),
                &[Rule::RestartKeepsGeneration, Rule::OneLiveGeneration],
            ),
            (Machine(OfMachine::KeepTerm), &[Rule::NumbersGrow]),
            (
                Membership(OfWorker::IgnoreLease),
                &[Rule::LeaseKept, Rule::OneLiveGeneration],
            ),
            (
                Membership(OfWorker::LeaseFromAnswer),
                &[Rule::LeaseKept, Rule::OneLiveGeneration],
            ),
            (
                Membership(OfWorker::AcceptLowerTerms),
                &[Rule::OlderRefused],
            ),
            (
                Membership(OfWorker::AcceptLowerGenerations),
                &[Rule::OlderRefused],
            ),
            (Membership(OfWorker::ForgetReports), &[Rule::HighestWins]),
            (Shell(OfShell::SendBeforePersist), &[Rule::DurableFirst]),
            (Shell(OfShell::SkipFencing), &[Rule::OneWriter]),
            (
                Shell(OfShell::ServeWhenDeposed),
                &[Rule::OneLiveGeneration, Rule::LeaseKept],
            ),
            (Shell(OfShell::ApplyTwice), &[Rule::ExactlyOnce]),
            (Shell(OfShell::SkipStep), &[Rule::ExactlyOnce]),
            (Shell(OfShell::ClaimOverwritten), &[Rule::StateAsClaimed]),
            (Shell(OfShell::FeedTwice), &[Rule::ExactlyOnce]),
        ]
    }

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
