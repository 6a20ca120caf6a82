//! A generation whose rank 0 brings a checkpoint to its machine first.

use super::sim::{Sim, settings};
use crate::machine::{Activity, Message, Millis, Settings};

/// Two workers that have heard that they are to meet; no store is open yet.
fn about_to_meet() -> Sim {
    let settings = Settings {
        lease_ms: 60_000,
        ..settings(2)
    };
    let mut sim = Sim::with_settings(settings, 2);
    sim.connect(0);
    sim.connect(1);
    assert_eq!(sim.durable.generations.len(), 1);
    for worker in &mut sim.workers {
        worker.world.generation = 1;
    }
    sim
}

/// Rank 0 says what it does, and since when.
fn beat(sim: &mut Sim, activity: Activity, activity_ms: Millis) {
    sim.advance(100);
    sim.beat(0, activity, activity_ms, None);
    sim.beat(1, Activity::Forming, 0, None);
}

fn is_aborted(sim: &Sim) -> bool {
    let mut inbox = sim.workers[1].inbox.iter();
    inbox.any(|(_, message)| matches!(message, Message::Abort { .. }))
}

#[test]
fn it_may_take_as_long_as_it_goes_on() {
    let mut sim = about_to_meet();
    let patience = sim.settings.collective_ms;
    for _ in 0..10 * patience / 100 {
        beat(&mut sim, Activity::Restoring, 40);
        assert!(!is_aborted(&sim));
    }
    // Nothing more comes.
    let mut since = 40;
    while since < patience {
        assert!(!is_aborted(&sim), "{since}");
        since += 100;
        beat(&mut sim, Activity::Restoring, since);
    }
    sim.advance(100);
    assert!(is_aborted(&sim));
}

#[test]
fn a_rank_0_that_does_something_else_is_not_waited_for_as_long() {
    let mut sim = about_to_meet();
    let patience = sim.settings.collective_ms;
    for _ in 0..=patience / 100 {
        beat(&mut sim, Activity::Forming, 40);
    }
    assert!(is_aborted(&sim));
}
