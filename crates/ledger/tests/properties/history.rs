//! Made-up histories of a cluster: generations that train, break and go on
//! from earlier points, as elastic membership and restores from checkpoints
//! make them.

use ledger::{Cursor, GenerationRecord, Ordinal, Step, StepReport};
use proptest::prelude::*;

use crate::support::{World, generation, worlds};

/// What happens to a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The current generation applies and reports so many steps.
    Train(usize),
    /// A new generation goes on from so many steps ago: 0 for a planned
    /// change, 1 for a step that no survivor applied, more for a restore.
    Regroup { back: usize },
    /// A generation trains so many steps that nobody's weights keep, and then
    /// another goes on from where its parent was.
    Stray(usize),
}

/// A run's past, with what is true about it.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) world: World,
    pub(crate) generations: Vec<GenerationRecord>,
    /// Possibly out of order and more than once.
    pub(crate) reports: Vec<StepReport>,
    /// The generation whose update of each step the weights contain.
    pub(crate) survivors: Vec<u64>,
    /// Where the run stands.
    pub(crate) until: Cursor,
    /// The steps of the plan, trained or not.
    pub(crate) steps: Vec<Step>,
}

impl History {
    fn begin(world: World) -> History {
        let (steps, _) = world.steps();
        History {
            generations: vec![generation(1, None, Cursor::start())],
            reports: Vec::new(),
            survivors: Vec::new(),
            until: Cursor::start(),
            steps,
            world,
        }
    }

    fn current(&self) -> u64 {
        self.generations.last().unwrap().number
    }

    /// The point after so many steps. Where empty epochs make it two points,
    /// both have happened: take the later one if `late`.
    fn point(&self, steps: usize, late: bool) -> Cursor {
        match steps.checked_sub(1) {
            Some(_) if late && steps < self.steps.len() => self.steps[steps].before(),
            Some(last) => self.steps[last].after(),
            None => Cursor::start(),
        }
    }

    fn apply(&mut self, event: &Event) {
        let current = self.current();
        let done = self.survivors.len();
        match *event {
            Event::Train(steps) => {
                let steps = &self.steps[done..self.steps.len().min(done + steps)];
                for step in steps {
                    self.reports.push(self.world.report(current, *step));
                    self.survivors.push(current);
                }
            }
            Event::Regroup { back } => {
                self.survivors.truncate(done.saturating_sub(back));
                let base = self.point(self.survivors.len(), back % 2 == 0);
                self.generations
                    .push(generation(current + 1 + back as u64, Some(current), base));
            }
            Event::Stray(steps) => {
                let base = self.point(done, false);
                self.generations
                    .push(generation(current + 1, Some(current), base));
                let steps = &self.steps[done..self.steps.len().min(done + steps)];
                for step in steps {
                    self.reports.push(self.world.report(current + 1, *step));
                }
                self.generations
                    .push(generation(current + 2, Some(current), base));
            }
        }
        self.until = self.point(self.survivors.len(), false);
    }

    pub(crate) fn lineage(&self) -> ledger::Lineage {
        ledger::lineage(&self.generations, &self.reports)
    }

    /// The audit of what `reports` say.
    pub(crate) fn audit(&self) -> ledger::Audit {
        self.audit_of(&self.lineage())
    }

    pub(crate) fn audit_of(&self, lineage: &ledger::Lineage) -> ledger::Audit {
        ledger::audit(
            &self.world.order,
            self.world.global_batch,
            self.world.rows(),
            lineage,
            self.until,
            |ordinal: Ordinal| Ok(self.world.page(ordinal)),
        )
    }
}

/// Honest histories: whatever breaks, each step is reported as it was.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    let event = prop_oneof![
        4 => (0..8_usize).prop_map(Event::Train),
        2 => (0..5_usize).prop_map(|back| Event::Regroup { back }),
        1 => (0..3_usize).prop_map(Event::Stray),
    ];
    (worlds(), prop::collection::vec(event, 0..12))
        .prop_map(|(world, events)| {
            let mut history = History::begin(world);
            for event in &events {
                history.apply(event);
            }
            history
        })
        .prop_flat_map(|history| {
            // Any survivor may report a step, so reports come twice and late.
            let twice = [history.reports.clone(), history.reports.clone()].concat();
            (Just(history), Just(twice).prop_shuffle())
        })
        .prop_map(|(history, reports)| History { reports, ..history })
}

/// Honest histories of which at least one step survives.
pub(crate) fn trained_histories() -> impl Strategy<Value = History> {
    histories().prop_filter("no step survives", |history| !history.survivors.is_empty())
}
