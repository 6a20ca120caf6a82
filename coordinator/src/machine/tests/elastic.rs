//! Workers that come and go, hold the others up, or outlive their coordinator.

use std::num::NonZeroU32;

use super::sim::{Sim, settings};
use crate::machine::{
    Activity, Effect, Event, FromWorker, Happening, Heartbeat, Joining, Message, Millis, Refusal,
    RefusalKind, RequestId, SetAside, Settings, Straggling, World,
};
use crate::records::StepTimes;

/// Begins with two workers, goes on with one, and takes up to three.
pub(super) fn elastic() -> Settings {
    Settings {
        min_workers: NonZeroU32::MIN,
        max_workers: NonZeroU32::new(3).unwrap(),
        join_settle_ms: 50,
        straggling: Straggling {
            floor_ms: 300,
            medians: 4.0,
            longest: 2.0,
            silence_ms: 250,
            unwaited_deadlines: 10,
            unwaited_floor_ms: 2_000,
        },
        set_aside: SetAside {
            young_steps: 2,
            breaks: 3,
            first_ms: 5_000,
            longest_ms: 60_000,
            first_pause_ms: 1_000,
            longest_pause_ms: 4_000,
        },
        ..settings(2)
    }
}

/// A long run of two elastic workers that has made three steps of 100 ms.
pub(super) fn stepping(settings: Settings, processes: u32) -> Sim {
    let settings = Settings {
        epochs: Some(60),
        ..settings
    };
    let mut sim = Sim::with_settings(settings, processes);
    sim.advance(10_000);
    sim.step_times = StepTimes {
        total: 0.1,
        ..StepTimes::default()
    };
    sim.connect(0);
    sim.connect(1);
    sim.settle();
    for _ in 0..3 {
        assert!(sim.step(true));
        sim.settle();
    }
    sim
}

pub(super) fn members(sim: &Sim) -> Vec<&str> {
    let (_, newest) = sim.durable.generations.last_key_value().unwrap();
    let members = &newest.record.members;
    members.iter().map(String::as_str).collect()
}

pub(super) fn generation(sim: &Sim) -> u64 {
    *sim.durable.generations.keys().last().unwrap()
}

/// Everything that is under way to one worker arrives, and nothing else.
pub(super) fn only(sim: &mut Sim, index: usize) {
    while sim.receive(index) {}
}

pub(super) fn pass(sim: &mut Sim, ms: Millis) {
    sim.advance(ms);
    for index in 0..sim.workers.len() {
        sim.heartbeat(index);
    }
    sim.settle();
}

#[test]
fn survivors_go_on_without_waiting_for_a_replacement() {
    let mut sim = stepping(elastic(), 2);
    sim.kill(0);
    sim.settle();
    assert_eq!(members(&sim), ["b"]);
    assert_eq!(sim.durable.generations[&2].record.base.step, 3);
    assert!(sim.step(true), "no time has passed");
}

#[test]
fn a_newcomer_is_let_in_after_a_step() {
    let mut sim = stepping(elastic(), 3);
    sim.connect(2);
    assert_eq!(generation(&sim), 1, "others may come with it");
    sim.advance(50);
    let asked = |(_, message): &(World, Message)| matches!(message, Message::Pause { .. });
    assert!(sim.workers[0].inbox.iter().any(asked));
    sim.settle();
    assert_eq!(members(&sim), ["a", "b", "c"]);
    assert_eq!(sim.durable.generations[&2].reason, "worker c joins");
    assert_eq!(sim.durable.generations[&2].record.base.step, 3);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn one_change_lets_in_all_who_come_together() {
    let mut sim = stepping(
        Settings {
            max_workers: NonZeroU32::MAX,
            ..elastic()
        },
        4,
    );
    sim.connect(2);
    sim.advance(40);
    sim.connect(3);
    sim.advance(40);
    assert_eq!(generation(&sim), 1);
    pass(&mut sim, 50);
    assert_eq!(members(&sim), ["a", "b", "c", "d"]);
    assert_eq!(generation(&sim), 2);
}

#[test]
fn a_spare_interrupts_nobody_and_takes_the_place_of_one_that_is_lost() {
    let mut sim = stepping(elastic(), 4);
    sim.connect(2);
    pass(&mut sim, 50);
    assert_eq!(members(&sim), ["a", "b", "c"]);
    assert!(sim.step(true));
    sim.connect(3);
    for _ in 0..5 {
        pass(&mut sim, 100);
    }
    assert_eq!(generation(&sim), 2, "there is no seat for it");
    sim.kill(1);
    sim.settle();
    assert_eq!(members(&sim), ["a", "c", "d"]);
}

#[test]
fn with_too_few_workers_nobody_trains() {
    let settings = Settings {
        min_workers: NonZeroU32::new(2).unwrap(),
        ..elastic()
    };
    let mut sim = stepping(settings, 2);
    sim.kill(0);
    sim.settle();
    assert_eq!(generation(&sim), 1);
    assert!(sim.machine.status().detail.contains("1 more worker"));
    sim.connect(0);
    sim.settle();
    assert_eq!(generation(&sim), 2);
}

#[test]
fn a_run_that_was_killed_as_a_whole_does_not_wait_for_ever_for_all_it_had() {
    let settings = Settings {
        start_grace_ms: 1_750,
        ..elastic()
    };
    let mut sim = stepping(settings, 2);
    sim.kill(0);
    sim.kill(1);
    sim.advance(2_000);
    sim.restart_coordinator();
    sim.connect(0);
    for _ in 0..17 {
        pass(&mut sim, 100);
    }
    assert_eq!(generation(&sim), 1, "the other one may still come");
    pass(&mut sim, 100);
    assert_eq!(members(&sim), ["a"]);
}

#[test]
fn a_generation_outlives_its_coordinator() {
    let mut sim = stepping(elastic(), 2);
    sim.restart_coordinator();
    // It steps while nobody listens.
    assert!(sim.step(true));
    sim.connect(1);
    sim.settle();
    assert!(sim.step(true));
    sim.connect(0);
    sim.settle();
    assert!(sim.step(true));
    for _ in 0..30 {
        pass(&mut sim, 100);
    }
    assert_eq!(generation(&sim), 1);
    assert_eq!(sim.machine.status().cursor.step, 6);
    let adopted =
        |happening: &Happening| matches!(happening, Happening::Adopted { generation: 1, .. });
    assert!(sim.told.iter().any(adopted));
    sim.run_to_the_end();
    assert_eq!(sim.durable.generations.len(), 1);
    assert!(sim.audit().is_clean());
}

#[test]
fn steps_after_one_that_nobody_reports_are_given_up() {
    let mut sim = stepping(elastic(), 2);
    for worker in [0, 1] {
        sim.workers[worker].unacknowledged.clear();
    }
    assert!(sim.step(false));
    for worker in [0, 1] {
        sim.workers[worker].unacknowledged.clear();
    }
    assert!(sim.step(true));
    assert_eq!(sim.machine.status().cursor.step, 3, "the fourth is missing");
    for _ in 0..340 {
        pass(&mut sim, 100);
    }
    assert_eq!(generation(&sim), 2);
    let reason = &sim.durable.generations[&2].reason;
    assert!(reason.contains("nobody reported step 3"), "{reason}");
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn a_member_that_does_not_come_back_to_a_new_coordinator_is_lost() {
    let mut sim = stepping(elastic(), 2);
    sim.restart_coordinator();
    sim.connect(0);
    sim.settle();
    for _ in 0..20 {
        sim.advance(100);
        sim.heartbeat(0);
        sim.settle();
    }
    assert_eq!(members(&sim), ["a"]);
    let reason = &sim.durable.generations[&2].reason;
    assert!(reason.contains("worker b was lost"), "{reason}");
}

#[test]
fn another_process_of_a_members_name_is_not_taken_for_it() {
    let mut sim = stepping(elastic(), 2);
    sim.workers[0].session = None;
    sim.workers[0].replace();
    sim.restart_coordinator();
    sim.connect(0);
    sim.settle();
    assert_eq!(generation(&sim), 1, "the one before it may be alive");
    sim.connect(1);
    sim.settle();
    // The other one has left, so that generation is over.
    assert_eq!(generation(&sim), 2);
    assert_eq!(sim.durable.generations[&2].record.base.step, 3);
}

/// How long a new process waits, after a restart that grants another lease, for
/// a generation of which nobody comes back.
fn wait_for_the_silent(granted: Millis, from_now_on: Millis) -> Millis {
    let with_lease = |lease_ms| Settings {
        lease_ms,
        ..elastic()
    };
    let mut sim = stepping(with_lease(granted), 2);
    sim.settings.lease_ms = from_now_on;
    sim.workers[0].session = None;
    sim.workers[0].replace();
    sim.restart_coordinator();
    let restarted = sim.now;
    sim.connect(0);
    sim.settle();
    while generation(&sim) == 1 {
        sim.advance(50);
        sim.heartbeat(0);
        sim.settle();
    }
    sim.now - restarted
}

#[test]
fn a_shorter_lease_cuts_none_short_that_was_granted_before() {
    assert!(wait_for_the_silent(1000, 1000) < 8000);
    assert!(wait_for_the_silent(8000, 1000) >= 8000);
}

#[test]
fn a_generation_that_nobody_heard_of_is_given_up_at_once() {
    let mut sim = Sim::with_settings(elastic(), 2);
    sim.connect(0);
    sim.connect(1);
    assert_eq!(generation(&sim), 1);
    // The coordinator dies with the news still under way.
    sim.restart_coordinator();
    sim.connect(0);
    sim.connect(1);
    sim.settle();
    assert_eq!(generation(&sim), 2);
    assert!(sim.durable.generations[&1].ended);
}

#[test]
fn a_member_that_hangs_is_left_behind_when_others_have_waited_long_enough() {
    let mut sim = stepping(elastic(), 2);
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    // Four medians of 100 ms are the deadline.
    sim.advance(390);
    sim.beat(0, Activity::Training, 390, cursor);
    sim.beat(1, Activity::Reducing, 380, cursor);
    sim.advance(10);
    assert_eq!(generation(&sim), 1);
    sim.advance(20);
    only(&mut sim, 1);
    assert_eq!(
        members(&sim),
        ["b"],
        "the others do not wait for it to leave"
    );
    let named = |happening: &Happening| {
        matches!(happening, Happening::Straggled { worker, waited, deadline, .. }
            if worker.0 == "a" && *waited > 0.4 && *deadline == 0.4)
    };
    assert!(sim.told.iter().any(named), "{:?}", sim.told);
}

#[test]
fn nobody_is_waited_for_at_a_step_that_is_reported() {
    let mut sim = stepping(elastic(), 2);
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    sim.advance(390);
    sim.beat(0, Activity::Training, 390, cursor);
    sim.beat(1, Activity::Reducing, 380, cursor);
    // Just in time; the next heartbeats are still to come.
    assert!(sim.step(true));
    sim.advance(100);
    sim.settle();
    assert_eq!(generation(&sim), 1, "{:?}", sim.told);
    // What they say next counts, even of a step that was never reported.
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    sim.beat(0, Activity::Training, 410, cursor);
    sim.beat(1, Activity::Reducing, 410, cursor);
    sim.advance(0);
    only(&mut sim, 1);
    assert_eq!(members(&sim), ["b"]);
}

#[test]
fn a_member_that_is_stopped_is_left_behind_before_its_lease_runs_out() {
    let mut sim = stepping(elastic(), 2);
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    sim.now += 450;
    sim.beat(1, Activity::Reducing, 440, cursor);
    sim.advance(0);
    sim.settle();
    assert_eq!(members(&sim), ["b"]);
    assert!(
        sim.workers[0].session.is_none(),
        "it hears of it when it goes on"
    );
    let may_come_back = |refusal: &Refusal| refusal.kind == RefusalKind::Again;
    assert!(sim.closed.iter().all(may_come_back) && sim.closed.len() == 1);
}

#[test]
fn waiting_for_data_and_for_checkpoints_has_a_deadline_of_its_own() {
    for activity in [Activity::WaitingForData, Activity::Checkpointing] {
        let mut sim = stepping(elastic(), 2);
        let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
        sim.advance(450);
        sim.beat(0, activity, 450, cursor);
        sim.beat(1, Activity::Reducing, 440, cursor);
        sim.advance(0);
        assert_eq!(generation(&sim), 1);
        let patience = sim.settings.collective_ms;
        sim.advance(patience);
        sim.beat(0, activity, patience + 450, cursor);
        sim.beat(1, Activity::Reducing, patience + 440, cursor);
        sim.advance(0);
        only(&mut sim, 1);
        assert_eq!(members(&sim), ["b"], "{activity:?}");
    }
}

#[test]
fn a_cut_between_workers_is_nobodys_fault() {
    let mut sim = stepping(elastic(), 2);
    let cursor = sim.workers[0].applied.map(|(cursor, _)| cursor);
    for ms in [500, 1_200] {
        assert_eq!(generation(&sim), 1);
        sim.now += 200;
        sim.beat(0, Activity::Reducing, ms, cursor);
        sim.beat(1, Activity::Reducing, ms, cursor);
        sim.advance(0);
    }
    sim.settle();
    assert_eq!(members(&sim), ["a", "b"]);
    let reason = &sim.durable.generations[&2].reason;
    assert!(reason.contains("network between the workers"), "{reason}");
}

#[test]
fn a_worker_that_breaks_generation_after_generation_is_set_aside() {
    let mut sim = stepping(elastic(), 2);
    for _ in 0..3 {
        sim.kill(0);
        sim.settle();
        sim.connect(0);
        sim.step(true);
        sim.settle();
        pass(&mut sim, 60);
        assert_eq!(members(&sim), ["a", "b"]);
        // It dies before the generation has done anything.
    }
    sim.kill(0);
    sim.settle();
    sim.connect(0);
    sim.step(true);
    for _ in 0..20 {
        pass(&mut sim, 100);
        sim.step(true);
    }
    assert_eq!(members(&sim), ["b"]);
    let status = sim.machine.status();
    assert_eq!(status.workers[0].activity, "set aside");
    let told = |happening: &Happening| {
        matches!(happening, Happening::SetAside { worker, seconds, reason }
            if worker.0 == "a" && *seconds == 5.0 && reason.contains("3 generations in a row"))
    };
    assert!(sim.told.iter().any(told), "{:?}", sim.told);
    for _ in 0..40 {
        pass(&mut sim, 100);
    }
    assert_eq!(members(&sim), ["a", "b"], "it may try again");
}

#[test]
fn breaking_a_generation_that_has_come_far_is_not_held_against_anyone() {
    let mut sim = stepping(elastic(), 2);
    for _ in 0..5 {
        sim.kill(0);
        sim.settle();
        assert!(sim.step(true));
        sim.connect(0);
        pass(&mut sim, 60);
        assert_eq!(members(&sim), ["a", "b"]);
        assert!(sim.step(true) && sim.step(true));
    }
}

#[test]
fn who_drains_is_not_waited_for_and_the_others_go_on() {
    let mut sim = stepping(elastic(), 2);
    let reason = "SIGTERM".to_owned();
    sim.say(0, FromWorker::Drain { reason });
    sim.settle();
    assert_eq!(members(&sim), ["b"]);
    let reason = &sim.durable.generations[&2].reason;
    assert!(reason.contains("drains"), "{reason}");
}

#[test]
fn a_member_that_comes_back_last_still_hears_where_the_others_meet() {
    let mut sim = Sim::with_settings(elastic(), 2);
    sim.connect(0);
    sim.connect(1);
    only(&mut sim, 1);
    only(&mut sim, 0);
    assert!(sim.workers[0].seat.as_ref().unwrap().met);
    assert!(
        !sim.workers[1].seat.as_ref().unwrap().met,
        "it is on its way"
    );
    sim.restart_coordinator();
    sim.connect(0);
    let address = "host:1".to_owned();
    sim.say(0, FromWorker::StoreListening { address });
    sim.connect(1);
    only(&mut sim, 1);
    assert!(sim.workers[1].seat.as_ref().unwrap().met);
    assert_eq!(generation(&sim), 1);
}

#[test]
fn a_member_that_never_comes_back_keeps_nobody_in_an_adopted_generation() {
    let mut sim = stepping(elastic(), 2);
    sim.restart_coordinator();
    sim.kill(0);
    // Its lease ran out before there was a coordinator to tell.
    sim.leave(1);
    sim.connect(1);
    let patience = sim.settings.abort_ms;
    pass(&mut sim, patience);
    let ended = |happening: &Happening| matches!(happening, Happening::Ended { generation: 1 });
    assert!(sim.told.iter().any(ended), "{:?}", sim.told);
}

#[test]
fn a_worker_that_is_out_hears_so_before_its_lease_is_renewed() {
    let mut sim = stepping(elastic(), 3);
    // The others are out of it; what worker b hears breaks off after a word.
    sim.disconnect(1);
    sim.connect(1);
    let first = sim.workers[1].inbox.iter().map(|(_, message)| message);
    let mut first = first.filter(|m| matches!(m, Message::Ack { .. } | Message::Abort { .. }));
    assert!(matches!(first.next(), Some(Message::Abort { .. })));
}

#[test]
fn a_call_to_join_that_comes_late_ends_nothing() {
    let mut sim = stepping(elastic(), 2);
    let request = RequestId(sim.number());
    let joining = Joining {
        name: sim.workers[0].name.0.clone(),
        instance: sim.workers[0].instance.to_string(),
        ..Joining::default()
    };
    sim.event(Event::Join { request, joining });
    assert!(sim.answers[&request].is_ok());
    assert!(sim.step(true));
    sim.settle();
    assert_eq!(generation(&sim), 1);
}

#[test]
fn a_worker_that_finished_in_a_generation_that_was_lost_is_told_to_leave_it() {
    let mut sim = stepping(elastic(), 2);
    sim.disconnect(0);
    sim.connect(0);
    sim.workers[0].inbox.clear();
    let heartbeat = Heartbeat {
        activity: Activity::Finished,
        ..Heartbeat::default()
    };
    sim.say(0, FromWorker::Heartbeat(heartbeat));
    let mut heard = sim.workers[0].inbox.iter();
    assert!(heard.any(|(_, message)| matches!(message, Message::Abort { .. })));
}

#[test]
fn a_longer_lease_is_kept_with_the_generation_that_is_granted_it() {
    let mut sim = stepping(elastic(), 2);
    sim.settings.lease_ms *= 3;
    sim.restart_coordinator();
    let granted = sim.settings.lease_ms;
    assert_eq!(sim.durable.generations[&1].lease_ms, granted);
}

#[test]
fn nothing_follows_an_exit_whatever_came_with_it() {
    let mut sim = Sim::with_settings(elastic(), 1);
    let joining = Joining {
        name: "late".to_owned(),
        ..Joining::default()
    };
    let request = RequestId(sim.number());
    let events = [Event::ShutdownAsked, Event::Join { request, joining }];
    let effects = sim.machine.apply_all(sim.now, events);
    let replied = |effect: &Effect| matches!(effect, Effect::Reply { .. });
    assert!(effects.iter().any(replied), "{effects:?}");
    assert!(
        matches!(effects.last(), Some(Effect::Exit(_))),
        "{effects:?}"
    );
}
