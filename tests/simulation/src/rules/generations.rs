//! Generations: that one is alive at a time, and that each begins with the
//! furthest state.

use coordinator::records::KeptGeneration;
use ledger::StepReport;

use super::Rules;
use crate::rule::Rule;
use crate::sim::Sim;
use crate::weights::{Trained, Weights};

impl Sim {
    /// No worker can be in a generation while another one's members all are in
    /// theirs.
    pub(super) fn check_one_live_generation(&mut self) {
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
    pub(super) fn check_highest_wins(&mut self, kept: &KeptGeneration) {
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
}

/// Whether weights are the beginning of a lineage.
fn holds(weights: &Weights, steps: &[StepReport]) -> bool {
    weights.trained.len() <= steps.len()
        && weights.trained.iter().zip(steps).all(|(trained, report)| {
            *trained == Trained::of(&report.step, report.generation, report.fed)
        })
}
