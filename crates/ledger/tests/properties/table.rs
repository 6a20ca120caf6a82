//! The page table: steps tile the order, and no answer is ever taken back.

use ledger::{Cursor, Ordinal, PageId, PageRow, PageStart, PageTable, Planned, Step, TableError};
use proptest::prelude::*;

use crate::support::{World, nonzero, order, worlds};

/// Plans from `cursor` as far as the table knows.
fn plan(table: &PageTable, cursor: &mut Cursor, planned: &mut Vec<Planned>) {
    loop {
        let next = table.next_step(cursor).unwrap();
        *cursor = match &next {
            Planned::Step(step) => step.after(),
            Planned::EmptyEpoch { after, .. } => *after,
            Planned::Unknown { .. } => return,
        };
        planned.push(next);
    }
}

/// Sequences of each epoch of which all rows are known.
fn whole_epochs(world: &World) -> Vec<u64> {
    let pages_per_epoch = world.order.config().pages_per_epoch as usize;
    world
        .pages
        .chunks_exact(pages_per_epoch)
        .map(|pages| pages.iter().map(|page| u64::from(page.unwrap_or(0))).sum())
        .collect()
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn steps_tile_the_order(world in worlds()) {
        let (steps, end) = world.steps();
        let mut position = 0;
        for (number, step) in steps.iter().enumerate() {
            prop_assert_eq!(step.number, number as u64);
            prop_assert_eq!(step.first, position);
            prop_assert!(step.count > 0);
            prop_assert!(step.count == world.global_batch.get() || step.last_of_epoch);
            position = step.after().position;
        }
        prop_assert_eq!(end.position, position);
        prop_assert_eq!(end.step, steps.len() as u64);
    }

    #[test]
    fn an_epoch_takes_its_own_sequences_in_as_few_steps_as_possible(world in worlds()) {
        let (steps, end) = world.steps();
        let expected = whole_epochs(&world);
        prop_assert!(end.epoch >= expected.len() as u64);
        for (epoch, sequences) in expected.into_iter().enumerate() {
            let steps: Vec<&Step> = steps.iter().filter(|step| step.epoch == epoch as u64).collect();
            let trained: u64 = steps.iter().map(|step| u64::from(step.count)).sum();
            prop_assert_eq!(trained, sequences);
            let fewest = sequences.div_ceil(u64::from(world.global_batch.get()));
            prop_assert_eq!(steps.len() as u64, fewest);
            prop_assert_eq!(
                steps.iter().filter(|step| step.last_of_epoch).count(),
                usize::from(sequences > 0)
            );
            prop_assert!(steps.last().is_none_or(|last| last.last_of_epoch));
        }
    }

    #[test]
    fn the_pieces_of_the_steps_are_every_sequence_once(world in worlds()) {
        let table = world.full_table();
        let (steps, _) = world.steps();
        let mut fed = Vec::new();
        for step in &steps {
            let epoch = world.order.epoch_ordinals(step.epoch);
            let pieces = table.ordinals_of(step.first, step.count).unwrap();
            for piece in pieces {
                prop_assert!(epoch.contains(&piece.ordinal.0));
                prop_assert!(!piece.sequences.is_empty());
                fed.extend(piece.sequences.map(|index| (piece.ordinal, index)));
            }
        }
        let all: Vec<(Ordinal, u32)> = world
            .pages
            .iter()
            .enumerate()
            .flat_map(|(ordinal, sequences)| {
                (0..sequences.unwrap_or(0)).map(move |index| (Ordinal(ordinal as u64), index))
            })
            .collect();
        prop_assert_eq!(&fed[..], &all[..fed.len()]);
        for (position, place) in all.iter().enumerate() {
            prop_assert_eq!(table.locate(position as u64), Some(*place));
        }
        prop_assert_eq!(table.locate(all.len() as u64), None);
    }

    /// The table is asked after every single row, in a random order of
    /// arrival; whatever it says at any time must be what it says at the end.
    #[test]
    fn no_answer_is_taken_back_and_arrival_does_not_matter(
        (world, arrival) in worlds().prop_flat_map(|world| {
            let arrival = Just(world.rows()).prop_shuffle();
            (Just(world), arrival)
        })
    ) {
        let mut table = world.empty_table();
        let mut cursor = Cursor::start();
        let mut planned = Vec::new();
        for (ordinal, row) in arrival {
            plan(&table, &mut cursor, &mut planned);
            let unknown = Planned::Unknown { needs: Ordinal(table.known_ordinals().end) };
            prop_assert_eq!(table.next_step(&cursor).unwrap(), unknown);
            prop_assert!(table.row(Ordinal(table.known_ordinals().end)).is_none());
            table.insert(ordinal, row.clone()).unwrap();
            table.insert(ordinal, row).unwrap();
        }
        plan(&table, &mut cursor, &mut planned);

        let mut at_once = Vec::new();
        plan(&world.full_table(), &mut Cursor::start(), &mut at_once);
        prop_assert_eq!(planned, at_once);
    }

    /// What is planned needs no more rows than it must: with one row less, the
    /// last answer would not have been certain.
    #[test]
    fn an_answer_comes_as_soon_as_it_is_certain(world in worlds()) {
        let mut table = world.empty_table();
        let mut cursor = Cursor::start();
        for (ordinal, row) in world.rows() {
            plan(&table, &mut cursor, &mut Vec::new());
            table.insert(ordinal, row).unwrap();
            let epoch_is_known = table.known_ordinals().end >= world.order.epoch_ordinals(cursor.epoch).end;
            let available = table.end().position - cursor.position;
            let certain = epoch_is_known || available > u64::from(world.global_batch.get());
            let answered = !matches!(table.next_step(&cursor).unwrap(), Planned::Unknown { .. });
            prop_assert_eq!(answered, certain);
        }
    }

    #[test]
    fn a_table_that_begins_at_a_cursor_or_forgets_plans_the_same(world in worlds(), skip in 0..30_usize) {
        let (steps, _) = world.steps();
        let Some(from) = steps.get(skip.min(steps.len().saturating_sub(1))) else {
            return Ok(());
        };
        let cursor = from.before();

        let mut resumed = PageTable::new(world.order.clone(), world.global_batch, cursor);
        for (ordinal, row) in world.rows() {
            let inserted = resumed.insert(ordinal, row);
            prop_assert_eq!(inserted.is_err(), ordinal < cursor.page.ordinal);
        }
        let mut forgetful = world.full_table();
        forgetful.forget_before(cursor.page.ordinal);

        for table in [resumed, forgetful] {
            prop_assert_eq!(table.known_ordinals().start, cursor.page.ordinal.0);
            let (mut after, mut planned) = (cursor, Vec::new());
            plan(&table, &mut after, &mut planned);
            let replanned: Vec<Step> = planned
                .into_iter()
                .filter_map(|planned| match planned {
                    Planned::Step(step) => Some(step),
                    _ => None,
                })
                .collect();
            prop_assert_eq!(&replanned[..], &steps[from.number as usize..]);
            if cursor.page.position > 0 {
                prop_assert_eq!(table.locate(cursor.page.position - 1), None);
            }
            prop_assert_eq!(table.ordinals_of(from.first, from.count), world.full_table().ordinals_of(from.first, from.count));
        }
    }

    #[test]
    fn before_and_after_are_the_neighbours(world in worlds()) {
        let table = world.full_table();
        for step in world.steps().0 {
            prop_assert_eq!(table.next_step(&step.before()).unwrap(), Planned::Step(step));
            let next = table.next_step(&step.after()).unwrap();
            if let Planned::Step(next) = next {
                prop_assert_eq!(next.before(), step.after());
            }
        }
    }

    #[test]
    fn cursors_from_elsewhere_never_panic(
        world in worlds(),
        (step, position, epoch) in any::<(u64, u64, u64)>(),
        (ordinal, page_position) in any::<(u64, u64)>(),
        small in any::<bool>(),
    ) {
        let limit = if small { 30 } else { u64::MAX };
        let cursor = Cursor {
            step,
            position: position % limit,
            epoch: epoch % limit,
            page: PageStart { ordinal: Ordinal(ordinal % limit), position: page_position % limit },
        };
        let table = world.full_table();
        if let Ok(Planned::Step(step)) = table.next_step(&cursor) {
            prop_assert!(table.ordinals_of(step.first, step.count).is_some());
        }
        let mut hostile = PageTable::new(world.order.clone(), world.global_batch, cursor);
        let row = PageRow::Skipped { page: world.order.page_at(cursor.page.ordinal), reason: String::new() };
        hostile.insert(cursor.page.ordinal, row).unwrap();
        let _ = hostile.next_step(&cursor);
        let _ = hostile.locate(cursor.position);
    }
}

fn packed(table: &PageTable, ordinal: Ordinal, sequences: u32) -> PageRow {
    crate::support::packed_page(table.order().page_at(ordinal), sequences).row()
}

fn table(pages_per_epoch: u64, global_batch: u32) -> PageTable {
    let order = order(1, 20, 0, pages_per_epoch);
    PageTable::new(order, nonzero(global_batch), Cursor::start())
}

#[test]
fn a_full_batch_waits_until_it_is_known_whether_the_epoch_goes_on() {
    let mut table = table(2, 3);
    table
        .insert(Ordinal(0), packed(&table, Ordinal(0), 3))
        .unwrap();
    let needs = Ordinal(1);
    assert_eq!(
        table.next_step(&Cursor::start()),
        Ok(Planned::Unknown { needs })
    );
    let page = table.order().page_at(needs);
    let reason = "gone".to_owned();
    table
        .insert(needs, PageRow::Skipped { page, reason })
        .unwrap();
    let Ok(Planned::Step(step)) = table.next_step(&Cursor::start()) else {
        panic!("the epoch is known to its end");
    };
    assert!(step.last_of_epoch);
    assert_eq!(step.after().page.ordinal, Ordinal(2));
}

#[test]
fn an_epoch_of_skipped_and_short_pages_has_no_step() {
    let mut table = table(2, 3);
    let page = table.order().page_at(Ordinal(0));
    let reason = "gone".to_owned();
    table
        .insert(Ordinal(0), PageRow::Skipped { page, reason })
        .unwrap();
    table
        .insert(Ordinal(1), packed(&table, Ordinal(1), 0))
        .unwrap();
    let after = Cursor {
        epoch: 1,
        page: PageStart {
            ordinal: Ordinal(2),
            position: 0,
        },
        ..Cursor::start()
    };
    assert_eq!(
        table.next_step(&Cursor::start()),
        Ok(Planned::EmptyEpoch { epoch: 0, after })
    );
}

#[test]
fn rows_that_contradict_are_refused() {
    let mut table = table(4, 3);
    let elsewhere = crate::support::packed_page(PageId(1_000), 3).row();
    assert!(matches!(
        table.insert(Ordinal(0), elsewhere),
        Err(TableError::WrongPage { .. })
    ));
    // Known, and held back.
    for ordinal in [Ordinal(0), Ordinal(2)] {
        table.insert(ordinal, packed(&table, ordinal, 3)).unwrap();
        assert!(matches!(
            table.insert(ordinal, packed(&table, ordinal, 4)),
            Err(TableError::Contradiction { .. })
        ));
    }
    table.forget_before(Ordinal(1));
    assert!(matches!(
        table.insert(Ordinal(0), packed(&table, Ordinal(0), 3)),
        Err(TableError::Forgotten { .. })
    ));
    assert!(matches!(
        table.next_step(&Cursor::start()),
        Err(TableError::Forgotten { .. })
    ));
}

#[test]
fn cursors_that_contradict_the_rows_are_refused() {
    let mut table = table(4, 3);
    table
        .insert(Ordinal(0), packed(&table, Ordinal(0), 5))
        .unwrap();
    table
        .insert(Ordinal(1), packed(&table, Ordinal(1), 5))
        .unwrap();
    let good = Cursor {
        step: 2,
        position: 6,
        epoch: 0,
        page: PageStart {
            ordinal: Ordinal(1),
            position: 5,
        },
    };
    assert!(table.next_step(&good).is_ok());
    let bad_epoch = Cursor { epoch: 1, ..good };
    let bad_position = Cursor {
        position: 4,
        ..good
    };
    let beyond_page = Cursor {
        position: 10,
        ..good
    };
    let bad_page = Cursor {
        page: PageStart {
            ordinal: Ordinal(1),
            position: 6,
        },
        ..good
    };
    for bad in [bad_epoch, bad_position, beyond_page, bad_page] {
        assert!(
            matches!(table.next_step(&bad), Err(TableError::ForeignCursor { .. })),
            "{bad}"
        );
    }
}

#[test]
fn rows_held_back_are_kept_when_earlier_ones_are_forgotten() {
    let mut table = table(10, 3);
    table
        .insert(Ordinal(0), packed(&table, Ordinal(0), 2))
        .unwrap();
    table
        .insert(Ordinal(2), packed(&table, Ordinal(2), 2))
        .unwrap();
    // Only known rows can be forgotten: those after them could not be placed.
    table.forget_before(Ordinal(5));
    assert_eq!(table.known_ordinals(), 1..1);
    table
        .insert(Ordinal(1), packed(&table, Ordinal(1), 1))
        .unwrap();
    assert_eq!(table.known_ordinals(), 1..3);
    assert_eq!(table.locate(2), Some((Ordinal(1), 0)));
    assert_eq!(table.locate(4), Some((Ordinal(2), 1)));
    assert_eq!(table.rows().count(), 2);
}

/// A table of a quarter of a million pages answers at once.
#[test]
fn large_tables_are_planned_quickly() {
    let pages = 250_000;
    let order = order(3, pages, 0, pages);
    let mut table = PageTable::new(order, nonzero(480), Cursor::start());
    for ordinal in (0..pages).map(Ordinal) {
        let row = PageRow::Packed {
            page: table.order().page_at(ordinal),
            sequences: 50 + (ordinal.0 % 13) as u32,
            digest: ledger::PageDigest([0; 32]),
            dropped_tokens: 0,
        };
        table.insert(ordinal, row).unwrap();
    }
    let (mut cursor, mut planned) = (Cursor::start(), Vec::new());
    plan(&table, &mut cursor, &mut planned);
    assert_eq!(cursor.position, table.end().position);
    assert_eq!(cursor.epoch, 1);
    assert_eq!(planned.len() as u64, table.end().position.div_ceil(480));
}
