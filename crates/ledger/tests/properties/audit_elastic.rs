//! The audit of clusters that lose, replace and restore members: clean where
//! they were honest, and not where a step went to the wrong generation.

use ledger::{Cursor, PageStart, Violation};
use proptest::prelude::*;

use crate::history::{History, histories, trained_histories};

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn honest_histories_are_clean(history in histories()) {
        let audit = history.audit();
        prop_assert_eq!(&audit.violations, &vec![]);
        prop_assert!(audit.is_clean());
        prop_assert_eq!(audit.total.planned, history.until.position);
        prop_assert_eq!(audit.total.trained, history.until.position);
        prop_assert_eq!((audit.total.repeated, audit.total.missed), (0, 0));
        let passed = 0..history.until.page.ordinal.0 as usize;
        let skipped = history.world.pages[passed].iter().filter(|page| page.is_none()).count();
        prop_assert_eq!(audit.total.skipped, skipped as u64);
        prop_assert_eq!(audit.skipped_pages.len(), skipped);
        for page in &audit.skipped_pages {
            prop_assert_eq!(history.world.pages[page.ordinal.0 as usize], None);
            prop_assert_eq!(page.page, history.world.order.page_at(page.ordinal));
            prop_assert_eq!(page.epoch, history.world.order.epoch_of(page.ordinal));
        }
    }

    #[test]
    fn epochs_add_up_and_are_complete_but_the_last(history in histories()) {
        let audit = history.audit();
        let trained: u64 = audit.epochs.iter().map(|epoch| epoch.counts.trained).sum();
        prop_assert_eq!(trained, audit.total.trained);
        for (number, epoch) in audit.epochs.iter().enumerate() {
            prop_assert_eq!(epoch.epoch, number as u64);
            prop_assert_eq!(epoch.complete, epoch.epoch < history.until.epoch);
        }
    }

    #[test]
    fn a_report_that_never_came_is_a_gap(history in trained_histories(), index in any::<prop::sample::Index>()) {
        let mut lineage = history.lineage();
        let gone = index.index(history.survivors.len()) as u64;
        let report = lineage.steps.remove(&gone).unwrap();
        let audit = history.audit_of(&lineage);
        prop_assert_eq!(audit.total.missed, u64::from(report.step.count));
        prop_assert_eq!(audit.total.trained + audit.total.missed, audit.total.planned);
        let found = audit.violations.iter().any(|violation| matches!(
            violation,
            Violation::MissingStep { step, .. } | Violation::WrongGeneration { step, .. } if step.number == gone
        ));
        prop_assert!(found, "{:?}", audit.violations);
    }

    /// A replaced worker that trains on and reports for its old generation, or
    /// reports for one that never was.
    #[test]
    fn a_step_in_the_wrong_generation_is_found(
        history in trained_histories(),
        index in any::<prop::sample::Index>(),
        other in 1..20_u64,
    ) {
        let step = index.index(history.survivors.len());
        let owner = history.survivors[step];
        let mut moved = history.clone();
        let step = step as u64;
        // Unless the other generation has a report of its own for the step.
        let taken = history.reports.iter().any(|report| report.generation == other && report.step.number == step);
        prop_assume!(other != owner && !taken);
        for report in &mut moved.reports {
            if report.step.number == step && report.generation == owner {
                report.generation = other;
            }
        }
        let audit = moved.audit();
        let named = audit.violations.iter().any(|violation| matches!(
            violation,
            Violation::WrongGeneration { step: planned, belongs_to, .. }
                if planned.number == step && *belongs_to == owner
        ));
        prop_assert!(named, "{:?}", audit.violations);
        prop_assert!(audit.total.missed > 0);
    }

    #[test]
    fn a_generation_that_begins_beside_the_plan_is_found(
        history in trained_histories(),
        shift in 1..5_u64,
    ) {
        let mut shifted = history.clone();
        let newest = shifted.generations.last_mut().unwrap();
        newest.base.page.position += shift;
        newest.base.position += shift;
        let generation = newest.number;
        // An empty epoch's end may be the base and its start the audit's end.
        prop_assume!(newest.base.epoch <= history.until.epoch);
        let audit = shifted.audit();
        let found = audit.violations.iter().any(|violation| matches!(
            violation,
            Violation::WrongBase { generation: found, .. } if *found == generation
        ));
        prop_assert!(found, "{:?}", audit.violations);
    }

    #[test]
    fn an_end_beside_the_plan_is_found(history in histories(), shift in 1..5_u64) {
        let wrong = [
            Cursor { position: history.until.position + shift, ..history.until },
            Cursor { page: PageStart { position: history.until.page.position + shift, ..history.until.page }, ..history.until },
            Cursor { step: history.until.step + 1000, ..history.until },
            Cursor { epoch: history.until.epoch + 1000, ..history.until },
        ];
        for until in wrong {
            let audit = History { until, ..history.clone() }.audit();
            let found = audit.violations.iter().any(|violation| matches!(violation, Violation::WrongEnd { .. }));
            prop_assert!(found, "{until}: {:?}", audit.violations);
        }
    }

    #[test]
    fn steps_beyond_the_end_are_not_looked_at(history in trained_histories(), index in any::<prop::sample::Index>()) {
        let lineage = history.lineage();
        let last = &lineage.steps[&(index.index(history.survivors.len()) as u64)];
        prop_assume!(lineage.spans.iter().all(|span| span.base.step <= last.step.number));
        let audit = History { until: last.step.after(), ..history }.audit();
        prop_assert!(audit.is_clean(), "{:?}", audit.violations);
        prop_assert_eq!(audit.total.trained, last.step.after().position);
    }
}
