//! Single histories, each about which checkpoints stay and which go.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::sim::Sim;
use crate::machine::{
    Answer, Event, FromWorker, Happening, Outcome, RequestId, RoomWanted, Verified,
};
use crate::records::CheckpointId;

impl Sim {
    /// A worker could not restore from the latest checkpoint.
    pub(super) fn doubt(&mut self, index: usize) {
        if let Some(latest) = &self.machine.status().latest {
            let id = latest.id.clone();
            let reason = "wrong bytes".to_owned();
            self.say(index, FromWorker::CheckpointDamaged { id, reason });
        }
    }

    /// The coordinator has looked at the checkpoints that were doubted.
    pub(super) fn look(&mut self, damaged: bool) {
        for id in std::mem::take(&mut self.to_verify) {
            let verified = match damaged {
                false => Verified::Sound,
                true => Verified::Damaged {
                    reason: "a bit flipped".to_owned(),
                    rows: self.durable.rows.clone(),
                },
            };
            self.event(Event::CheckpointVerified { id, verified });
        }
    }
}

/// A cluster of one that keeps so many checkpoints, and steps.
fn running(keep: u32) -> Sim {
    let mut sim = Sim::new(1, 0);
    sim.settings.keep_checkpoints = NonZeroU32::new(keep).unwrap();
    // Enough of them for all the steps here.
    sim.settings.epochs = Some(20);
    sim.restart_coordinator();
    sim.connect(0);
    sim.settle();
    sim
}

/// Steps once, and takes a checkpoint of that with this loss.
fn step_and_keep(sim: &mut Sim, loss: f64) -> CheckpointId {
    sim.step(true);
    sim.settle();
    let cursor = sim.machine.status().cursor;
    sim.checkpoint_with(0, cursor, loss);
    CheckpointId::of(cursor.step, sim.workers[0].world.generation)
}

fn kept(sim: &Sim) -> Vec<CheckpointId> {
    sim.durable.checkpoints.keys().cloned().collect()
}

fn want_room(sim: &mut Sim, lacking: u64, in_use: &[&CheckpointId]) -> bool {
    let request = RequestId(sim.number());
    let room = RoomWanted {
        lacking,
        in_use: in_use
            .iter()
            .map(|id| (*id).clone())
            .collect::<BTreeSet<_>>(),
        reason: "the disk is full".to_owned(),
    };
    sim.event(Event::RoomWanted { request, room });
    match &sim.answers[&request] {
        Ok(Answer::RoomMade(bytes)) => {
            assert!(*bytes >= lacking);
            true
        }
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => {
            assert!(refusal.message.contains("the disk is full"));
            false
        }
    }
}

#[test]
fn the_newest_few_and_the_best_are_kept() {
    let mut sim = running(3);
    let losses = [5.0, 1.0, 5.0, 5.0, 5.0, 5.0];
    let ids: Vec<_> = losses.map(|loss| step_and_keep(&mut sim, loss)).into();
    let expected = [1, 3, 4, 5].map(|index: usize| ids[index].clone());
    assert_eq!(kept(&sim), expected);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn the_oldest_make_room_and_never_the_latest_the_best_or_one_that_is_read() {
    let mut sim = running(5);
    let losses = [1.0, 5.0, 5.0, 5.0, 5.0];
    let ids: Vec<_> = losses.map(|loss| step_and_keep(&mut sim, loss)).into();
    let size = sim.durable.checkpoints[&ids[0]].total_bytes();
    assert!(
        want_room(&mut sim, size, &[&ids[1]]),
        "the second is being read"
    );
    let expected = [0, 1, 3, 4].map(|index: usize| ids[index].clone());
    assert_eq!(kept(&sim), expected);

    assert!(
        !want_room(&mut sim, 3 * size, &[]),
        "two may go, and that is too little"
    );
    assert_eq!(kept(&sim), expected, "then none goes");
    assert!(want_room(&mut sim, size + 1, &[]));
    assert_eq!(kept(&sim), [ids[0].clone(), ids[4].clone()]);
    assert!(!want_room(&mut sim, 1, &[]));
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn people_hear_once_that_there_is_no_room() {
    let told = |sim: &Sim| {
        let refused =
            |happening: &&Happening| matches!(happening, Happening::CheckpointRefused { .. });
        sim.told.iter().filter(refused).count()
    };
    let mut sim = running(2);
    for _ in 0..3 {
        assert!(!want_room(&mut sim, 1, &[]));
    }
    assert_eq!(told(&sim), 1);
    step_and_keep(&mut sim, 1.0);
    assert!(!want_room(&mut sim, 1, &[]));
    assert_eq!(told(&sim), 2, "and again when it was better in between");
}

/// The cluster loses its state, and its worker, or another that could not
/// restore it, says that the latest checkpoint is damaged.
fn lose_everything_and_doubt(sim: &mut Sim) -> CheckpointId {
    let latest = sim.machine.status().latest.clone().unwrap().id;
    sim.kill(0);
    sim.connect(0);
    sim.doubt(0);
    assert_eq!(sim.to_verify, std::slice::from_ref(&latest));
    let before = sim.durable.generations.len();
    // The generation that nobody has left runs out, and still none is formed.
    for _ in 0..10 {
        sim.connect(0);
        sim.heartbeat(0);
        sim.settle();
        sim.advance(200);
    }
    assert_eq!(
        sim.durable.generations.len(),
        before,
        "it is being looked at"
    );
    latest
}

#[test]
fn a_damaged_checkpoint_is_dropped_and_the_one_before_is_used() {
    let mut sim = running(2);
    let first = step_and_keep(&mut sim, 5.0);
    let second = step_and_keep(&mut sim, 4.0);
    assert_eq!(lose_everything_and_doubt(&mut sim), second);
    sim.look(true);
    sim.settle();
    assert_eq!(kept(&sim), std::slice::from_ref(&first));
    let newest = sim.durable.generations.values().last().unwrap();
    assert_eq!(newest.record.base, sim.durable.checkpoints[&first].cursor);
    let told = sim.told.iter().any(
        |h| matches!(h, Happening::CheckpointDamaged { id, reason } if *id == second && reason == "a bit flipped"),
    );
    assert!(told);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn without_any_whole_checkpoint_the_run_begins_anew_with_every_row() {
    let mut sim = running(1);
    for loss in [5.0, 4.0, 3.0, 2.0] {
        step_and_keep(&mut sim, loss);
    }
    let only = lose_everything_and_doubt(&mut sim);
    assert_eq!(kept(&sim), std::slice::from_ref(&only));
    sim.look(true);
    sim.settle();
    let newest = sim.durable.generations.values().last().unwrap();
    assert_eq!(newest.record.base, ledger::Cursor::start());
    sim.run_to_the_end();
    let audit = sim.audit();
    assert!(audit.is_clean(), "{:?}", audit.violations);
    assert_eq!(sim.exit, Some(Outcome::Complete));
}

#[test]
fn a_checkpoint_that_is_whole_after_all_is_tried_again() {
    let mut sim = running(2);
    step_and_keep(&mut sim, 5.0);
    step_and_keep(&mut sim, 4.0);
    let latest = lose_everything_and_doubt(&mut sim);
    let before = kept(&sim);
    sim.look(false);
    sim.settle();
    assert_eq!(kept(&sim), before);
    let newest = sim.durable.generations.values().last().unwrap();
    assert_eq!(newest.record.base, sim.durable.checkpoints[&latest].cursor);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn a_doubt_about_what_is_no_longer_kept_changes_nothing() {
    let mut sim = running(2);
    step_and_keep(&mut sim, 5.0);
    let id = CheckpointId::of(99, 9);
    let reason = "not found".to_owned();
    sim.say(0, FromWorker::CheckpointDamaged { id, reason });
    assert!(sim.to_verify.is_empty());
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

/// Everything dies, and the coordinator is started again when nobody can be left.
fn start_over(sim: &mut Sim) {
    sim.kill(0);
    sim.advance(10 * sim.settings.lease_ms);
    sim.restart_coordinator();
}

/// A new process forms a generation, once nobody of the one before can be left.
fn meet(sim: &mut Sim) {
    sim.connect(0);
    let formed = sim.durable.generations.len();
    for _ in 0..20 {
        sim.advance(sim.settings.lease_ms / 2);
        sim.heartbeat(0);
        sim.settle();
    }
    assert!(sim.durable.generations.len() > formed);
}

#[test]
fn a_checkpoint_of_steps_that_another_coordinator_rolled_back_is_dropped() {
    let mut sim = running(3);
    let first = step_and_keep(&mut sim, 3.0);
    let second = step_and_keep(&mut sim, 2.0);
    // Another leads that has not got the second one, after everything died.
    let copy = sim.durable.checkpoints.remove(&second).unwrap();
    start_over(&mut sim);
    meet(&mut sim);
    let (_, newest) = sim.durable.generations.last_key_value().unwrap();
    assert_eq!(newest.record.base, sim.durable.checkpoints[&first].cursor);
    // The one that has it leads again, and everything died once more.
    sim.durable.checkpoints.insert(second.clone(), copy);
    start_over(&mut sim);
    assert_eq!(kept(&sim), std::slice::from_ref(&first));
    meet(&mut sim);
    let (_, newest) = sim.durable.generations.last_key_value().unwrap();
    assert_eq!(newest.record.base, sim.durable.checkpoints[&first].cursor);
}
