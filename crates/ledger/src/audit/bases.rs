//! The points at which the chain's generations begin: each must be a point of
//! the plan.

use std::collections::BTreeMap;

use super::Violation;
use crate::{Cursor, Lineage};

/// The bases that the walk has yet to meet.
pub(super) struct Bases {
    /// Base and generation, by the base's step.
    pending: BTreeMap<u64, Vec<(Cursor, u64)>>,
}

impl Bases {
    pub(super) fn of(lineage: &Lineage) -> Bases {
        let mut pending: BTreeMap<u64, Vec<(Cursor, u64)>> = BTreeMap::new();
        for span in &lineage.spans {
            pending
                .entry(span.base.step)
                .or_default()
                .push((span.base, span.generation));
        }
        Bases { pending }
    }

    /// Strikes off the generations that begin at a point of the plan.
    pub(super) fn pass(&mut self, point: &Cursor) {
        if let Some(bases) = self.pending.get_mut(&point.step) {
            bases.retain(|(base, _)| base != point);
        }
    }

    /// The generations that should have begun by `end` and did not.
    pub(super) fn not_met_until(self, end: &Cursor) -> Vec<Violation> {
        self.pending
            .into_values()
            .flatten()
            .filter(|(base, _)| (base.step, base.epoch) <= (end.step, end.epoch))
            .map(|(base, generation)| Violation::WrongBase { generation, base })
            .collect()
    }
}
