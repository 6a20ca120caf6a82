//! What was trained: that every step is in the weights once, and at the end
//! every sequence.

use ledger::{Slot, lineage};

use crate::config::packed;
use crate::rule::Rule;
use crate::sim::Sim;

impl Sim {
    /// A worker has applied a step.
    pub(crate) fn check_applied(&mut self, worker: usize, generation: u64) {
        let Some(weights) = self.workers[worker].process.weights.clone() else {
            return;
        };
        let name = self.workers[worker].name.clone();
        let mut position = 0;
        for (number, trained) in (0..).zip(weights.trained.iter()) {
            if trained.number != number || trained.first != position {
                return self.broken(Rule::ExactlyOnce, || {
                    format!(
                        "worker {name} trained step {} at position {}, where step {number} at \
                         position {position} came next",
                        trained.number, trained.first
                    )
                });
            }
            position += u64::from(trained.count);
        }
        if weights.cursor.step != weights.trained.len() as u64
            || weights.cursor.position != position
        {
            return self.broken(Rule::ExactlyOnce, || {
                format!(
                    "worker {name} says that it has applied {} steps, and its weights hold {}",
                    weights.cursor.step,
                    weights.trained.len()
                )
            });
        }
        let Some(group) = self.groups.get_mut(&generation) else {
            return;
        };
        let step = weights.cursor.step;
        let first = group.after_step.entry(step);
        let first = first.or_insert_with(|| weights.trained.to_vec());
        if *first != *weights.trained {
            self.broken(Rule::EqualWeights, || {
                format!("after {step} steps worker {name} holds other weights than another rank")
            });
        }
    }

    /// The run is complete: every sequence was trained once, and the weights
    /// are those of the records.
    pub(crate) fn check_the_end(&mut self) {
        let Some(end) = self.rules.complete else {
            return;
        };
        let store = self.store.reader();
        let read = || {
            let generations: Vec<_> = store.generations()?.into_iter().map(|g| g.record).collect();
            let reports: Vec<_> = store.all_steps()?.iter().map(|s| s.report).collect();
            Ok::<_, coordinator::store::StoreError>((generations, reports, store.rows()?))
        };
        let (generations, reports, rows) = match read() {
            Ok(records) => records,
            Err(error) => return self.broken(Rule::NoPanic, || error.to_string()),
        };
        let lineage = lineage(&generations, &reports);
        let rows = rows.into_iter().filter_map(|(slot, row)| match slot {
            Slot::Training(ordinal) => Some((ordinal, row)),
            Slot::Evaluation(_) => None,
        });
        let order = self.order.clone();
        let fetch = |ordinal| Ok(packed(order.page_at(ordinal)));
        let batch = self.config.global_batch;
        let audit = ledger::audit(&self.order, batch, rows, &lineage, end, fetch);
        if let Some(violation) = audit.violations.first() {
            let violation = violation.to_string();
            return self.broken(Rule::ExactlyOnce, || violation);
        }
        let total = audit.total;
        if total.trained != total.planned || total.repeated + total.missed > 0 || total.planned == 0
        {
            return self.broken(Rule::ExactlyOnce, || format!("{total:?}"));
        }
        let expected = self.rules.weights_at(end);
        let newest = self.rules.newest();
        for index in 0..self.workers.len() {
            let process = &self.workers[index].process;
            if let Some(weights) = &process.weights
                && process.has_finished
                && process.last_generation == newest
                && Some(weights.trained.as_slice()) != expected.as_deref()
            {
                let name = self.workers[index].name.clone();
                return self.broken(Rule::ExactlyOnce, || {
                    format!("worker {name} ends with other weights than the ledger has steps")
                });
            }
        }
    }
}
