//! Steps and evaluations as members report them.

use std::collections::{BTreeMap, VecDeque};

use ledger::Cursor;

use super::epoch_loss::EpochLosses;
use super::event::{Millis, World};
use super::generation::Leave;
use super::happening::Happening;
use super::history::History;
use super::{Machine, Sabotage};
use crate::records::{Evaluation, Record, Reported, WorkerId};

/// Steps over which speed is measured, and repeated reports are compared.
const RECENT: usize = 64;
/// For how many times the grace of a returning worker a missing report is
/// waited for.
const REPORT_GRACES: Millis = 10;
/// Reports held back for an earlier one that is still missing.
const HELD_BACK: usize = 4096;

/// The reported part of the surviving lineage.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    /// Every step before this point is durable.
    reported: Cursor,
    /// The last steps before it.
    recent: VecDeque<Reported>,
    /// Steps after it that wait for those in between.
    early: BTreeMap<u64, Reported>,
    /// Since when there are any.
    early_since: Option<Millis>,
    /// The losses of the running epoch's steps.
    epoch: EpochLosses,
    last_evaluation: Option<Evaluation>,
}

/// What became of a report.
enum Taken {
    /// It continues the lineage.
    New,
    /// It was known, and says the same.
    Known,
    /// It waits for an earlier one.
    Early,
    /// It cannot be.
    Contradicts(String),
}

impl Reports {
    pub(super) fn new(history: &History) -> Reports {
        let evaluations = history.evaluations.iter().map(|(_, evaluation)| evaluation);
        let mut reports = Reports {
            reported: history.reported(),
            recent: VecDeque::new(),
            early: BTreeMap::new(),
            early_since: None,
            epoch: EpochLosses::default(),
            last_evaluation: evaluations.max_by_key(|e| e.cursor.step).copied(),
        };
        for reported in &history.steps {
            reports.remember(*reported);
        }
        reports
    }

    /// The point up to which every step is durable.
    pub(super) fn reported(&self) -> Cursor {
        self.reported
    }

    pub(super) fn last(&self) -> Option<&Reported> {
        self.recent.back()
    }

    pub(super) fn last_evaluation(&self) -> Option<&Evaluation> {
        self.last_evaluation.as_ref()
    }

    /// Goes back to the base of a new generation, or skips epochs without
    /// steps.
    pub(super) fn begin_at(&mut self, base: Cursor) {
        self.early.clear();
        self.early_since = None;
        self.reported = base;
        self.recent.retain(|r| r.report.step.number < base.step);
        self.epoch.go_back_to(base.step);
        self.last_evaluation = self.last_evaluation.filter(|e| e.cursor.step <= base.step);
    }

    fn examine(&self, reported: &Reported) -> Taken {
        let step = &reported.report.step;
        if step.number < self.reported.step {
            let known = self
                .recent
                .iter()
                .find(|r| r.report.step.number == step.number);
            return match known {
                Some(known) if !known.report.agrees_with(&reported.report) => {
                    Taken::Contradicts(format!("reported {step} unlike it was reported before"))
                }
                _ => Taken::Known,
            };
        }
        if step.number > self.reported.step {
            return Taken::Early;
        }
        if step.first != self.reported.position || step.epoch < self.reported.epoch {
            return Taken::Contradicts(format!("reported {step} after {}", self.reported));
        }
        Taken::New
    }

    fn remember(&mut self, reported: Reported) {
        self.epoch.add(&reported.report);
        self.recent.push_back(reported);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Median over the recent steps of a quantity that a step may lack.
    fn median(&self, quantity: impl Fn(&Reported) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.recent.iter().filter_map(quantity).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// Tokens of the whole cluster per second.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        self.median(Reported::tokens_per_second)
    }

    /// Sequences of the whole cluster per second.
    pub(super) fn sequences_per_second(&self) -> Option<f64> {
        self.median(|r| {
            let seconds = r.times.total;
            (seconds > 0.0 && seconds.is_finite()).then(|| r.report.sequences as f64 / seconds)
        })
    }
}

impl Machine {
    pub(super) fn on_step_reports(
        &mut self,
        worker: &WorkerId,
        world: World,
        reports: Vec<Reported>,
    ) {
        // A member that was counted as lost may still know what was done.
        if self.was_member(worker, world.generation) {
            self.take_reports(worker, world.generation, reports);
        }
    }

    /// Takes the reports of `generation` into the lineage, if that is still
    /// the newest one.
    pub(super) fn take_reports(
        &mut self,
        worker: &WorkerId,
        generation: u64,
        reports: Vec<Reported>,
    ) {
        let newest = self.generations.last().map(|g| g.record.number);
        let is_replaced = newest != Some(generation);
        if is_replaced && !self.settings.breaks(Sabotage::AcceptOldReports) {
            return;
        }
        for reported in reports {
            // A predecessor's steps are settled: its successor's base is final.
            if reported.report.generation == generation {
                self.take_report(worker, reported);
            }
        }
    }

    fn take_report(&mut self, worker: &WorkerId, reported: Reported) {
        match self.reports.examine(&reported) {
            Taken::New => self.keep_report(reported),
            Taken::Known if self.settings.breaks(Sabotage::CountReportsTwice) => {
                self.keep_report(reported);
            }
            Taken::Known => return,
            Taken::Early if self.reports.early.len() < HELD_BACK => {
                let number = reported.report.step.number;
                self.reports.early.insert(number, reported);
                self.reports.early_since.get_or_insert(self.now);
                return;
            }
            Taken::Early => return,
            Taken::Contradicts(what) => return self.fault(worker, what),
        }
        while let Some(next) = self.reports.early.remove(&self.reports.reported.step) {
            match self.reports.examine(&next) {
                Taken::New => self.keep_report(next),
                Taken::Contradicts(what) => return self.fault(worker, what),
                Taken::Known | Taken::Early => break,
            }
        }
        if self.reports.early.is_empty() {
            self.reports.early_since = None;
        }
    }

    /// Goes back to what is known, when steps in between stay unreported: what
    /// comes after them could not be proved, however long it went on.
    pub(super) fn expire_missing_reports(&mut self) {
        let patience = REPORT_GRACES * self.settings.reports_grace_ms;
        let expired = |since: Millis| self.now >= since + patience;
        if self.reports.early_since.is_some_and(expired) {
            let reason = format!(
                "nobody reported step {}, and others are known after it",
                self.reports.reported.step
            );
            self.leave(Leave::Now, reason);
        }
    }

    fn keep_report(&mut self, reported: Reported) {
        self.persist(Record::Step(reported));
        self.reports.remember(reported);
        if let Some(generation) = &mut self.current {
            generation.pace.note(reported.times.total);
        }
        self.reports.reported = reported.report.step.after();
        let tokens_per_second = self.reports.tokens_per_second();
        let seconds_left = self.seconds_left();
        self.tell(Happening::Stepped {
            reported,
            tokens_per_second,
            seconds_left,
        });
        if reported.report.step.last_of_epoch {
            let epoch = reported.report.step.epoch;
            let loss = self.reports.epoch.mean();
            self.tell(Happening::EpochTrained { epoch, loss });
        }
        self.commit_waiting_checkpoints();
    }

    /// Seconds until the run's end at the present speed.
    pub(super) fn seconds_left(&self) -> Option<f64> {
        let epochs = self.settings.epochs?;
        let pages_per_epoch = self.order.config().pages_per_epoch;
        let sequences = self.table.estimated_sequences(epochs, pages_per_epoch);
        let left = (sequences - self.reports.reported.position as f64).max(0.0);
        Some(left / self.reports.sequences_per_second()?)
    }

    pub(super) fn on_evaluated(&mut self, worker: &WorkerId, world: World, evaluation: Evaluation) {
        if !self.is_in_current(worker, world) {
            return;
        }
        if !evaluation.loss.is_finite() {
            self.fault(
                worker,
                format!("evaluated to a loss of {}", evaluation.loss),
            );
        }
        self.persist(Record::Evaluation(world.generation, evaluation));
        self.reports.last_evaluation = Some(evaluation);
        let best = self.checkpoints.best_evaluation();
        let best = best.is_none_or(|best| evaluation.loss < best.loss);
        self.tell(Happening::Evaluated { evaluation, best });
    }
}
