//! Which pages a newcomer is advised to have.

use ledger::{PageRow, Slot};

use super::elastic::{elastic, stepping};
use super::sim::Sim;
use crate::machine::{Answer, Event, RequestId};

fn coming(sim: &mut Sim) -> Vec<(Slot, PageRow)> {
    let request = RequestId(sim.number());
    sim.event(Event::ComingPagesAsked { request });
    match sim.answers.remove(&request) {
        Some(Ok(Answer::Coming(rows))) => rows,
        other => panic!("{other:?}"),
    }
}

fn training(rows: &[(Slot, PageRow)]) -> Vec<u64> {
    let ordinal = |(slot, _): &(Slot, PageRow)| match slot {
        Slot::Training(ordinal) => Some(ordinal.0),
        Slot::Evaluation(_) => None,
    };
    rows.iter().filter_map(ordinal).collect()
}

#[test]
fn the_pages_from_where_training_stands_come_next_and_then_the_evaluation() {
    let mut sim = stepping(elastic(), 3);
    for _ in 0..3 {
        let here = sim.machine.status().cursor.page.ordinal.0;
        let rows = coming(&mut sim);
        for (slot, row) in &rows {
            assert_eq!(sim.durable.rows.get(slot), Some(row));
            assert!(row.sequences() > 0, "an empty page need not be fetched");
        }
        let ahead = training(&rows);
        assert!(ahead.is_sorted() && ahead.first().is_some_and(|first| *first >= here));
        let holds: u32 = rows
            .iter()
            .filter(|(slot, _)| matches!(slot, Slot::Training(_)))
            .map(|(_, row)| row.sequences())
            .sum();
        assert!(
            holds >= sim.settings.global_batch.get(),
            "the next step's at least"
        );
        let evaluated = rows.iter().skip(ahead.len());
        let evaluated: Vec<Slot> = evaluated.map(|(slot, _)| *slot).collect();
        let with_sequences = |(slot, row): (&Slot, &PageRow)| {
            let is_evaluation = matches!(slot, Slot::Evaluation(_));
            (is_evaluation && row.sequences() > 0).then_some(*slot)
        };
        let expected: Vec<Slot> = sim.durable.rows.iter().filter_map(with_sequences).collect();
        assert_eq!(evaluated, expected);
        assert!(sim.step(true));
        sim.settle();
    }
}

#[test]
fn where_nobody_trains_there_is_nothing_to_be_ahead_of() {
    let mut sim = Sim::with_settings(elastic(), 3);
    sim.connect(0);
    sim.settle();
    assert_eq!(coming(&mut sim), []);
}
