//! Single histories, each about one rule of membership.

use ledger::Cursor;

use super::sim::Sim;
use crate::clock::Clock;
use crate::machine::{
    Event, FromWorker, Happening, Message, Outcome, RequestId, SessionId, StopReason, World,
};
use crate::records::CheckpointId;

/// Two workers that have formed a generation and can step.
pub(super) fn running() -> Sim {
    let mut sim = Sim::new(2, 1);
    sim.connect(0);
    sim.connect(1);
    sim.settle();
    sim
}

fn current_generation(sim: &Sim) -> u64 {
    *sim.durable.generations.keys().last().unwrap()
}

#[test]
fn two_workers_gather_form_run_and_finish() {
    let mut sim = Sim::new(2, 0);
    sim.connect(0);
    sim.settle();
    assert!(
        sim.durable.generations.is_empty(),
        "one of two is not enough"
    );
    assert!(sim.machine.status().detail.contains("1 more worker"));
    sim.run_to_the_end();
    assert_eq!(sim.exit, Some(Outcome::Complete));
    assert_eq!(sim.durable.generations.len(), 1);
    let audit = sim.audit();
    assert!(audit.is_clean(), "{:?}", audit.violations);
    let stopped = sim.workers.iter().map(|worker| worker.stopped);
    assert!(
        stopped
            .into_iter()
            .all(|reason| reason == Some(StopReason::Complete))
    );
}

#[test]
fn a_lost_worker_is_replaced_in_a_new_generation_that_keeps_the_state() {
    let mut sim = running();
    assert!(sim.step(true));
    assert!(sim.step(true));
    let reached = sim.workers[1].applied.unwrap().0;
    sim.kill(0);
    sim.settle();
    assert!(
        sim.workers[1].seat.is_none(),
        "the survivor was told to leave"
    );
    sim.connect(2);
    sim.settle();
    let kept = &sim.durable.generations[&2];
    assert_eq!(kept.record.members, ["b", "c"]);
    assert_eq!(kept.record.base, reached);
    assert!(kept.reason.contains("worker a was lost"), "{}", kept.reason);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn unreported_steps_come_with_those_who_leave() {
    let mut sim = running();
    sim.step(true);
    sim.step(false);
    // Rank 0 dies without having told; the other one knows.
    sim.kill(0);
    sim.connect(2);
    sim.settle();
    assert_eq!(sim.durable.generations[&2].record.base.step, 2);
    assert!(sim.durable.steps.contains_key(&(1, 1)));
}

#[test]
fn steps_that_no_survivor_holds_are_rolled_back_to_the_checkpoint() {
    let mut sim = running();
    while !sim
        .durable
        .checkpoints
        .contains_key(&CheckpointId::of(sim.machine.status().cursor.step, 1))
    {
        assert!(sim.step(true));
        sim.settle();
    }
    let checkpointed = sim.machine.status().cursor;
    sim.step(true);
    sim.kill(0);
    sim.kill(1);
    sim.connect(0);
    sim.connect(1);
    sim.settle();
    assert_eq!(
        sim.durable.generations.len(),
        1,
        "their lease may still run"
    );
    sim.advance(sim.settings.lease_ms / 2);
    for _ in 0..2 {
        sim.heartbeat(0);
        sim.heartbeat(1);
        sim.advance(sim.settings.lease_ms / 2);
    }
    sim.settle();
    assert_eq!(sim.durable.generations[&2].record.base, checkpointed);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn a_silent_worker_is_lost_when_its_lease_runs_out() {
    let mut sim = running();
    let lease = sim.settings.lease_ms;
    // Only the coordinator's clock moves on: nothing is heard of worker a.
    sim.now += lease / 2;
    sim.heartbeat(1);
    sim.now += lease / 2 + 1;
    sim.event(Event::Tick);
    let lost = |happening: &Happening| matches!(happening, Happening::Lost { worker, reason } if worker.0 == "a" && reason.contains("silent"));
    assert!(sim.told.iter().any(lost), "{:?}", sim.told);
}

#[test]
fn nobody_is_lost_for_what_a_coordinator_missed_by_standing_still() {
    let mut sim = running();
    let lease = sim.settings.lease_ms;
    let lost = |happening: &Happening| matches!(happening, Happening::Lost { .. });
    let mut clock = Clock::new(sim.now, lease / 10);
    let woken = sim.now + 10 * lease;
    sim.now = clock.look(woken);
    sim.event(Event::Tick);
    assert!(!sim.told.iter().any(lost), "{:?}", sim.told);
    // From then on they are silent indeed.
    for later in 1..=11 {
        sim.now = clock.look(woken + later * lease / 10);
        sim.event(Event::Tick);
    }
    assert!(sim.told.iter().any(lost), "{:?}", sim.told);
}

#[test]
fn messages_of_an_older_generation_are_dropped() {
    let mut sim = running();
    sim.step(true);
    let old = World {
        generation: 1,
        ..sim.workers[1].world
    };
    sim.disconnect(0);
    sim.settle();
    sim.connect(0);
    sim.settle();
    assert_eq!(current_generation(&sim), 2);
    let before = sim.durable.steps.len();
    let mut late = *sim.durable.steps.values().last().unwrap();
    late.report.step.number += 1;
    late.report.step.first += u64::from(late.report.step.count);
    let session = sim.workers[1].session.unwrap();
    sim.event(Event::Said {
        session,
        world: old,
        message: FromWorker::StepReports(vec![late]),
    });
    sim.event(Event::Said {
        session,
        world: old,
        message: FromWorker::Finished {
            cursor: Cursor::start(),
        },
    });
    assert_eq!(sim.durable.steps.len(), before);
    assert_eq!(sim.durable.complete, None);
}

#[test]
fn a_draining_worker_leaves_after_a_step_and_is_not_taken_again() {
    let mut sim = running();
    sim.step(true);
    sim.say(
        0,
        FromWorker::Drain {
            reason: "SIGTERM".to_owned(),
        },
    );
    let paused = |worker: usize| {
        let mut inbox = sim.workers[worker].inbox.iter();
        inbox.any(|(_, message)| matches!(message, Message::Pause { .. }))
    };
    assert!(
        paused(0) && paused(1),
        "ranks agree on the step among themselves"
    );
    sim.connect(2);
    sim.settle();
    assert_eq!(sim.durable.generations[&2].record.members, ["b", "c"]);
}

#[test]
fn the_coordinator_goes_above_any_world_that_it_hears_of() {
    let mut sim = Sim::new(1, 0);
    sim.workers[0].world = World {
        term: 5,
        generation: 9,
    };
    sim.connect(0);
    assert_eq!(sim.durable.term, 6);
    assert_eq!(current_generation(&sim), 10);
}

#[test]
fn a_worker_of_another_process_gets_another_name() {
    let mut sim = running();
    let request = RequestId(sim.number());
    let joining = crate::machine::Joining {
        name: "a".to_owned(),
        instance: "someone else".to_owned(),
        ..Default::default()
    };
    sim.event(Event::Join { request, joining });
    let answer = sim.answers[&request].clone().unwrap();
    let crate::machine::Answer::Joined { worker, .. } = answer else {
        panic!("it joined");
    };
    assert_eq!(worker.0, "a-2");
}

#[test]
fn a_session_without_a_join_is_closed() {
    let mut sim = Sim::new(1, 0);
    let effects = sim.machine.apply(
        0,
        Event::SessionOpened {
            session: SessionId(1),
            worker: "nobody".into(),
        },
    );
    assert!(
        matches!(effects[0], crate::machine::Effect::Close { .. }),
        "{effects:?}"
    );
}

#[test]
fn stopping_pauses_with_a_checkpoint_and_tells_everyone() {
    let mut sim = running();
    sim.step(true);
    sim.event(Event::ShutdownAsked);
    let asked = |(_, message): &(World, Message)| {
        matches!(
            message,
            Message::Pause {
                checkpoint: true,
                ..
            }
        )
    };
    assert!(sim.workers[0].inbox.iter().any(asked));
    sim.settle();
    assert_eq!(sim.exit, Some(Outcome::Stopped));
    assert_eq!(sim.workers[1].stopped, Some(StopReason::Shutdown));
}

#[test]
fn a_complete_run_waits_for_its_watchers() {
    let mut sim = running();
    sim.event(Event::Watching { watchers: 1 });
    for _ in 0..200 {
        for index in 0..2 {
            sim.connect(index);
            sim.heartbeat(index);
        }
        sim.settle();
        sim.step(true);
        sim.settle();
        sim.advance(100);
    }
    assert!(sim.durable.complete.is_some());
    assert_eq!(sim.exit, None, "someone still watches");
    sim.event(Event::Watching { watchers: 0 });
    assert_eq!(sim.exit, None, "it may be connecting again");
    sim.advance(sim.settings.linger_ms);
    assert_eq!(sim.exit, Some(Outcome::Complete));
}

#[test]
fn a_failed_run_stops_everyone_with_the_reason() {
    let mut sim = running();
    let reason = "gradients stayed non-finite".to_owned();
    sim.say(
        0,
        FromWorker::RunFailed {
            reason: reason.clone(),
        },
    );
    sim.settle();
    assert_eq!(sim.exit, Some(Outcome::Failed(reason)));
    assert_eq!(sim.workers[1].stopped, Some(StopReason::Failed));
}

#[test]
fn a_worker_that_went_on_unheard_is_told_to_leave() {
    let mut sim = running();
    sim.step(true);
    sim.disconnect(0);
    // Its word to the other one is still under way.
    sim.connect(0);
    let told = |(_, message): &(World, Message)| matches!(message, Message::Abort { .. });
    assert!(sim.workers[0].inbox.iter().any(told));
    sim.settle();
    assert_eq!(current_generation(&sim), 2);
    assert_eq!(sim.durable.generations[&2].record.base.step, 1);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}
