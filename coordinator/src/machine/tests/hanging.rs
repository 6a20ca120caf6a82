//! Members that get no further, while nobody waits for them or all are leaving.

use std::num::NonZeroU32;

use super::elastic::{elastic, generation, members, only, stepping};
use super::sim::Sim;
use crate::machine::{Activity, FromWorker, Happening, Message, Millis, Settings};

/// Four seconds are ten times what others would wait for a step of 100 ms.
const UNWAITED: Millis = 4_000;

/// Workers that are there say for how long they have been doing the same, until it
/// has been that long.
fn go_on(sim: &mut Sim, activities: &[Activity], until: Millis) {
    let begun = sim.now;
    while sim.now < begun + until {
        sim.now += 100;
        for (index, activity) in activities.iter().enumerate() {
            // The state they are in is the same all the time.
            let cursor = sim.workers[index].applied.map(|(cursor, _)| cursor);
            sim.beat(index, *activity, sim.now - begun, cursor);
            keep_lease(sim, index);
        }
        sim.advance(0);
    }
}

/// A world of one beside a spare worker, after three steps.
fn stepping_alone(settings: Settings) -> Sim {
    let mut sim = stepping(settings, 2);
    assert_eq!(members(&sim), ["a"]);
    while sim.machine.reported_steps() < 3 {
        assert!(sim.step(true));
        sim.settle();
    }
    sim
}

/// Hears nothing but that its lease goes on.
fn keep_lease(sim: &mut Sim, index: usize) {
    let now = sim.now;
    sim.workers[index].lease_from = now;
}

/// A world of one that has made three steps.
fn alone() -> Sim {
    let mut sim = stepping(elastic(), 2);
    sim.kill(1);
    sim.settle();
    assert_eq!(members(&sim), ["a"]);
    for _ in 0..3 {
        assert!(sim.step(true));
        sim.settle();
    }
    sim
}

fn told_to_leave(sim: &Sim, index: usize) -> bool {
    let mut inbox = sim.workers[index].inbox.iter();
    inbox.any(|(_, message)| matches!(message, Message::Abort { .. }))
}

/// Why a generation was told to end, most recently.
fn last_leaving(sim: &Sim) -> String {
    let mut told = sim.told.iter().rev();
    let leaving = told.find_map(|happening| match happening {
        Happening::Leaving { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    leaving.unwrap_or_default()
}

#[test]
fn the_only_member_that_hangs_is_told_to_leave() {
    let mut sim = alone();
    go_on(&mut sim, &[Activity::Training], UNWAITED);
    assert!(!told_to_leave(&sim, 0), "it may be a long step");
    go_on(&mut sim, &[Activity::Training], UNWAITED + 100);
    // Its watchdog ends a process that does not leave a generation that is over.
    assert!(told_to_leave(&sim, 0));
    let reason = last_leaving(&sim);
    assert!(
        reason.contains("its device may hang: it is training at step 6"),
        "{reason}"
    );
    // Started again, it goes on, when the lease of the one before is over.
    sim.kill(0);
    sim.connect(0);
    for _ in 0..20 {
        sim.advance(100);
        sim.heartbeat(0);
        sim.settle();
    }
    assert_eq!(generation(&sim), 3);
    assert!(sim.step(true));
}

#[test]
fn who_hangs_after_it_was_told_to_leave_keeps_nobody_waiting_for_longer_than_a_lease() {
    let settings = Settings {
        max_workers: NonZeroU32::MIN,
        ..elastic()
    };
    let mut sim = stepping_alone(settings);
    let both = [Activity::Training, Activity::Ready];
    go_on(&mut sim, &both, UNWAITED + 100);
    assert!(told_to_leave(&sim, 0));
    // Its session has heard it, and goes on to say what its device does.
    sim.workers[0].seat = None;
    sim.workers[0].inbox.clear();
    let lease = sim.settings.lease_ms;
    let begun = sim.now;
    while generation(&sim) == 1 {
        let waits = sim.machine.status().detail;
        assert!(sim.now <= begun + 2 * lease, "{waits}");
        sim.now += 100;
        let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
        sim.beat(0, Activity::Training, UNWAITED + sim.now - begun, cursor);
        sim.heartbeat(1);
        keep_lease(&mut sim, 1);
        sim.advance(0);
    }
    assert_eq!(members(&sim), ["b"]);
}

#[test]
fn members_that_all_hang_in_the_same_place_are_told_to_leave() {
    let mut sim = stepping(elastic(), 2);
    go_on(&mut sim, &[Activity::Training; 2], UNWAITED);
    assert!(!told_to_leave(&sim, 0) && !told_to_leave(&sim, 1));
    go_on(&mut sim, &[Activity::Training; 2], UNWAITED + 100);
    assert!(told_to_leave(&sim, 0) && told_to_leave(&sim, 1));
}

#[test]
fn what_has_no_length_of_its_own_is_no_hang() {
    for activity in [
        Activity::Forming,
        Activity::Restoring,
        Activity::WaitingForData,
        Activity::Checkpointing,
    ] {
        let mut sim = alone();
        go_on(&mut sim, &[activity], 20 * UNWAITED);
        assert!(!told_to_leave(&sim, 0), "{activity:?}");
    }
}

#[test]
fn one_batch_of_an_evaluation_takes_no_longer_than_a_step() {
    let mut sim = alone();
    for _ in 0..10 {
        // The activity begins anew with each batch.
        go_on(&mut sim, &[Activity::Evaluating], UNWAITED);
    }
    assert!(!told_to_leave(&sim, 0), "a long evaluation is no hang");
    go_on(&mut sim, &[Activity::Evaluating], UNWAITED + 100);
    assert!(told_to_leave(&sim, 0));
    let reason = last_leaving(&sim);
    assert!(
        reason.contains("its device may hang: it is evaluating at step 6"),
        "{reason}"
    );
}

#[test]
fn who_hangs_in_an_evaluation_that_others_have_done_is_left_behind() {
    let mut sim = stepping(elastic(), 2);
    let both = [Activity::Evaluating, Activity::Reducing];
    go_on(&mut sim, &both, UNWAITED);
    assert!(!told_to_leave(&sim, 0), "it may have more to evaluate");
    go_on(&mut sim, &both, UNWAITED + 100);
    assert!(told_to_leave(&sim, 0) && last_leaving(&sim).contains("a was lost"));
    only(&mut sim, 1);
    assert_eq!(members(&sim), ["b"]);
}

#[test]
fn steps_that_are_long_but_end_are_no_hang() {
    let mut sim = alone();
    for _ in 0..10 {
        go_on(&mut sim, &[Activity::Training], UNWAITED - 100);
        assert!(sim.step(true));
        sim.settle();
    }
    assert_eq!(generation(&sim), 2);
}

#[test]
fn a_first_step_may_take_as_long_as_a_collective() {
    let settings = Settings {
        collective_ms: 30_000,
        ..elastic()
    };
    let mut sim = stepping(settings, 2);
    sim.kill(1);
    sim.settle();
    assert_eq!(members(&sim), ["a"]);
    go_on(&mut sim, &[Activity::Training], 30_000);
    assert!(
        !told_to_leave(&sim, 0),
        "nobody knows how long steps take it"
    );
    go_on(&mut sim, &[Activity::Training], 30_100);
    assert!(told_to_leave(&sim, 0));
}

#[test]
fn one_that_hangs_in_the_step_before_a_pause_is_left_behind() {
    let mut sim = stepping(elastic(), 2);
    let reason = "SIGTERM".to_owned();
    // Everyone is to leave after the step that is under way, which worker a hangs in.
    sim.say(1, FromWorker::Drain { reason });
    assert!(last_leaving(&sim).contains("drains"));
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    sim.advance(410);
    sim.beat(0, Activity::Training, 410, cursor);
    sim.beat(1, Activity::Reducing, 405, cursor);
    sim.advance(0);
    let straggled = |happening: &Happening| matches!(happening, Happening::Straggled { worker, .. } if worker.0 == "a");
    assert!(sim.told.iter().any(straggled), "{:?}", sim.told);
    only(&mut sim, 1);
    let at_once =
        |happening: &Happening| matches!(happening, Happening::Leaving { at_once: true, .. });
    assert!(sim.told.iter().any(at_once));
}

#[test]
fn who_stores_a_checkpoint_before_it_leaves_does_not_hang() {
    let mut sim = stepping(elastic(), 2);
    let reason = "SIGTERM".to_owned();
    sim.say(1, FromWorker::Drain { reason });
    // The other one has left after the agreed step.
    sim.leave(1);
    go_on(&mut sim, &[Activity::Training], 2 * UNWAITED);
    let pause = last_leaving(&sim);
    assert!(pause.contains("drains"), "{pause}");
}
