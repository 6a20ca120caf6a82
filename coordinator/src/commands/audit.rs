//! `coordinator audit`.

use cli::{Failure, Refused};
use proto::v1;
use serde_json::Value;

use super::{StoredRun, call_failed, connect};
use crate::args::AuditArgs;
use crate::audit::audit_run;

/// Prints an audit of the run.
///
/// # Errors
/// If there are violations; if the run cannot be read.
pub async fn audit(args: AuditArgs) -> Result<(), Failure> {
    let stored = StoredRun::open(&args.subject).await?;
    let report = match (stored, &args.subject.coordinator) {
        (Some(run), _) => {
            let packed = run.packed.ok_or_else(|| {
                Refused::new("add the --state-dir that holds the run's packed pages")
            })?;
            let report = audit_run(&run.store, &packed, &run.config)?;
            serde_json::to_value(report)?
        }
        (None, addresses) => {
            let connection = connect(addresses).await?;
            let answered = connection.operator().audit(v1::AuditRequest {}).await;
            let answer = answered.map_err(call_failed)?.into_inner();
            serde_json::from_str(&answer.report)?
        }
    };
    if args.json {
        println!("{report}");
    } else {
        show(&report);
    }
    match violation_count(&report) {
        0 => Ok(()),
        found => Err(anyhow::anyhow!(
            "the audit found {found} violation{}",
            if found == 1 { "" } else { "s" }
        )
        .into()),
    }
}

fn violations(report: &Value) -> &[Value] {
    report["violations"].as_array().map_or(&[], Vec::as_slice)
}

/// How many there are, listed or not.
fn violation_count(report: &Value) -> u64 {
    let listed = violations(report).len() as u64;
    report["violation_count"].as_u64().unwrap_or(0).max(listed)
}

fn show(report: &Value) {
    let counts = ["planned", "trained", "repeated", "missed", "skipped"];
    println!("run {}", report["run_id"].as_str().unwrap_or_default());
    println!(
        "{:>8}{}",
        "epoch",
        counts.map(|name| format!("{name:>12}")).concat()
    );
    let row = |name: &str, entry: &Value| {
        let values = counts.map(|count| format!("{:>12}", entry[count].as_u64().unwrap_or(0)));
        println!("{name:>8}{}", values.concat());
    };
    for epoch in report["epochs"].as_array().into_iter().flatten() {
        row(&epoch["epoch"].to_string(), epoch);
    }
    row("total", &report["total"]);
    let pages = |name: &str| report[name].as_array().into_iter().flatten();
    for page in pages("skipped_pages").chain(pages("skipped_evaluation_pages")) {
        let use_of_it = match page["epoch"].as_u64() {
            Some(epoch) => format!("epoch {epoch}"),
            None => "the evaluation".to_owned(),
        };
        let reason = page["reason"].as_str().unwrap_or("unknown");
        println!("page {} is skipped in {use_of_it}: {reason}", page["page"]);
    }
    for violation in violations(report) {
        println!("violation: {}", violation.as_str().unwrap_or("unknown"));
    }
    let listed = violations(report).len() as u64;
    let unlisted = violation_count(report).saturating_sub(listed);
    if unlisted > 0 {
        println!("and {unlisted} more violations");
    }
}
