//! Records, as they become durable.

use coordinator::records::{KeptGeneration, Record, Reported};

use crate::rule::Rule;
use crate::sim::Sim;

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
}
