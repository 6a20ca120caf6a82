//! One fault of feeding, of any kind, at any place of any history: the audit
//! names the step, and nothing else.

use ledger::{FedDigest, Violation};
use proptest::prelude::*;

use crate::history::{History, trained_histories};

/// What went wrong in a step, by positions of the run.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A sequence was fed beside the step's own.
    Added(u64),
    /// One of the step's own was not fed.
    Omitted(u64),
    /// A sequence was fed in place of one of the step's own.
    Substituted { own: u64, by: u64 },
    /// One of the step's own was fed under another position.
    Misplaced { own: u64, at: u64 },
}

#[derive(Clone, Debug)]
struct Case {
    history: History,
    step: u64,
    fault: Fault,
    /// Whether the ranks counted what they fed, or what they should have.
    honest_count: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let index = any::<prop::sample::Index>;
    let indices = (index(), index(), index());
    (trained_histories(), indices, 0..4_u8, any::<bool>()).prop_map(
        |(history, (step, own, other), kind, honest_count)| {
            let step = step.index(history.survivors.len());
            let planned = history.steps[step];
            let sequences = history.world.sequences().len();
            let own = planned.first + own.index(planned.count as usize) as u64;
            // Any sequence of the whole run, trained or not.
            let other = other.index(sequences) as u64;
            let fault = match kind {
                0 => Fault::Added(other),
                1 => Fault::Omitted(own),
                2 => Fault::Substituted { own, by: other },
                _ => Fault::Misplaced { own, at: other },
            };
            Case {
                history,
                step: step as u64,
                fault,
                honest_count,
            }
        },
    )
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn any_single_fault_is_caught_and_its_step_is_named(case in cases()) {
        let Case { history, step, fault, honest_count } = case;
        let sequences = history.world.sequences();
        let of = |position: u64, content: u64| FedDigest::of(position, &sequences[content as usize]);
        let mut lineage = history.lineage();
        let report = lineage.steps.get_mut(&step).unwrap();
        let planned = report.sequences;
        match fault {
            Fault::Added(position) => {
                report.fed += of(position, position);
                report.sequences += 1;
            }
            Fault::Omitted(own) => {
                report.fed = report.fed - of(own, own);
                report.sequences -= 1;
            }
            Fault::Substituted { own, by } => {
                prop_assume!(own != by);
                report.fed = report.fed - of(own, own) + of(by, by);
            }
            Fault::Misplaced { own, at } => {
                prop_assume!(own != at);
                report.fed = report.fed - of(own, own) + of(at, own);
            }
        }
        if !honest_count {
            report.sequences = planned;
        }
        let audit = history.audit_of(&lineage);
        prop_assert!(!audit.is_clean());
        for violation in &audit.violations {
            let named = match violation {
                Violation::WrongCount { step, .. } | Violation::WrongContent { step, .. } => step.number,
                other => return Err(TestCaseError::fail(format!("{other}"))),
            };
            prop_assert_eq!(named, step);
        }
        let content = audit.violations.iter().any(|v| matches!(v, Violation::WrongContent { .. }));
        prop_assert!(content, "{:?}", audit.violations);
        prop_assert_eq!(audit.total.trained + audit.total.missed, audit.total.planned);
        // What was fed in place of another, or not at all, is not counted as trained.
        if !matches!(fault, Fault::Added(_)) {
            prop_assert!(audit.total.missed > 0);
        }
    }
}
