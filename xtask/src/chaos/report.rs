//! What came of a campaign, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use local_cluster::median;
use serde::Serialize;
use serde_json::Value;

use super::campaign::Reached;
use super::loss_curve::LossCurve;
use super::{Figures, Lost};

/// The result of `cargo xtask chaos`. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Why the campaign did not get to its end; then the rest is what it had
    /// reached. Not there when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    seed: u64,
    workers: u32,
    coordinators: u32,
    /// How cables were cut: `namespaces` or `proxies`.
    network: String,
    /// Also one that the cluster did not recover from.
    failures_injected: usize,
    failures_by_kind: BTreeMap<&'static str, usize>,
    /// From each failure to the next step that was reported. Where only the
    /// coordinator or the store was struck, nobody else can make it good, and it
    /// counts from when that was there again.
    recovery_seconds: Recovery,
    recovery_by_kind: BTreeMap<&'static str, Figures>,
    /// Failures that the generation lived through, by kind.
    lived_on: BTreeMap<&'static str, usize>,
    /// Of the median step.
    step_seconds: f64,
    /// Steps of the surviving lineage.
    steps: usize,
    /// Reported steps that were rolled back.
    steps_lost: u64,
    /// Workers that left with the exit code that asks to be started again.
    asked_for_restart: u64,
    /// Null where there was nothing to audit.
    audit: Option<Lost>,
    violations: Vec<Value>,
    /// Null where there was no undisturbed run to compare with.
    loss_curve: Option<LossCurve>,
    left_behind: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Recovery {
    /// Null where nothing was recovered from.
    median: Option<f64>,
    worst: Option<f64>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) seed: u64,
    pub(super) workers: u32,
    pub(super) coordinators: u32,
}

/// Whether all is well.
pub(super) enum Checked {
    Well,
    /// What is not, in words.
    Wrong(Vec<String>),
}

impl Report {
    pub(super) fn of(asked: Asked, reached: &Reached, loss_curve: Option<LossCurve>) -> Self {
        let injected = &reached.injected;
        let mut by_kind: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut lived_on = BTreeMap::new();
        for injected in injected {
            *lived_on.entry(injected.kind.name()).or_default() += usize::from(injected.lived_on());
        }
        let kinds = injected.iter().map(|one| one.kind);
        for kind in kinds.chain(reached.not_recovered_from) {
            *by_kind.entry(kind.name()).or_default() += 1;
        }
        let overall = Figures::of(injected.iter().map(|one| one.next_step));
        let seconds = reached.steps.iter().map(|step| step.times.total);
        let audit = reached.audit.as_ref();
        Self {
            error: reached.error.as_ref().map(|error| format!("{error:#}")),
            seed: asked.seed,
            workers: asked.workers,
            coordinators: asked.coordinators,
            network: reached
                .network
                .map_or(String::new(), |method| method.to_string()),
            failures_injected: by_kind.values().sum(),
            failures_by_kind: by_kind,
            recovery_seconds: Recovery {
                median: overall.map(|figures| figures.median),
                worst: overall.map(|figures| figures.worst),
            },
            recovery_by_kind: Figures::by_kind(injected, |one| one.next_step),
            lived_on,
            step_seconds: median(seconds).unwrap_or(0.0),
            steps: reached.steps.len(),
            steps_lost: reached.steps_lost,
            asked_for_restart: reached.asked_for_restart,
            audit: audit.map(|audit| Lost::counted(audit.total)),
            violations: audit.map_or_else(Vec::new, |audit| audit.violations.clone()),
            loss_curve,
            left_behind: reached.left_behind.clone(),
        }
    }

    pub(super) fn check(&self) -> Checked {
        let mut wrong: Vec<String> = self.error.iter().cloned().collect();
        for violation in &self.violations {
            wrong.push(format!("the audit found {violation}"));
        }
        match &self.audit {
            Some(audit) => {
                if (audit.repeated, audit.missed) != (0, 0) || audit.trained != audit.planned {
                    wrong.push(format!(
                        "of {} sequences {} were trained, {} repeatedly, and {} missed",
                        audit.planned, audit.trained, audit.repeated, audit.missed
                    ));
                }
            }
            None => wrong.push("there was nothing to audit".to_owned()),
        }
        match &self.loss_curve {
            Some(curve) => wrong.extend(curve.wrong()),
            None => wrong.push("no losses were compared".to_owned()),
        }
        if self.failures_injected == 0 {
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
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{} faults in {} steps of {:.2} s (seed {}, {} workers{})",
            self.failures_injected,
            self.steps,
            self.step_seconds,
            self.seed,
            self.workers,
            self.cuts()
        );
        for (kind, count) in &self.failures_by_kind {
            let lived_on = self.lived_on.get(kind).copied().unwrap_or(0);
            let _ = write!(text, "{count:>5} × {kind:<18}");
            if let Some(figures) = self.recovery_by_kind.get(kind) {
                let _ = write!(
                    text,
                    " the next step after {:.2} s (median of {}), {:.2} s at worst;",
                    figures.median, figures.count, figures.worst
                );
            }
            let _ = writeln!(text, " the generation lived on {lived_on} times");
        }
        if let (Some(median), Some(worst)) =
            (self.recovery_seconds.median, self.recovery_seconds.worst)
        {
            let _ = writeln!(
                text,
                "over all: the next step after {median:.2} s in the median, {worst:.2} s at worst"
            );
        }
        match &self.audit {
            Some(audit) => {
                let _ = writeln!(
                    text,
                    "{} sequences planned, {} trained, {} repeated, {} missed; {} steps rolled back",
                    audit.planned, audit.trained, audit.repeated, audit.missed, self.steps_lost
                );
            }
            None => {
                let _ = writeln!(text, "no audit; {} steps rolled back", self.steps_lost);
            }
        }
        if let Some(curve) = &self.loss_curve {
            let _ = write!(
                text,
                "losses differ by at most {:.1e} within 50 steps, {:.1e} over {}; ",
                curve.within_50, curve.worst, curve.steps
            );
        }
        text.push_str(&match self.left_behind.len() {
            0 => "nothing was left behind".to_owned(),
            left => format!("{left} things were left behind"),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use local_cluster::chaos::{Injected, Kind};
    use local_cluster::{Audit, Counts};

    use super::*;

    const ASKED: Asked = Asked {
        seed: 7,
        workers: 3,
        coordinators: 1,
    };

    const FINE: LossCurve = LossCurve {
        steps: 60,
        within_50: 1e-6,
        worst: 1e-5,
    };

    fn injected(kind: Kind, next_step: f64, recovered: bool) -> Injected {
        Injected {
            kind,
            victim: None,
            cut: None,
            lasted: 1.0,
            generation: 1,
            step: 4,
            recovery: recovered.then_some(next_step),
            next_step,
            longest_step: 0.1,
            settled_in: Some(if recovered { 2 } else { 1 }),
        }
    }

    fn reached() -> Reached {
        Reached {
            injected: vec![
                injected(Kind::KillWorker, 1.0, true),
                injected(Kind::KillWorker, 2.0, true),
                injected(Kind::KillCoordinator, 0.5, false),
                injected(Kind::PauseCoordinator, 4.0, true),
            ],
            steps_lost: 2,
            audit: Some(Audit {
                total: Counts {
                    planned: 100,
                    trained: 100,
                    repeated: 0,
                    missed: 0,
                    skipped: 1,
                },
                violations: Vec::new(),
            }),
            ..Reached::default()
        }
    }

    fn json(report: &Report) -> Value {
        serde_json::to_value(report).unwrap()
    }

    #[test]
    fn json_has_numbers_where_programs_expect_them() {
        let report = Report::of(ASKED, &reached(), Some(FINE));
        assert!(matches!(report.check(), Checked::Well));
        let json = json(&report);
        assert_eq!(json["failures_injected"], 4);
        assert_eq!(json["failures_by_kind"]["kill-worker"], 2);
        // Over all failures, whoever was struck.
        let expected = serde_json::json!({ "median": 1.5, "worst": 4.0 });
        assert_eq!(json["recovery_seconds"], expected);
        let expected = serde_json::json!({ "count": 2, "median": 1.5, "worst": 2.0 });
        assert_eq!(json["recovery_by_kind"]["kill-worker"], expected);
        assert_eq!(json["recovery_by_kind"]["kill-coordinator"]["worst"], 0.5);
        assert_eq!(json["lived_on"]["kill-coordinator"], 1);
        assert_eq!(json["steps_lost"], 2);
        let expected = serde_json::json!({
            "planned": 100, "trained": 100, "repeated": 0, "missed": 0, "skipped": 1,
        });
        assert_eq!(json["audit"], expected);
        let expected = serde_json::json!({ "steps": 60, "within_50": 1e-6, "worst": 1e-5 });
        assert_eq!(json["loss_curve"], expected);
        assert!(json.get("error").is_none(), "{json}");
    }

    #[test]
    fn a_cluster_that_did_not_recover_is_reported_as_far_as_it_got() {
        let reached = Reached {
            error: Some(anyhow!("waited in vain").context("after a cut")),
            not_recovered_from: Some(Kind::CutWorker),
            audit: None,
            ..reached()
        };
        let report = Report::of(ASKED, &reached, None);
        let Checked::Wrong(wrong) = report.check() else {
            panic!("all is well, it says");
        };
        assert_eq!(wrong[0], "after a cut: waited in vain");
        let json = json(&report);
        assert_eq!(json["error"], "after a cut: waited in vain");
        assert_eq!(json["failures_injected"], 5);
        assert_eq!(json["failures_by_kind"]["cut-worker"], 1);
        assert_eq!(json["recovery_seconds"]["worst"], 4.0);
        assert_eq!(json["audit"], Value::Null);
        assert_eq!(json["loss_curve"], Value::Null);
    }

    #[test]
    fn before_the_first_failure_there_is_no_recovery() {
        let json = json(&Report::of(ASKED, &Reached::default(), None));
        assert_eq!(json["failures_injected"], 0);
        let expected = serde_json::json!({ "median": null, "worst": null });
        assert_eq!(json["recovery_seconds"], expected);
    }

    #[test]
    fn each_thing_that_is_wrong_is_told() {
        let mut lost = reached();
        if let Some(audit) = &mut lost.audit {
            audit.total.trained = 99;
            audit.total.missed = 1;
        }
        lost.left_behind = vec!["port 1".to_owned()];
        let far = LossCurve {
            within_50: 1e-3,
            ..FINE
        };
        let Checked::Wrong(wrong) = Report::of(ASKED, &lost, Some(far)).check() else {
            panic!("all is well, it says");
        };
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }
}
