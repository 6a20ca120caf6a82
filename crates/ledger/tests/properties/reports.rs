//! Reports: nothing about a step that went wrong gets lost on the way.

use ledger::{Cursor, StepReport};

use crate::support::{World, nonzero, order};

fn report() -> StepReport {
    let world = World {
        order: order(1, 4, 0, 4),
        global_batch: nonzero(3),
        pages: vec![Some(5), Some(1), None, Some(2)],
    };
    let (steps, _) = world.steps();
    world.report(1, steps[1])
}

#[test]
fn a_report_survives_json() {
    let report = report();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<StepReport>(&json).unwrap(), report);
    let cursor = report.step.after();
    let json = serde_json::to_string(&cursor).unwrap();
    assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
}

#[test]
fn infinite_and_undefined_values_survive_json() {
    for (loss_sum, grad_norm) in [
        (f64::NAN, f64::INFINITY),
        (f64::NEG_INFINITY, f64::NAN),
        (0.1, f64::MAX),
    ] {
        let report = StepReport {
            loss_sum,
            grad_norm,
            applied: false,
            ..report()
        };
        let json = serde_json::to_string(&report).unwrap();
        let read: StepReport = serde_json::from_str(&json).unwrap();
        assert_eq!(read.loss_sum.to_string(), loss_sum.to_string());
        assert_eq!(read.grad_norm.to_string(), grad_norm.to_string());
        assert!(read.agrees_with(&report));
    }
}

#[test]
fn the_mean_loss_of_nothing_is_unknown() {
    let report = report();
    let mean = report.loss_sum / report.tokens as f64;
    assert_eq!(report.mean_loss(), Some(mean));
    assert_eq!(
        StepReport {
            tokens: 0,
            ..report
        }
        .mean_loss(),
        None
    );
}
