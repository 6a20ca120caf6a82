//! What is durable, and whether the rules hold.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::machine::{Message, Origin, World};
use coordinator::records::{Checkpoint, CheckpointId, KeptGeneration, Record, Reported};
use ledger::{Cursor, PageRow, Slot, StepReport, lineage};

use crate::config::packed;
use crate::rule::Rule;
use crate::sim::Sim;
use crate::weights::{Trained, Weights};

/// The durable records, as the store has them, and what the rules need to know.
#[derive(Default)]
pub(crate) struct Rules {
    term: u64,
    pub(crate) generations: BTreeMap<u64, KeptGeneration>,
    pub(crate) rows: BTreeMap<Slot, PageRow>,
    steps: BTreeMap<(u64, u64), Reported>,
    pub(crate) checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    pub(crate) complete: Option<Cursor>,
    /// The durable steps of the surviving lineage, until a record changes them.
    surviving: Option<Vec<StepReport>>,
    /// Generations that were found out of life, for good.
    dead: BTreeSet<u64>,
}

impl Rules {
    pub(crate) fn members_of(&self, generation: u64) -> Option<Vec<String>> {
        let kept = self.generations.get(&generation)?;
        Some(kept.record.members.clone())
    }

    fn newest(&self) -> u64 {
        self.generations.keys().next_back().copied().unwrap_or(0)
    }

    /// The surviving steps from the run's beginning, as far as there is no gap.
    fn surviving(&mut self) -> &[StepReport] {
        let (generations, steps) = (&self.generations, &self.steps);
        self.surviving.get_or_insert_with(|| {
            let records: Vec<_> = generations.values().map(|g| g.record.clone()).collect();
            let reports: Vec<_> = steps.values().map(|step| step.report).collect();
            let steps = lineage(&records, &reports).steps;
            let in_order = steps.into_values().zip(0..);
            let in_order = in_order.take_while(|(report, number)| report.step.number == *number);
            in_order.map(|(report, _)| report).collect()
        })
    }

    /// What weights at `base` must be.
    pub(crate) fn weights_at(&mut self, base: Cursor) -> Option<Vec<Trained>> {
        let steps = self.surviving().get(..base.step as usize)?;
        let trained = |r: &StepReport| Trained::of(&r.step, r.generation, r.fed);
        Some(steps.iter().map(trained).collect())
    }

    fn survives(&self, generation: u64, step: u64) -> bool {
        let later = self.generations.range(generation + 1..);
        later.into_iter().all(|(_, g)| g.record.base.step >= step)
    }
}

impl Sim {
    /// A batch has become durable.
    pub(crate) fn note_durable(&mut self, records: &[Record]) {
        if !self.store.has_one_writer_at_a_time() {
            self.broken(Rule::OneWriter, || {
                "a leader that was replaced has written".to_owned()
            });
        }
        for record in records {
            self.note_record(record);
        }
    }

    fn note_record(&mut self, record: &Record) {
        match record {
            Record::Term(term) => {
                let before = self.rules.term;
                if *term <= before {
                    self.broken(Rule::NumbersGrow, || {
                        format!("a leader has term {term}, after one of term {before}")
                    });
                }
                self.rules.term = *term;
            }
            Record::Generation(kept) => self.note_generation(kept),
            Record::Row(slot, row) => {
                let before = self.rules.rows.insert(*slot, row.clone());
                if before.is_some_and(|before| before != *row) {
                    let slot = *slot;
                    self.broken(Rule::StepsMonotone, || format!("the row of {slot} changed"));
                }
            }
            Record::Step(reported) => self.note_step(reported),
            Record::Checkpoint(checkpoint) => {
                if !self
                    .rules
                    .survives(checkpoint.generation, checkpoint.cursor.step)
                {
                    let id = checkpoint.id.clone();
                    self.broken(Rule::ReplacedIsSilent, || {
                        format!("checkpoint {id} holds steps that were rolled back")
                    });
                }
                let id = checkpoint.id.clone();
                self.rules.checkpoints.insert(id, checkpoint.clone());
            }
            Record::CheckpointForgotten(id) => {
                self.rules.checkpoints.remove(id);
            }
            Record::Complete(cursor) => self.rules.complete = Some(*cursor),
            _ => {}
        }
    }

    fn note_generation(&mut self, kept: &KeptGeneration) {
        let number = kept.record.number;
        let newest = self.rules.newest();
        let before = self.rules.generations.insert(number, kept.clone());
        match before {
            Some(before) if before.record != kept.record => {
                return self.broken(Rule::NumbersGrow, || {
                    format!("generation {number} is recorded twice, with different contents")
                });
            }
            Some(_) => return,
            None => {}
        }
        self.rules.surviving = None;
        if number <= newest {
            return self.broken(Rule::NumbersGrow, || {
                format!("generation {number} is formed after generation {newest}")
            });
        }
        self.check_one_live_generation();
        self.check_highest_wins(kept);
    }

    fn note_step(&mut self, reported: &Reported) {
        let report = &reported.report;
        let key = (report.generation, report.step.number);
        let newest = self.rules.newest();
        if report.generation != newest {
            let (generation, number) = key;
            return self.broken(Rule::ReplacedIsSilent, || {
                format!(
                    "step {number} of generation {generation} is recorded, after generation \
                     {newest} was formed"
                )
            });
        }
        if self.rules.steps.insert(key, *reported).is_some() {
            let step = report.step;
            return self.broken(Rule::StepsMonotone, || format!("{step} is recorded twice"));
        }
        let surviving = self.rules.surviving();
        let expected = surviving.len() as u64;
        if report.step.number == expected {
            if let Some(steps) = &mut self.rules.surviving {
                steps.push(*report);
            }
        } else {
            let step = report.step;
            self.broken(Rule::StepsMonotone, || {
                format!("{step} is recorded where step {expected} comes next")
            });
        }
    }

    /// What a worker is about to be told must be durable.
    pub(crate) fn check_said(&mut self, world: &World, message: &Message) {
        match message {
            Message::Form(form) => {
                let generation = world.generation;
                let kept = self.rules.generations.get(&generation);
                if kept.is_none_or(|kept| kept.record.base != form.base) {
                    return self.broken(Rule::DurableFirst, || {
                        format!("generation {generation} is announced before it is durable")
                    });
                }
                if let Origin::Checkpoint(id) = &form.origin
                    && !self.rules.checkpoints.contains_key(id)
                {
                    return self.broken(Rule::DurableFirst, || {
                        format!("generation {generation} begins with {id}, which is not durable")
                    });
                }
                self.check_states(form);
            }
            Message::PageRows(rows) => {
                let missing = rows
                    .iter()
                    .find(|(slot, row)| self.rules.rows.get(slot) != Some(row));
                if let Some((slot, _)) = missing {
                    self.broken(Rule::DurableFirst, || {
                        format!("the row of {slot} is announced before it is durable")
                    });
                }
            }
            Message::Ack { reported_steps, .. } => {
                // By whichever generation: one formed with the same batch may
                // have rolled them back.
                let last = reported_steps.checked_sub(1);
                let steps = &self.rules.steps;
                let durable = |last: u64| steps.keys().any(|(_, step)| *step == last);
                if last.is_some_and(|last| !durable(last)) {
                    self.broken(Rule::DurableFirst, || {
                        format!("{reported_steps} steps are acknowledged, and not all are durable")
                    });
                }
            }
            Message::Rendezvous { .. }
            | Message::Abort { .. }
            | Message::Pause { .. }
            | Message::Prepare(_)
            | Message::Stop { .. } => {}
        }
    }

    /// Whoever is said to have the state holds exactly the surviving steps.
    fn check_states(&mut self, form: &coordinator::machine::Form) {
        let Some(expected) = self.rules.weights_at(form.base) else {
            let step = form.base.step;
            return self.broken(Rule::DurableFirst, || {
                format!("a generation begins after {step} steps, which are not all durable")
            });
        };
        for (rank, member) in form.members.iter().enumerate() {
            let gives = form.origin == Origin::Rank(rank as u32);
            if !gives && !member.has_state {
                continue;
            }
            let name = &member.worker.0;
            let Some(worker) = self.workers.iter().find(|worker| worker.name == *name) else {
                continue;
            };
            let process = &worker.process;
            // One that has died since will not take part.
            let Some(weights) = process.weights.as_ref().filter(|_| worker.host.is_up) else {
                continue;
            };
            if *weights.trained != expected || process.is_torn {
                let (name, step) = (name.clone(), form.base.step);
                return self.broken(Rule::StateAsClaimed, || {
                    format!("worker {name} is said to hold the state after {step} steps")
                });
            }
        }
    }

    /// No worker can be in a generation while another one's members all are in
    /// theirs.
    fn check_one_live_generation(&mut self) {
        let Rules {
            generations, dead, ..
        } = &self.rules;
        let mut live = Vec::new();
        let mut died = Vec::new();
        for (number, kept) in generations {
            if dead.contains(number) {
                continue;
            }
            let newest = generations.keys().next_back() == Some(number);
            let all_in = kept.record.members.iter().all(|name| {
                let worker = self.workers.iter().find(|worker| worker.name == *name);
                worker.is_some_and(|worker| worker.could_go_on_in(*number, self.now))
            });
            match (newest, all_in) {
                (true, _) => live.push(*number),
                (false, true) => live.push(*number),
                (false, false) => died.push(*number),
            }
        }
        if live.len() > 1 {
            return self.broken(Rule::OneLiveGeneration, || {
                format!("generations {} and {} are both alive", live[0], live[1])
            });
        }
        self.rules.dead.extend(died);
    }

    /// A member with a further state that counts would have been the better
    /// beginning.
    fn check_highest_wins(&mut self, kept: &KeptGeneration) {
        let base = kept.record.base;
        let parent_steps = {
            // As it was before this generation: it may roll steps back itself.
            let newest = self.rules.generations.remove(&kept.record.number);
            self.rules.surviving = None;
            let steps = self.rules.surviving().to_vec();
            if let Some(newest) = newest {
                self.rules.generations.insert(kept.record.number, newest);
            }
            self.rules.surviving = None;
            steps
        };
        for name in &kept.record.members {
            let Some(worker) = self.workers.iter().find(|worker| worker.name == *name) else {
                continue;
            };
            let process = &worker.process;
            let weights = process.weights.as_ref().filter(|_| worker.host.is_up);
            let Some(weights) = weights.filter(|_| !process.is_torn && process.is_idle()) else {
                continue;
            };
            let further = weights.cursor.step > base.step;
            let surviving = holds(weights, &parent_steps);
            // Steps that only this worker knows of do not count; a rule of its
            // own says that it brings their reports.
            let unreported = weights.cursor.step as usize > parent_steps.len()
                && process.owes_reports_of(&parent_steps, kept.record.parent);
            if further && (surviving || unreported) {
                let (name, step) = (name.clone(), weights.cursor.step);
                let number = kept.record.number;
                return self.broken(Rule::HighestWins, || {
                    format!(
                        "generation {number} begins after {} steps, and worker {name} has {step}",
                        base.step
                    )
                });
            }
        }
    }

    /// Everyone has taken part in a collective of a generation.
    pub(crate) fn check_collective(&mut self, generation: u64) {
        let newest = self.rules.newest();
        if generation < newest {
            self.broken(Rule::OneLiveGeneration, || {
                format!(
                    "everyone took part in a collective of generation {generation}, after \
                     generation {newest} was formed"
                )
            });
        }
    }

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

/// Whether weights are the beginning of a lineage.
fn holds(weights: &Weights, steps: &[StepReport]) -> bool {
    weights.trained.len() <= steps.len()
        && weights.trained.iter().zip(steps).all(|(trained, report)| {
            *trained == Trained::of(&report.step, report.generation, report.fed)
        })
}
