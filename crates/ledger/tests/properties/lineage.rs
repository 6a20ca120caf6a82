//! The lineage: the reports whose weights survive, whatever was rolled back.

use ledger::{Cursor, LineageFault, StepReport, lineage};
use proptest::prelude::*;

use crate::history::histories;
use crate::support::{World, generation, nonzero, order};

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn keeps_exactly_the_steps_that_the_weights_contain(history in histories()) {
        let lineage = history.lineage();
        let survivors: Vec<u64> = lineage.steps.values().map(|report| report.generation).collect();
        prop_assert_eq!(survivors, &history.survivors[..]);
        for (number, step) in lineage.steps.keys().enumerate() {
            prop_assert_eq!(*step, number as u64);
            prop_assert_eq!(lineage.generation_of(*step), Some(history.survivors[number]));
        }
        prop_assert_eq!(lineage.end().step, history.until.step);
        prop_assert_eq!(lineage.end().position, history.until.position);
        prop_assert_eq!(lineage.faults, vec![]);
    }

    #[test]
    fn every_report_is_kept_or_rolled_back_once(history in histories()) {
        let lineage = history.lineage();
        let mut together: Vec<(u64, u64)> = lineage
            .steps
            .values()
            .chain(&lineage.rolled_back)
            .map(|report| (report.generation, report.step.number))
            .collect();
        together.sort_unstable();
        let mut reported: Vec<(u64, u64)> = history
            .reports
            .iter()
            .map(|report| (report.generation, report.step.number))
            .collect();
        reported.sort_unstable();
        reported.dedup();
        prop_assert_eq!(together, reported);
    }

    #[test]
    fn does_not_depend_on_the_order_of_generations(
        (history, shuffled) in histories().prop_flat_map(|history| {
            let shuffled = Just(history.generations.clone()).prop_shuffle();
            (Just(history), shuffled)
        })
    ) {
        prop_assert_eq!(lineage(&shuffled, &history.reports), history.lineage());
    }
}

fn world() -> World {
    World {
        order: order(9, 20, 0, 20),
        global_batch: nonzero(2),
        pages: vec![Some(5); 20],
    }
}

/// The point after so many steps, and a report of the step that follows.
fn point(step: usize) -> Cursor {
    world().steps().0[step].before()
}

fn report(generation: u64, step: usize) -> StepReport {
    world().report(generation, world().steps().0[step])
}

#[test]
fn a_restore_rolls_back_more_than_one_generation() {
    let generations = [
        generation(1, None, Cursor::start()),
        generation(2, Some(1), point(4)),
        generation(3, Some(2), point(2)),
    ];
    let reports: Vec<StepReport> = (0..4)
        .map(|step| report(1, step))
        .chain((4..6).map(|step| report(2, step)))
        .chain((2..3).map(|step| report(3, step)))
        .collect();
    let lineage = lineage(&generations, &reports);
    let survivors: Vec<(u64, u64)> = lineage
        .steps
        .iter()
        .map(|(step, report)| (*step, report.generation))
        .collect();
    assert_eq!(survivors, [(0, 1), (1, 1), (2, 3)]);
    assert_eq!(lineage.end(), point(3));
    assert_eq!(lineage.rolled_back.len(), 4);
}

#[test]
fn a_new_generation_without_reports_ends_at_its_base() {
    let generations = [
        generation(1, None, Cursor::start()),
        generation(2, Some(1), point(2)),
    ];
    let reports: Vec<StepReport> = (0..5).map(|step| report(1, step)).collect();
    assert_eq!(lineage(&generations, &reports).end(), point(2));
    assert_eq!(lineage(&[], &[]).end(), Cursor::start());
}

#[test]
fn contradictions_are_named() {
    let first = generation(1, None, Cursor::start());
    let second = generation(2, Some(1), point(2));
    let other_second = generation(2, Some(1), point(3));
    let orphan = generation(5, Some(4), point(3));
    let circular = generation(6, Some(6), point(3));
    let changed = StepReport {
        sequences: 7,
        ..report(1, 0)
    };

    let faults = |generations: &[_], reports: &[_]| lineage(generations, reports).faults;
    assert_eq!(
        faults(&[first.clone(), second.clone(), other_second], &[]),
        [LineageFault::DuplicateGeneration { number: 2 }]
    );
    assert_eq!(
        faults(&[first.clone(), orphan], &[]),
        [LineageFault::UnknownParent {
            number: 5,
            parent: 4
        }]
    );
    assert_eq!(
        faults(&[first.clone(), circular], &[]),
        [LineageFault::ParentNotOlder {
            number: 6,
            parent: 6
        }]
    );
    assert_eq!(
        faults(&[first.clone(), second], &[report(3, 1), report(2, 1)]),
        [
            LineageFault::UnknownGeneration {
                generation: 3,
                step: 1
            },
            LineageFault::BeforeBase {
                generation: 2,
                step: 1,
                base: 2
            }
        ]
    );
    assert_eq!(
        faults(&[first], &[report(1, 0), changed]),
        [LineageFault::ContradictingReports {
            generation: 1,
            step: 0
        }]
    );
}
