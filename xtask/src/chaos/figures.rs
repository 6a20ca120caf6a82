//! Figures that are worth reporting of a campaign, as JSON names them.

use std::collections::BTreeMap;

use local_cluster::chaos::Injected;
use local_cluster::{Counts, median};
use serde::Serialize;

use super::Campaigned;

/// How long something took, over several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// How often it was measured.
    pub(crate) count: usize,
    /// Seconds.
    pub(crate) median: f64,
    /// Seconds.
    pub(crate) worst: f64,
}

impl Figures {
    /// Of these seconds; `None` of none.
    pub(crate) fn of(seconds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let seconds: Vec<f64> = seconds.into_iter().collect();
        Some(Self {
            count: seconds.len(),
            worst: seconds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median: median(seconds)?,
        })
    }

    /// Those of each kind of fault.
    pub(super) fn by_kind(
        injected: &[Injected],
        seconds: impl Fn(&Injected) -> f64,
    ) -> BTreeMap<&'static str, Self> {
        let mut by_kind: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for injected in injected {
            let of_kind = by_kind.entry(injected.kind.name()).or_default();
            of_kind.push(seconds(injected));
        }
        let figures = by_kind.into_iter();
        figures
            .filter_map(|(kind, seconds)| Some((kind, Self::of(seconds)?)))
            .collect()
    }
}

/// What the audit counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    /// Sequences of the plan.
    pub(crate) planned: u64,
    /// Of these, trained once at least.
    pub(crate) trained: u64,
    /// Trained more than once.
    pub(crate) repeated: u64,
    /// Not trained.
    pub(crate) missed: u64,
    /// Pages left out, with a reason.
    pub(crate) skipped: u64,
}

impl Lost {
    /// As a campaign's audit counted.
    pub(crate) fn of(campaigned: &Campaigned) -> Self {
        Self::counted(campaigned.audit.total)
    }

    pub(super) fn counted(total: Counts) -> Self {
        Self {
            planned: total.planned,
            trained: total.trained,
            repeated: total.repeated,
            missed: total.missed,
            skipped: total.skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nothing_there_are_no_figures() {
        assert_eq!(Figures::of([]), None);
        let figures = Figures::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(
            (figures.count, figures.median, figures.worst),
            (3, 2.0, 3.0)
        );
    }
}
