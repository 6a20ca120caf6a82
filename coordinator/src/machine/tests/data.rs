//! Single histories, each about one rule of pages and checkpoints.

use ledger::{PageRow, Slot};

use super::scenarios::running;
use super::sim::{Sim, packed};
use crate::machine::{Event, FromWorker, Happening, RefusalKind, RequestId};

fn put(sim: &mut Sim, slot: Slot, row: PageRow) -> Result<(), RefusalKind> {
    let request = RequestId(sim.number());
    let worker = sim.workers[0].name.clone();
    sim.event(Event::PagePut {
        request,
        worker,
        slot,
        row,
    });
    let answer = sim.answers.remove(&request).unwrap();
    answer.map(|_| ()).map_err(|refusal| refusal.kind)
}

#[test]
fn a_page_whose_lease_runs_out_goes_to_another_worker() {
    let mut sim = Sim::new(2, 0);
    sim.connect(0);
    sim.receive(0);
    while sim.receive(0) {}
    let stuck = sim.workers[0].work.remove(0);
    sim.connect(1);
    for _ in 0..3 {
        sim.advance(sim.settings.lease_ms / 2);
        sim.heartbeat(0);
        sim.heartbeat(1);
        sim.settle();
    }
    assert!(!sim.durable.rows.contains_key(&stuck.slot));
    // The lease runs out, and then the pause before another attempt.
    for _ in 0..4 {
        sim.advance(sim.settings.lease_ms / 2);
        sim.heartbeat(0);
        sim.heartbeat(1);
    }
    while sim.receive(1) {}
    assert!(
        sim.workers[1]
            .work
            .iter()
            .any(|work| work.slot == stuck.slot)
    );
    // The first worker's page is welcome all the same.
    assert_eq!(put(&mut sim, stuck.slot, packed(stuck.page).row()), Ok(()));
    assert!(sim.durable.rows.contains_key(&stuck.slot));
}

#[test]
fn another_digest_for_a_known_page_is_refused() {
    let mut sim = running();
    let (slot, row) = sim
        .durable
        .rows
        .iter()
        .find(|(_, row)| row.sequences() > 1)
        .unwrap();
    let (slot, row) = (*slot, row.clone());
    assert_eq!(
        put(&mut sim, slot, row.clone()),
        Ok(()),
        "the same again is fine"
    );
    let PageRow::Packed {
        page,
        sequences,
        digest,
        ..
    } = row
    else {
        panic!("it is packed");
    };
    let other = PageRow::Packed {
        page,
        sequences: sequences - 1,
        digest,
        dropped_tokens: 0,
    };
    assert_eq!(put(&mut sim, slot, other), Err(RefusalKind::Invalid));
    let elsewhere = packed(ledger::PageId(page.0 + 1)).row();
    assert_eq!(put(&mut sim, slot, elsewhere), Err(RefusalKind::Invalid));
}

#[test]
fn a_page_that_can_never_be_read_is_skipped_for_good() {
    let mut sim = Sim::new(1, 0);
    sim.connect(0);
    while sim.receive(0) {}
    let bad = sim.workers[0].work.remove(0);
    sim.say(
        0,
        FromWorker::PageFailed {
            slot: bad.slot,
            reason: "too big".to_owned(),
            permanent: true,
        },
    );
    assert!(sim.durable.rows[&bad.slot].is_skipped());
    let packed_after_all = packed(bad.page).row();
    assert_eq!(
        put(&mut sim, bad.slot, packed_after_all),
        Err(RefusalKind::Invalid)
    );
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn who_finds_out_too_late_that_a_page_can_never_be_read_is_believed() {
    // Alone, it is in no generation.
    let mut sim = Sim::new(2, 0);
    sim.connect(0);
    while sim.receive(0) {}
    let bad = sim.workers[0].work.remove(0);
    let failed = |permanent| FromWorker::PageFailed {
        slot: bad.slot,
        reason: "too big".to_owned(),
        permanent,
    };
    // The page's lease runs out while it is still at it; nobody has it now.
    for _ in 0..4 {
        sim.advance(sim.settings.lease_ms / 2);
        sim.heartbeat(0);
    }
    let delays = |sim: &Sim| {
        let of_it = |told: &&Happening| matches!(told, Happening::PageDelayed { slot, .. } if *slot == bad.slot);
        sim.told.iter().filter(of_it).count()
    };
    assert_eq!(delays(&sim), 1);
    sim.say(0, failed(false));
    assert_eq!(delays(&sim), 1, "that it may be tried again is known");
    sim.say(0, failed(true));
    assert!(sim.durable.rows[&bad.slot].is_skipped());
    sim.connect(1);
    sim.run_to_the_end();
    assert!(sim.audit().is_clean());
}

#[test]
fn a_page_that_nobody_was_asked_for_is_not_skipped() {
    let mut sim = Sim::new(1, 0);
    sim.connect(0);
    while sim.receive(0) {}
    let far_ahead = Slot::Training(ledger::Ordinal(1_000_000));
    sim.say(
        0,
        FromWorker::PageFailed {
            slot: far_ahead,
            reason: "too big".to_owned(),
            permanent: true,
        },
    );
    assert!(!sim.durable.rows.contains_key(&far_ahead));
}

#[test]
fn a_checkpoint_waits_for_the_steps_before_it() {
    let mut sim = running();
    sim.step(false);
    let cursor = sim.workers[0].applied.unwrap().0;
    let request = sim.checkpoint(0, cursor);
    assert!(!sim.answers.contains_key(&request));
    let reports = sim.workers[0].unacknowledged.clone();
    sim.say(0, FromWorker::StepReports(reports));
    assert!(sim.answers[&request].is_ok());
}

#[test]
fn of_many_checkpoints_the_newest_and_the_best_are_kept() {
    let mut sim = running();
    for _ in 0..4 {
        sim.step(true);
        sim.settle();
        let cursor = sim.machine.status().cursor;
        sim.checkpoint(0, cursor);
    }
    // Each is better than the one before, so the best is one of the newest.
    assert_eq!(sim.durable.checkpoints.len(), 2);
    let status = sim.machine.status();
    assert_eq!(status.latest, status.best);
}
