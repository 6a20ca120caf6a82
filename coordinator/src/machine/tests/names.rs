//! Which name a worker gets, and who may have it after.

use super::sim::{Sim, settings};
use crate::machine::{Answer, Event, Joining, RequestId};

impl Sim {
    /// The name that a process which asks for `name` gets.
    fn join(&mut self, name: &str, instance: &str) -> String {
        let request = RequestId(self.number());
        let joining = Joining {
            name: name.to_owned(),
            instance: instance.to_owned(),
            ..Joining::default()
        };
        self.event(Event::Join { request, joining });
        match &self.answers[&request] {
            Ok(Answer::Joined { worker, .. }) => worker.0.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn processes_that_begin_together_under_one_name_get_two() {
    let mut sim = Sim::with_settings(settings(2), 2);
    assert_eq!(sim.join("gpu-box", "one"), "gpu-box");
    // The first one has not opened its session yet.
    assert_eq!(sim.join("gpu-box", "two"), "gpu-box-2");
    assert_eq!(sim.join("gpu-box", "one"), "gpu-box");
    // It never did: its name is free when its lease would have run out.
    let lease = sim.settings.lease_ms;
    sim.advance(lease + 1);
    assert_eq!(sim.join("gpu-box", "three"), "gpu-box");
}

#[test]
fn a_long_name_that_is_taken_is_shortened_so_that_its_worker_can_come_back() {
    let mut sim = Sim::with_settings(settings(2), 2);
    let longest = "n".repeat(64);
    assert_eq!(sim.join(&longest, "one"), longest);
    let given = sim.join(&longest, "two");
    assert_eq!(given, format!("{}-2", "n".repeat(62)));
    assert_eq!(sim.join(&given, "two"), given);
    let third = sim.join(&longest, "three");
    assert_eq!(third, format!("{}-3", "n".repeat(62)));
}
