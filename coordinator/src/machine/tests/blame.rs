//! Who is blamed for generations that break soon after they are formed, and how
//! often they are formed again.

use std::num::NonZeroU32;

use super::elastic::{elastic, generation, only, pass, stepping};
use super::sim::Sim;
use crate::machine::{FromWorker, Happening, Message, SetAside, Settings};
use crate::records::WorkerId;

/// Something fails where a worker is; it leaves its generation for that.
fn fail(sim: &mut Sim, index: usize, reason: &str) {
    let worker = &mut sim.workers[index];
    assert!(worker.seat.take().is_some(), "it is in no generation");
    let reports = worker.unacknowledged.clone();
    let reason = reason.to_owned();
    sim.say(index, FromWorker::Left { reports, reason });
    sim.ready(index);
}

fn set_aside(sim: &Sim) -> Vec<WorkerId> {
    let told = sim.told.iter();
    let names = told.filter_map(|happening| match happening {
        Happening::SetAside { worker, .. } => Some(worker.clone()),
        _ => None,
    });
    names.collect()
}

/// Time passes until the next generation is formed; how long that is.
fn wait_for_the_next(sim: &mut Sim) -> u64 {
    let (before, begun) = (generation(sim), sim.now);
    while generation(sim) == before {
        sim.settle();
        if generation(sim) == before {
            pass(sim, 50);
        }
        assert!(sim.now < begun + 100_000, "no generation follows");
    }
    sim.settle();
    sim.now - begun
}

fn three() -> Settings {
    Settings {
        workers: NonZeroU32::new(3).unwrap(),
        ..elastic()
    }
}

/// A run of three workers of which nobody has done anything yet.
fn three_that_met() -> Sim {
    let settings = Settings {
        epochs: Some(60),
        ..three()
    };
    let mut sim = Sim::with_settings(settings, 3);
    for index in 0..3 {
        sim.connect(index);
    }
    sim.settle();
    assert_eq!(generation(&sim), 1);
    sim
}

const COLLECTIVE: &str = "a peer is gone: connection closed";

#[test]
fn who_complains_first_is_not_blamed_when_others_complain_as_well() {
    let mut sim = three_that_met();
    for _ in 0..6 {
        fail(&mut sim, 0, COLLECTIVE);
        // It failed there before the news came.
        fail(&mut sim, 1, COLLECTIVE);
        wait_for_the_next(&mut sim);
    }
    assert!(set_aside(&sim).is_empty());
}

#[test]
fn who_complains_alone_now_and_then_is_not_blamed() {
    let mut sim = three_that_met();
    for turn in 0..9 {
        fail(&mut sim, turn % 3, COLLECTIVE);
        wait_for_the_next(&mut sim);
    }
    assert!(set_aside(&sim).is_empty());
}

#[test]
fn who_alone_complains_again_and_again_is_set_aside_also_of_two() {
    let mut sim = stepping(elastic(), 2);
    fail(&mut sim, 1, COLLECTIVE);
    wait_for_the_next(&mut sim);
    assert!(set_aside(&sim).is_empty(), "that generation had come far");
    for _ in 0..3 {
        assert!(set_aside(&sim).is_empty());
        fail(&mut sim, 1, COLLECTIVE);
        wait_for_the_next(&mut sim);
    }
    assert_eq!(set_aside(&sim), [WorkerId::from("b")]);
    let members = &sim.durable.generations[&generation(&sim)].record.members;
    assert_eq!(*members, ["a"], "the other one goes on");
}

#[test]
fn a_worker_that_cannot_begin_is_blamed_for_that_also_of_two() {
    let settings = Settings {
        workers: NonZeroU32::new(2).unwrap(),
        ..elastic()
    };
    let mut sim = Sim::with_settings(settings, 2);
    sim.connect(0);
    sim.connect(1);
    for _ in 0..3 {
        assert!(set_aside(&sim).is_empty());
        // It is asked to open the store.
        while sim.workers[0].seat.is_none() {
            let form = sim.workers[0].inbox.pop_front();
            let Some((world, message)) = form else {
                pass_without_hearing(&mut sim);
                continue;
            };
            sim.workers[0].world.term = world.term;
            if let Message::Form(form) = message {
                sim.workers[0].world.generation = world.generation;
                sim.workers[0].seat = Some(super::worker::SimSeat {
                    number: world.generation,
                    cursor: form.base,
                    weights: Vec::new(),
                    serves: true,
                    met: false,
                });
            }
        }
        fail(&mut sim, 0, "cannot listen on --store-port 29500");
        only(&mut sim, 1);
    }
    assert_eq!(set_aside(&sim), [WorkerId::from("a")]);
}

fn pass_without_hearing(sim: &mut Sim) {
    sim.advance(50);
    sim.heartbeat(0);
    sim.heartbeat(1);
    only(sim, 1);
    assert!(sim.now < 100_000, "no generation follows");
}

#[test]
fn generations_that_break_at_once_are_formed_ever_more_slowly() {
    let settings = Settings {
        // Nobody can be done without.
        min_workers: NonZeroU32::new(2).unwrap(),
        ..elastic()
    };
    let mut sim = stepping(settings, 2);
    fail(&mut sim, 0, COLLECTIVE);
    assert_eq!(wait_for_the_next(&mut sim), 0, "it had come far");
    let mut pauses = Vec::new();
    for _ in 0..7 {
        fail(&mut sim, 0, COLLECTIVE);
        pauses.push(wait_for_the_next(&mut sim));
    }
    assert_eq!(pauses, [0, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000]);
    let waiting = |happening: &Happening| {
        matches!(happening, Happening::Waiting { reason }
            if reason.contains("in a row broke") && reason.contains(COLLECTIVE))
    };
    assert!(sim.told.iter().any(waiting), "{:?}", sim.told);
    // One that gets somewhere makes up for all.
    for _ in 0..2 {
        assert!(sim.step(true));
        sim.settle();
    }
    fail(&mut sim, 0, COLLECTIVE);
    assert_eq!(wait_for_the_next(&mut sim), 0);
}

#[test]
fn a_generation_that_is_lost_is_followed_by_the_next_at_once() {
    let mut sim = stepping(
        Settings {
            set_aside: SetAside {
                breaks: 100,
                ..elastic().set_aside
            },
            ..elastic()
        },
        2,
    );
    for _ in 0..4 {
        let before = generation(&sim);
        sim.kill(0);
        sim.settle();
        assert_eq!(generation(&sim), before + 1, "no time has passed");
        sim.connect(0);
        assert!(sim.step(true));
        sim.settle();
        pass(&mut sim, 60);
        assert_eq!(generation(&sim), before + 2);
    }
}

#[test]
fn a_failure_in_the_step_before_a_pause_ends_the_wait_for_that_step() {
    let mut sim = stepping(elastic(), 2);
    let reason = "SIGTERM".to_owned();
    sim.say(1, FromWorker::Drain { reason });
    fail(&mut sim, 0, COLLECTIVE);
    let at_once =
        |happening: &Happening| matches!(happening, Happening::Leaving { at_once: true, .. });
    assert!(sim.told.iter().any(at_once), "{:?}", sim.told);
}
