//! The worker's rules of membership, one by one and under random inputs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ledger::Cursor;
use membership::{Ignored, Input, Membership, Millis, Output};
use proptest::prelude::*;
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;

const LEASE: Millis = 1000;

fn membership() -> Membership {
    let context = v1::Context {
        run_id: "run".to_owned(),
        term: 3,
        generation: 0,
        worker_id: "a".to_owned(),
    };
    Membership::new(&context, LEASE, 0)
}

fn heard(term: u64, generation: u64, body: Directive) -> Input {
    Input::Heard(v1::CoordinatorMessage {
        context: Some(v1::Context {
            run_id: "run".to_owned(),
            term,
            generation,
            worker_id: String::new(),
        }),
        body: Some(body),
    })
}

fn form(term: u64, generation: u64) -> Input {
    let form = v1::Form {
        base: Some(Cursor::start().into()),
        ..Default::default()
    };
    heard(term, generation, Directive::Form(form))
}

fn abort(generation: u64) -> Input {
    let reason = "a worker was lost".to_owned();
    heard(3, generation, Directive::Abort(v1::Abort { reason }))
}

fn ack(reported_steps: u64) -> Input {
    let ack = v1::Ack {
        lease_ms: LEASE,
        reported_steps,
    };
    heard(3, 1, Directive::Ack(ack))
}

fn report(number: u64) -> Input {
    Input::Stepped(v1::StepReport {
        number,
        ..Default::default()
    })
}

fn ready(generation: u64) -> Input {
    Input::Stand {
        generation,
        phase: v1::Phase::Ready,
        body: Body::Ready(v1::Ready::default()),
    }
}

const CONNECTED: Input = Input::Connected { waited: None };
const BEAT: Input = Input::Beat { waited: None };

/// What is said, by kind.
fn said(outputs: &[Output]) -> Vec<&'static str> {
    let kind = |output: &Output| match output {
        Output::Say(message) => Some(match message.body.as_ref().unwrap() {
            Body::Heartbeat(_) => "heartbeat",
            Body::Ready(_) => "ready",
            Body::StoreListening(_) => "store listening",
            Body::StepReports(_) => "reports",
            Body::Evaluated(_) => "evaluated",
            Body::Left(_) => "left",
            Body::Finished(_) => "finished",
            Body::Drain(_) => "drain",
            Body::PageFailed(_) => "page failed",
            Body::RunFailed(_) => "run failed",
            Body::CheckpointDamaged(_) => "checkpoint damaged",
        }),
        _ => None,
    };
    outputs.iter().filter_map(kind).collect()
}

/// A member of generation 1 whose lease counts from 0.
fn member() -> Membership {
    let mut membership = membership();
    membership.apply(0, CONNECTED);
    membership.apply(0, form(3, 1));
    membership.apply(0, Input::Entered { generation: 1 });
    assert_eq!(membership.live(), Some(1));
    membership
}

#[test]
fn the_lease_counts_from_when_the_answered_heartbeat_was_sent() {
    let mut membership = member();
    membership.apply(500, ack(0));
    assert_eq!(membership.deadline(), Some(LEASE), "the opening one, at 0");
    membership.apply(600, BEAT);
    membership.apply(700, BEAT);
    assert_eq!(said(&membership.apply(700, Input::Flush)), ["heartbeat"]);
    membership.apply(900, ack(0));
    assert_eq!(membership.deadline(), Some(600 + LEASE));
}

#[test]
fn a_process_that_wakes_up_after_its_lease_gives_up_before_anything_else() {
    let mut membership = member();
    let generation = 1;
    let late = Body::StepReports(v1::StepReports::default());
    membership.apply(
        10,
        Input::Say {
            generation,
            body: late,
        },
    );
    let outputs = membership.apply(LEASE, Input::Flush);
    assert_eq!(outputs[0], Output::GiveUp { generation });
    assert!(membership.is_over(1));
    assert_eq!(membership.live(), None);
    assert_eq!(membership.deadline(), None, "it is given up once");
}

#[test]
fn an_answer_that_comes_too_late_renews_nothing() {
    let mut membership = member();
    let outputs = membership.apply(LEASE + 1, ack(0));
    assert_eq!(outputs[0], Output::GiveUp { generation: 1 });
}

#[test]
fn an_invitation_that_took_longer_than_the_lease_is_given_up_at_once() {
    let mut membership = membership();
    let outputs = membership.apply(LEASE, form(3, 1));
    assert!(matches!(outputs[0], Output::Form { generation: 1, .. }));
    assert_eq!(outputs[1], Output::GiveUp { generation: 1 });
}

#[test]
fn lower_terms_and_generations_are_refused() {
    let mut membership = member();
    let outputs = membership.apply(1, form(2, 9));
    let refused = Ignored::OlderTerm {
        term: 2,
        highest: 3,
    };
    assert_eq!(outputs, [Output::Ignored(refused)]);
    for generation in [0, 1] {
        let outputs = membership.apply(2, form(4, generation));
        let refused = Ignored::OlderGeneration {
            generation,
            highest: 1,
        };
        assert_eq!(outputs, [Output::Ignored(refused)], "whoever leads now");
    }
    assert_eq!(membership.live(), Some(1));
    assert_eq!(membership.term(), 4);
}

#[test]
fn a_generation_that_was_aborted_cannot_be_entered() {
    let mut membership = membership();
    membership.apply(0, form(3, 3));
    membership.apply(0, abort(3));
    membership.apply(0, Input::Entered { generation: 3 });
    assert!(membership.is_over(3));
    assert_eq!(membership.generation(), 0);
    assert!(matches!(
        membership.apply(0, form(3, 4))[..],
        [Output::Form { generation: 4, .. }]
    ));
}

#[test]
fn a_new_generation_ends_the_one_before_first() {
    let mut membership = member();
    let outputs = membership.apply(1, form(3, 2));
    assert!(matches!(outputs[0], Output::Abort { generation: 1, .. }));
    assert!(matches!(outputs[1], Output::Form { generation: 2, .. }));
}

#[test]
fn a_pause_is_its_generations_and_a_drain_is_not() {
    let mut membership = member();
    let pause = |generation| {
        let reason = "someone joins".to_owned();
        let checkpoint = true;
        heard(
            3,
            generation,
            Directive::Pause(v1::Pause { reason, checkpoint }),
        )
    };
    membership.apply(1, pause(2));
    assert!(!membership.is_pausing(), "nobody is in generation 2");
    membership.apply(2, pause(1));
    assert!(membership.is_pausing() && membership.is_checkpointing());
    membership.apply(3, form(3, 2));
    assert!(!membership.is_pausing() && !membership.is_checkpointing());
    let reason = "SIGTERM".to_owned();
    membership.apply(4, Input::Drain { reason });
    membership.apply(5, form(3, 3));
    assert!(membership.is_pausing() && membership.is_checkpointing());
}

#[test]
fn after_a_reconnection_reports_come_before_the_standing_they_lead_to() {
    let mut membership = member();
    for number in 0..4 {
        membership.apply(1, report(number));
    }
    membership.apply(2, ack(2));
    membership.apply(3, Input::Disconnected);
    let reason = "SIGTERM".to_owned();
    membership.apply(4, Input::Drain { reason });
    membership.apply(5, ready(1));
    let outputs = membership.apply(6, CONNECTED);
    assert_eq!(said(&outputs), ["heartbeat", "reports", "ready", "drain"]);
    let numbers: Vec<u64> = membership
        .unacknowledged()
        .iter()
        .map(|r| r.number)
        .collect();
    assert_eq!(numbers, [2, 3]);
}

#[test]
fn that_it_left_is_not_said_after_that_it_is_ready_again() {
    let mut membership = member();
    membership.apply(1, Input::Disconnected);
    let body = Body::Left(v1::Left::default());
    membership.apply(
        2,
        Input::Say {
            generation: 1,
            body,
        },
    );
    membership.apply(2, ready(1));
    let body = Body::Evaluated(v1::Evaluation::default());
    membership.apply(
        3,
        Input::Say {
            generation: 1,
            body,
        },
    );
    assert_eq!(
        said(&membership.apply(4, CONNECTED)),
        ["heartbeat", "ready", "evaluated"]
    );
}

#[test]
fn a_member_does_not_say_that_it_is_ready_for_another_generation() {
    let mut membership = membership();
    membership.apply(0, ready(0));
    membership.apply(0, form(3, 1));
    membership.apply(0, Input::Entered { generation: 1 });
    assert_eq!(said(&membership.apply(1, CONNECTED)), ["heartbeat"]);
}

#[test]
fn who_waits_for_the_others_is_reducing() {
    let mut membership = member();
    membership.apply(1, Input::Phase(v1::Phase::Training));
    let waited = Some(7);
    membership.apply(10, Input::Beat { waited });
    let outputs = membership.apply(10, Input::Flush);
    let Output::Say(message) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    let Some(Body::Heartbeat(heartbeat)) = &message.body else {
        panic!("{message:?}");
    };
    assert_eq!(heartbeat.phase(), v1::Phase::Reducing);
    assert_eq!(heartbeat.phase_ms, 7);
}

#[test]
fn who_left_before_entering_is_out_of_that_generation_whatever_gets_lost() {
    let mut membership = membership();
    membership.apply(0, form(3, 5));
    membership.apply(0, abort(5));
    let body = Body::Left(v1::Left::default());
    membership.apply(
        1,
        Input::Say {
            generation: 5,
            body,
        },
    );
    assert_eq!(membership.generation(), 5, "what its next messages name");
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => Just(CONNECTED),
        1 => Just(Input::Disconnected),
        4 => Just(BEAT),
        4 => Just(Input::Flush),
        4 => Just(Input::Tick),
        6 => (0..9_u64).prop_map(ack),
        4 => (1..6_u64, 0..9_u64).prop_map(|(term, generation)| form(term, generation)),
        2 => (0..9_u64).prop_map(abort),
        3 => (0..9_u64).prop_map(|generation| Input::Entered { generation }),
        2 => (0..9_u64).prop_map(report),
        2 => (0..9_u64).prop_map(ready),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(
        history in prop::collection::vec((0..700_u64, input()), 0..120)
    ) {
        let mut membership = membership();
        let mut now = 0;
        let mut formed = 0;
        for (passed, input) in history {
            now += passed;
            let before = membership.clone();
            let expired = before.deadline().is_some_and(|deadline| now >= deadline);
            let outputs = membership.apply(now, input);
            prop_assert!(membership.term() >= before.term());
            prop_assert!(membership.known().generation >= before.known().generation);
            let gives_up = matches!(outputs.first(), Some(Output::GiveUp { .. }));
            prop_assert_eq!(expired && before.live().is_some(), gives_up && before.live().is_some());
            if let Some(deadline) = membership.deadline() {
                prop_assert!(now < deadline, "alive, and the lease is over");
            }
            for output in &outputs {
                match output {
                    Output::Form { generation, .. } => {
                        prop_assert!(*generation > formed, "generations only grow");
                        formed = *generation;
                    }
                    Output::Say(message) => {
                        let context = message.context.clone().unwrap();
                        prop_assert_eq!(context.term, membership.term());
                    }
                    _ => {}
                }
            }
        }
    }
}
