//! The audit of one step's feeding: whatever the ranks fed but the plan shows.

use ledger::{Audit, FedDigest, PackedPage, PageRow, Step, StepReport, Violation};
use proptest::prelude::*;

use crate::history::{History, trained_histories};

/// A history and one of its surviving steps.
fn history_and_step() -> impl Strategy<Value = (History, Step)> {
    trained_histories().prop_flat_map(|history| {
        let steps: Vec<Step> = history
            .lineage()
            .steps
            .values()
            .map(|report| report.step)
            .collect();
        (Just(history), prop::sample::select(steps))
    })
}

/// The digest of the sequence that the run really has at a position.
fn digest(history: &History, position: u64) -> FedDigest {
    FedDigest::of(position, &history.world.sequences()[position as usize])
}

/// The audit after a surviving step's report was tampered with.
fn audit_with(history: &History, step: Step, tamper: impl Fn(&mut StepReport)) -> Audit {
    let mut lineage = history.lineage();
    tamper(lineage.steps.get_mut(&step.number).unwrap());
    history.audit_of(&lineage)
}

/// What the audit says of a step's content.
fn finding(audit: &Audit) -> Option<&str> {
    audit
        .violations
        .iter()
        .find_map(|violation| match violation {
            Violation::WrongContent { finding, .. } => Some(finding.as_str()),
            _ => None,
        })
}

proptest! {
    #![proptest_config(crate::support::config())]

    /// From the step itself, or from the step before.
    #[test]
    fn a_sequence_fed_twice_is_found((history, step) in history_and_step(), index in any::<prop::sample::Index>()) {
        let previous = step.first.min(u64::from(history.world.global_batch.get()));
        let back = if previous > 0 && step.number > 0 { 1 } else { 0 };
        let position = step.first - back + index.index(step.count as usize) as u64;
        let audit = audit_with(&history, step, |report| {
            report.fed += digest(&history, position);
            report.sequences += 1;
        });
        prop_assert_eq!((audit.total.repeated, audit.total.missed), (1, 0));
        prop_assert_eq!(audit.total.trained, audit.total.planned);
        let expected = format!("the sequence at position {position} was fed once too often");
        prop_assert_eq!(finding(&audit), Some(&expected[..]));
        let counted = audit.violations.iter().any(|violation| matches!(violation, Violation::WrongCount { .. }));
        prop_assert!(counted);
    }

    #[test]
    fn a_sequence_left_out_is_found((history, step) in history_and_step(), index in any::<prop::sample::Index>()) {
        let position = step.first + index.index(step.count as usize) as u64;
        let audit = audit_with(&history, step, |report| {
            report.fed = report.fed - digest(&history, position);
            report.sequences -= 1;
        });
        prop_assert_eq!((audit.total.repeated, audit.total.missed), (0, 1));
        prop_assert_eq!(audit.total.trained + 1, audit.total.planned);
        let expected = format!("the sequence at position {position} was not fed");
        prop_assert_eq!(finding(&audit), Some(&expected[..]));
    }

    /// As when two ranks compute one share: the count is right, the content
    /// is not.
    #[test]
    fn a_micro_batch_fed_in_place_of_another_is_found((history, step) in history_and_step(), bs in 1..4_u64) {
        prop_assume!(u64::from(step.count) >= 2 * bs);
        let audit = audit_with(&history, step, |report| {
            for offset in 0..bs {
                report.fed += digest(&history, step.first + offset);
                report.fed = report.fed - digest(&history, step.first + bs + offset);
            }
        });
        prop_assert_eq!((audit.total.repeated, audit.total.missed), (bs, bs));
        prop_assert_eq!(audit.total.trained + bs, audit.total.planned);
        prop_assert!(finding(&audit).is_some_and(|finding| finding.contains("in place of")));
    }

    #[test]
    fn a_wrong_token_id_is_found((history, step) in history_and_step(), index in any::<prop::sample::Index>(), id in 0..4_usize) {
        let position = step.first + index.index(step.count as usize) as u64;
        let mut ids = history.world.sequences()[position as usize].clone();
        ids[id] ^= 1;
        let audit = audit_with(&history, step, |report| {
            report.fed = report.fed - digest(&history, position) + FedDigest::of(position, &ids);
        });
        // Nothing of that step is proven.
        prop_assert_eq!(audit.total.missed, u64::from(step.count));
        prop_assert!(finding(&audit).is_some_and(|finding| finding.contains("something else")));
    }

    #[test]
    fn the_right_sequence_under_a_wrong_position_is_found((history, step) in history_and_step()) {
        let ids = history.world.sequences()[step.first as usize].clone();
        let audit = audit_with(&history, step, |report| {
            report.fed = report.fed - FedDigest::of(step.first, &ids) + FedDigest::of(step.first + 1, &ids);
        });
        prop_assert!(finding(&audit).is_some());
    }

    #[test]
    fn a_step_on_other_positions_is_found((history, step) in history_and_step(), back in 1..4_u64) {
        prop_assume!(step.first >= back);
        let audit = audit_with(&history, step, |report| report.step.first -= back);
        prop_assert_eq!(audit.total.missed, u64::from(step.count));
        prop_assert_eq!(audit.total.repeated, back.min(u64::from(step.count)));
        let found = audit.violations.iter().any(|violation| matches!(violation, Violation::WrongStep { .. }));
        prop_assert!(found);
    }

    #[test]
    fn a_miscount_alone_is_found((history, step) in history_and_step()) {
        let audit = audit_with(&history, step, |report| report.sequences += 1);
        prop_assert_eq!(audit.total.trained, audit.total.planned);
        let found = matches!(audit.violations[..], [Violation::WrongCount { .. }]);
        prop_assert!(found, "{:?}", audit.violations);
    }

    /// A step skipped for a gradient that was not finite consumes its
    /// sequences all the same.
    #[test]
    fn a_step_that_was_not_applied_is_counted_and_no_violation((history, step) in history_and_step()) {
        let audit = audit_with(&history, step, |report| report.applied = false);
        prop_assert!(audit.is_clean());
        prop_assert_eq!(audit.total.not_applied, u64::from(step.count));
        prop_assert_eq!(audit.total.trained, audit.total.planned);
    }

    #[test]
    fn pages_that_changed_or_vanished_are_found((history, step) in history_and_step(), vanish in any::<bool>()) {
        let (bad, _) = history.world.full_table().locate(step.first).unwrap();
        let audit = ledger::audit(
            &history.world.order,
            history.world.global_batch,
            history.world.rows(),
            &history.lineage(),
            history.until,
            |ordinal| {
                let page = history.world.page(ordinal);
                if ordinal != bad {
                    Ok(page)
                } else if vanish {
                    Err("the source is gone".to_owned())
                } else {
                    let mut ids = page.ids().to_vec();
                    ids[0] ^= 1;
                    PackedPage::new(page.page(), page.sl(), page.dropped_tokens(), ids).map_err(|error| error.to_string())
                }
            },
        );
        let found = audit.violations.iter().filter(|violation| matches!(
            violation,
            Violation::PageUnavailable { ordinal, .. } | Violation::PageDiffers { ordinal, .. } if *ordinal == bad
        )).count();
        prop_assert_eq!(found, 1, "{:?}", audit.violations);
        prop_assert!(audit.total.missed >= u64::from(step.count));
        prop_assert_eq!(audit.total.trained + audit.total.missed, audit.total.planned);
        prop_assert!(audit.total.unverified >= u64::from(step.count));
        prop_assert!(audit.total.unverified <= audit.total.missed);
    }

    #[test]
    fn a_hole_in_the_page_table_is_found((history, step) in history_and_step()) {
        let (hole, _) = history.world.full_table().locate(step.first).unwrap();
        let rows: Vec<_> = history.world.rows().into_iter().filter(|(ordinal, _)| *ordinal != hole).collect();
        let audit = ledger::audit(
            &history.world.order,
            history.world.global_batch,
            rows,
            &history.lineage(),
            history.until,
            |ordinal| Ok(history.world.page(ordinal)),
        );
        let found = audit.violations.iter().any(|violation| matches!(
            violation,
            Violation::RowMissing { ordinal, .. } if *ordinal == hole
        ));
        prop_assert!(found, "{:?}", audit.violations);
    }

    #[test]
    fn a_row_about_another_page_is_found((history, step) in history_and_step()) {
        let (bad, _) = history.world.full_table().locate(step.first).unwrap();
        let mut rows = history.world.rows();
        rows[bad.0 as usize].1 = PageRow::Skipped { page: ledger::PageId(u64::MAX), reason: String::new() };
        let audit = ledger::audit(
            &history.world.order,
            history.world.global_batch,
            rows,
            &history.lineage(),
            history.until,
            |ordinal| Ok(history.world.page(ordinal)),
        );
        let found = audit.violations.iter().any(|violation| matches!(violation, Violation::Table(_)));
        prop_assert!(found, "{:?}", audit.violations);
    }

    /// Each page is asked for once, in order: preparing one again is costly.
    #[test]
    fn pages_are_fetched_once_and_in_order(history in trained_histories()) {
        let mut fetched = Vec::new();
        let audit = ledger::audit(
            &history.world.order,
            history.world.global_batch,
            history.world.rows(),
            &history.lineage(),
            history.until,
            |ordinal| {
                fetched.push(ordinal);
                Ok(history.world.page(ordinal))
            },
        );
        prop_assert!(audit.is_clean());
        prop_assert!(fetched.is_sorted_by(|one, next| one < next), "{:?}", fetched);
    }
}

/// The findings of an audit as its JSON shows them: one object, violations in
/// words.
#[test]
fn an_audit_is_readable_json() {
    let world = crate::support::World {
        order: crate::support::order(4, 3, 0, 3),
        global_batch: crate::support::nonzero(4),
        pages: vec![Some(3), None, Some(2)],
    };
    let (steps, until) = world.steps();
    let generations = [crate::support::generation(1, None, ledger::Cursor::start())];
    let reports = [world.report(1, steps[0])];
    let lineage = ledger::lineage(&generations, &reports);
    let audit = ledger::audit(
        &world.order,
        world.global_batch,
        world.rows(),
        &lineage,
        until,
        |ordinal| Ok(world.page(ordinal)),
    );
    let counts = serde_json::json!({
        "planned": 5, "trained": 4, "repeated": 0, "missed": 1, "unverified": 0, "skipped": 1,
        "not_applied": 0
    });
    let mut epoch = counts.clone();
    epoch["epoch"] = 0.into();
    epoch["complete"] = true.into();
    let expected = serde_json::json!({
        "epochs": [epoch],
        "total": counts,
        "skipped_pages": [{
            "ordinal": 1, "page": world.order.page_at(ledger::Ordinal(1)).0, "epoch": 0,
            "reason": "the source has no such rows"
        }],
        "violation_count": 1,
        "violations": [
            "step 1 of epoch 0 (positions 4..5, its last) was reported by nobody, but belongs to \
             generation 1"
        ],
    });
    assert_eq!(serde_json::to_value(&audit).unwrap(), expected);
}
