//! Does anyone notice? Each rule is broken on purpose, one at a time, and the
//! simulation must name it within a stated number of schedules.

use coordinator::machine::Sabotage as Machine;
use membership::Sabotage as Membership;
use simulation::{OfShell as Shell, Rule, Sabotage, first_to_notice};

/// The first schedule that notices must be among the first `within`, and name
/// one of `rules`.
fn is_noticed(sabotage: Sabotage, within: u64, rules: &[Rule]) {
    let failure = first_to_notice(0..within, sabotage);
    let Some(failure) = failure else {
        panic!("{sabotage:?} goes unnoticed in {within} schedules");
    };
    assert!(
        rules.contains(&failure.violation.rule),
        "{sabotage:?} is noticed as {:?}: {} (seed {})",
        failure.violation.rule,
        failure.violation.what,
        failure.seed
    );
    println!(
        "{sabotage:?}: schedule {} ({})",
        failure.seed, failure.violation.what
    );
}

macro_rules! noticed {
    ($($name:ident: $kind:ident::$sabotage:ident, $within:literal, [$($rule:ident),+];)+) => {
        $(
            #[test]
            fn $name() {
                let sabotage = Sabotage::from($kind::$sabotage);
                is_noticed(sabotage, $within, &[$(Rule::$rule),+]);
            }
        )+
    };
}

noticed! {
    forming_without_waiting_for_a_leave_or_the_lease:
        Machine::FormWithoutWaiting, 2000, [OneLiveGeneration];
    forgetting_the_live_generation_on_a_restart:
        Machine::ForgetGeneration, 500, [RestartKeepsGeneration, OneLiveGeneration];
    beginning_with_a_checkpoint_though_a_survivor_is_further:
        Machine::BaseFromCheckpoint, 500, [HighestWins];
    beginning_with_less_than_the_highest_applied_step:
        Machine::BaseFromLaggard, 500, [HighestWins];
    never_aborting_on_a_loss:
        Machine::NeverAbort, 500, [MembersTold];
    accepting_reports_of_a_replaced_generation:
        Machine::AcceptOldReports, 2000, [ReplacedIsSilent];
    accepting_checkpoints_that_were_rolled_back:
        Machine::AcceptOldCheckpoints, 2000, [ReplacedIsSilent];
    counting_a_report_twice:
        Machine::CountReportsTwice, 500, [StepsMonotone];
    leading_with_the_term_of_the_leader_before:
        Machine::KeepTerm, 500, [NumbersGrow];
    leaving_nobody_behind:
        Machine::LeaveNobodyBehind, 500, [Progress];
    ignoring_the_lease:
        Membership::IgnoreLease, 500, [LeaseKept, OneLiveGeneration];
    counting_the_lease_from_the_answer:
        Membership::LeaseFromAnswer, 2000, [LeaseKept, OneLiveGeneration];
    accepting_lower_terms:
        Membership::AcceptLowerTerms, 20_000, [OlderRefused, MembersTold];
    accepting_lower_generations:
        Membership::AcceptLowerGenerations, 2000, [OlderRefused];
    not_saying_again_what_nobody_acknowledged:
        Membership::ForgetReports, 2000, [HighestWins, Progress, RestartKeepsGeneration];
    sending_before_persisting:
        Shell::SendBeforePersist, 500, [DurableFirst];
    skipping_the_fence:
        Shell::SkipFencing, 2000, [OneWriter];
    serving_after_being_deposed:
        Shell::ServeWhenDeposed, 5000, [Progress, OneLiveGeneration, LeaseKept];
    applying_a_step_twice:
        Shell::ApplyTwice, 100, [ExactlyOnce];
    counting_a_step_that_was_not_applied:
        Shell::SkipStep, 100, [ExactlyOnce];
    feeding_sequences_twice:
        Shell::FeedTwice, 100, [ExactlyOnce];
    applying_ones_own_gradients_only:
        Shell::UpdateAlone, 100, [EqualWeights];
    reporting_an_epochs_last_step_late:
        Shell::ReportAfterEpoch, 2000, [HighestWins];
    blaming_a_generation_for_anothers_checkpoint:
        Shell::BlameOldCheckpoints, 5000, [Progress];
    claiming_weights_that_are_half_overwritten:
        Shell::ClaimOverwritten, 20_000, [StateAsClaimed];
}
