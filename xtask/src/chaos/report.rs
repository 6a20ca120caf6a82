//! What came of a campaign, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use local_cluster::chaos::largest_difference;
use local_cluster::{Step, median};
use serde::Serialize;
use serde_json::Value;

use super::{Campaigned, Figures, Lost};

/// The most by which losses may differ, relatively: sums over other shares are
/// rounded otherwise, and rounding is all that may differ.
const LOSS_TOLERANCE: f64 = 1e-4;

/// The result of `cargo xtask chaos`. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    workers: u32,
    /// How cables were cut: `namespaces` or `proxies`.
    network: String,
    failures_injected: Count,
    /// From a fault of a worker to the next generation's first step, where the
    /// generation ended.
    recovery_seconds: Recovery,
    /// Of the median step.
    step_seconds: f64,
    /// Faults that the generation lived through, by kind.
    lived_on: BTreeMap<&'static str, usize>,
    /// Steps of the surviving lineage.
    steps: usize,
    /// Reported steps that were rolled back.
    steps_lost: u64,
    /// Workers that left with the exit code that asks to be started again.
    asked_for_restart: u64,
    audit: Lost,
    violations: Vec<Value>,
    loss_curve_max_relative_difference: f64,
    /// Steps that were compared.
    loss_curve_steps: usize,
    left_behind: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Count {
    total: usize,
    by_kind: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct Recovery {
    median: Option<f64>,
    worst: Option<f64>,
    /// A coordinator's counts from when it was there again.
    by_kind: BTreeMap<&'static str, Figures>,
}

/// Whether all is well.
pub(super) enum Checked {
    Well,
    /// What is not, in words.
    Wrong(Vec<String>),
}

impl Report {
    pub(super) fn of(seed: u64, workers: u32, campaigned: &Campaigned, reference: &[Step]) -> Self {
        let injected = &campaigned.injected;
        let mut by_kind = BTreeMap::new();
        let mut lived_on = BTreeMap::new();
        for injected in injected {
            *by_kind.entry(injected.kind.name()).or_default() += 1;
            *lived_on.entry(injected.kind.name()).or_default() += usize::from(injected.lived_on());
        }
        let of_workers = injected.iter().filter(|one| one.kind.strikes_worker());
        let overall = Figures::of(of_workers.filter_map(|one| one.recovery));
        let (difference, compared) = largest_difference(reference, &campaigned.steps, usize::MAX);
        let seconds = campaigned.steps.iter().map(|step| step.times.total);
        Self {
            seed,
            workers,
            network: campaigned
                .network
                .map_or(String::new(), |method| method.to_string()),
            failures_injected: Count {
                total: injected.len(),
                by_kind,
            },
            recovery_seconds: Recovery {
                median: overall.map(|figures| figures.median),
                worst: overall.map(|figures| figures.worst),
                by_kind: Figures::by_kind(injected, |one| one.recovery),
            },
            step_seconds: median(seconds).unwrap_or(0.0),
            lived_on,
            steps: campaigned.steps.len(),
            steps_lost: campaigned.steps_lost,
            asked_for_restart: campaigned.asked_for_restart,
            audit: Lost::of(campaigned),
            violations: campaigned.audit.violations.clone(),
            loss_curve_max_relative_difference: difference,
            loss_curve_steps: compared,
            left_behind: campaigned.left_behind.clone(),
        }
    }

    pub(super) fn check(&self) -> Checked {
        let mut wrong = Vec::new();
        for violation in &self.violations {
            wrong.push(format!("the audit found {violation}"));
        }
        let audit = &self.audit;
        if (audit.repeated, audit.missed) != (0, 0) || audit.trained != audit.planned {
            wrong.push(format!(
                "of {} sequences {} were trained, {} repeatedly, and {} missed",
                audit.planned, audit.trained, audit.repeated, audit.missed
            ));
        }
        if self.loss_curve_max_relative_difference > LOSS_TOLERANCE {
            wrong.push(format!(
                "the losses differ by {:.1e} from the undisturbed run's",
                self.loss_curve_max_relative_difference
            ));
        }
        if self.failures_injected.total == 0 {
            wrong.push("the time was over before anything was tried".to_owned());
        }
        let left = self.left_behind.iter();
        wrong.extend(left.map(|what| format!("left behind: {what}")));
        match wrong.is_empty() {
            true => Checked::Well,
            false => Checked::Wrong(wrong),
        }
    }

    fn cuts(&self) -> String {
        match self.network.as_str() {
            "" => String::new(),
            method => format!(", cuts by {method}"),
        }
    }

    pub(super) fn in_words(&self) -> String {
        let mut text = String::new();
        let faults = &self.failures_injected;
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{} faults in {} steps of {:.2} s (seed {}, {} workers{})",
            faults.total,
            self.steps,
            self.step_seconds,
            self.seed,
            self.workers,
            self.cuts()
        );
        for (kind, count) in &faults.by_kind {
            let lived_on = self.lived_on.get(kind).copied().unwrap_or(0);
            let _ = write!(text, "{count:>5} × {kind:<18}");
            if lived_on > 0 {
                let _ = write!(text, " the generation lived on {lived_on} times;");
            }
            if let Some(figures) = self.recovery_seconds.by_kind.get(kind) {
                let _ = write!(
                    text,
                    " the next took a step after {:.2} s (median of {}), {:.2} s at worst",
                    figures.median, figures.count, figures.worst
                );
            }
            text.push('\n');
        }
        let audit = &self.audit;
        let _ = write!(
            text,
            "{} sequences planned, {} trained, {} repeated, {} missed; {} steps rolled back\n\
             losses differ by at most {:.1e} over {} steps; {}",
            audit.planned,
            audit.trained,
            audit.repeated,
            audit.missed,
            self.steps_lost,
            self.loss_curve_max_relative_difference,
            self.loss_curve_steps,
            match self.left_behind.len() {
                0 => "nothing was left behind".to_owned(),
                left => format!("{left} things were left behind"),
            }
        );
        text
    }
}
