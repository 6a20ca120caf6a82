//! Rows and steps of a run, read a piece at a time: an audit of a run of any
//! length takes the memory of a few thousand steps.

use std::cell::RefCell;
use std::collections::VecDeque;

use ledger::{GenerationRecord, Ordinal, PageRow, Reports, Span, StepReport};

use crate::store::{RunStore, StoreError};

/// Rows, or steps, read at once.
pub(super) const PIECE: u64 = 4096;

/// A store that is read until it fails. The ledger knows no IO, so a failure
/// looks to it like the end; who asked looks here for it afterwards.
pub(super) struct Reader<'a> {
    store: &'a RunStore,
    failure: RefCell<Option<StoreError>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(store: &'a RunStore) -> Reader<'a> {
        Reader {
            store,
            failure: RefCell::new(None),
        }
    }

    /// What was read; nothing once something has failed.
    pub(super) fn read<T: Default>(
        &self,
        read: impl FnOnce(&RunStore) -> Result<T, StoreError>,
    ) -> T {
        if self.failure.borrow().is_some() {
            return T::default();
        }
        match read(self.store) {
            Ok(found) => found,
            Err(error) => {
                self.failure.replace(Some(error));
                T::default()
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), StoreError> {
        self.failure.into_inner().map_or(Ok(()), Err)
    }
}

/// The training rows in order.
pub(super) struct Rows<'a> {
    reader: &'a Reader<'a>,
    at_once: u64,
    next: u64,
    piece: VecDeque<(Ordinal, PageRow)>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(reader: &'a Reader<'a>, at_once: u64) -> Rows<'a> {
        Rows {
            reader,
            at_once,
            next: 0,
            piece: VecDeque::new(),
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = (Ordinal, PageRow);

    fn next(&mut self) -> Option<(Ordinal, PageRow)> {
        if self.piece.is_empty() {
            let end = self.next.saturating_add(self.at_once);
            let (first, end) = (Ordinal(self.next), Ordinal(end));
            self.piece = self
                .reader
                .read(|store| store.training_rows(first, end))
                .into();
            self.next = end.0;
        }
        self.piece.pop_front()
    }
}

/// What was reported of each step.
pub(super) struct Steps<'a> {
    reader: &'a Reader<'a>,
    at_once: u64,
    generations: &'a [GenerationRecord],
    spans: &'a [Span],
    /// Of the surviving lineage, before `read_to`.
    piece: VecDeque<StepReport>,
    read_to: u64,
    /// How many surviving reports were found.
    pub(super) found: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn of(
        reader: &'a Reader<'a>,
        at_once: u64,
        generations: &'a [GenerationRecord],
        spans: &'a [Span],
    ) -> Steps<'a> {
        Steps {
            reader,
            at_once,
            generations,
            spans,
            piece: VecDeque::new(),
            read_to: 0,
            found: 0,
        }
    }

    /// Reads on from `step`, as far as one generation's span goes.
    fn read_from(&mut self, step: u64) {
        let owner = self.spans.iter().rev().find(|span| span.contains(step));
        let Some(span) = owner else {
            return;
        };
        let end = step.saturating_add(self.at_once);
        self.read_to = span.end.map_or(end, |of_span| end.min(of_span));
        let (generation, end) = (span.generation, self.read_to);
        let read = self.reader.read(|store| store.steps(generation, step, end));
        self.piece = read.into_iter().map(|reported| reported.report).collect();
    }
}

impl Reports for &mut Steps<'_> {
    fn surviving(&mut self, step: u64) -> Option<StepReport> {
        if step >= self.read_to {
            self.read_from(step);
        }
        while self.piece.front().is_some_and(|r| r.step.number < step) {
            self.piece.pop_front();
        }
        let found = self.piece.pop_front_if(|r| r.step.number == step);
        self.found += u64::from(found.is_some());
        found
    }

    fn rolled_back(&mut self, step: u64) -> Option<u64> {
        let newest_first = self.generations.iter().rev();
        let mut reporters = newest_first.map(|generation| generation.number);
        reporters.find(|&generation| {
            let reader = self.reader;
            let end = step.saturating_add(1);
            !reader
                .read(|store| store.steps(generation, step, end))
                .is_empty()
        })
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Cursor, FedDigest, PageId, PageStart, Slot, Step, lineage};

    use super::*;
    use crate::records::{KeptGeneration, Record, Reported, StepTimes};
    use crate::store::Embedded;

    fn start() -> PageStart {
        Cursor::start().page
    }

    fn reported(generation: u64, number: u64) -> Reported {
        Reported {
            report: StepReport {
                generation,
                step: Step {
                    number,
                    epoch: 0,
                    first: 2 * number,
                    count: 2,
                    last_of_epoch: false,
                    page: start(),
                    next_page: start(),
                },
                loss_sum: 1.0,
                tokens: 2,
                sequences: 2,
                fed: FedDigest::of(number, &[generation as u32]),
                grad_norm: 1.0,
                applied: true,
            },
            learning_rate: 0.1,
            times: StepTimes::default(),
        }
    }

    /// Three generations of which the second was rolled back in part, with a
    /// gap in the first: steps as (generation, steps).
    const REPORTED: [(u64, &[u64]); 3] = [
        (1, &[0, 1, 2, 3, 5, 6, 7]),
        (2, &[8, 9, 10, 11, 12, 13]),
        (3, &[10, 11, 12, 13, 14, 15, 16]),
    ];
    const BASES: [u64; 3] = [0, 8, 10];

    fn store(folder: &tempfile::TempDir) -> (RunStore, Vec<GenerationRecord>) {
        let store = RunStore::new(Embedded::open(&folder.path().join("ledger.redb")).unwrap());
        let generations = (1..).zip(BASES).map(|(number, base)| GenerationRecord {
            number,
            parent: (number > 1).then(|| number - 1),
            base: Cursor {
                step: base,
                position: 2 * base,
                ..Cursor::start()
            },
            members: vec!["a".to_owned()],
        });
        let generations: Vec<_> = generations.collect();
        let mut records = Vec::new();
        for record in &generations {
            records.push(Record::Generation(KeptGeneration {
                record: record.clone(),
                instances: record.members.clone(),
                lease_ms: 10_000,
                reason: String::new(),
                ended: true,
            }));
        }
        for (generation, steps) in REPORTED {
            records.extend(
                steps
                    .iter()
                    .map(|step| Record::Step(reported(generation, *step))),
            );
        }
        for ordinal in (0..9).map(Ordinal) {
            let row = PageRow::Skipped {
                page: PageId(ordinal.0),
                reason: "too short".to_owned(),
            };
            records.push(Record::Row(Slot::Training(ordinal), row.clone()));
            records.push(Record::Row(Slot::Evaluation(ordinal.0 as u32), row));
        }
        store.commit(&records).unwrap();
        (store, generations)
    }

    #[test]
    fn in_pieces_the_reports_are_those_of_the_lineage_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (store, generations) = store(&folder);
        let all: Vec<StepReport> = store
            .all_steps()
            .unwrap()
            .iter()
            .map(|s| s.report)
            .collect();
        let whole = lineage(&generations, &all);
        let chain = lineage(&generations, &[]);
        for at_once in 1..12 {
            let reader = Reader::new(&store);
            let mut steps = Steps::of(&reader, at_once, &generations, &chain.spans);
            for step in 0..20 {
                let found = (&mut steps).surviving(step);
                assert_eq!(
                    found,
                    whole.steps.get(&step).copied(),
                    "step {step}, {at_once}"
                );
            }
            assert_eq!(steps.found, whole.steps.len() as u64);
            assert_eq!((&mut steps).rolled_back(4), None);
            assert!((&mut steps).rolled_back(11).is_some());
            reader.finish().unwrap();
        }
    }

    #[test]
    fn in_pieces_the_rows_are_all_of_training() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(&folder);
        for at_once in 1..12 {
            let reader = Reader::new(&store);
            let ordinals: Vec<u64> = Rows::of(&reader, at_once).map(|(o, _)| o.0).collect();
            assert_eq!(ordinals, (0..9).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_last_step_is_found_behind_gaps_too() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(&folder);
        let last = |generation, first| {
            let last = store.last_step(generation, first).unwrap();
            last.map(|reported| reported.report.step.number)
        };
        assert_eq!(last(1, 0), Some(7));
        assert_eq!(last(1, 4), Some(7));
        assert_eq!(last(3, 10), Some(16));
        assert_eq!(last(3, 17), None);
    }
}
