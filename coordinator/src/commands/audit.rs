//! `coordinator audit`.

use std::io::{self, Write};

use cli::{Failure, Refused};
use proto::v1;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{StoredRun, aside, call_failed, connect, store_failed, unless_interrupted};
use crate::args::AuditArgs;
use crate::audit::audit_run;

/// Prints an audit of the run.
///
/// # Errors
/// If there are violations; if the run cannot be read, or a signal came before
/// all of it was.
pub async fn audit(args: AuditArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let what = "before the audit had come to an end, so it says nothing";
    unless_interrupted(&shutdown, what, compare(args)).await
}

async fn compare(args: AuditArgs) -> Result<(), Failure> {
    let stored = StoredRun::open(&args.subject).await?;
    let report = match (stored, &args.subject.coordinator) {
        (Some(run), _) => {
            let packed = run.packed.ok_or_else(|| {
                Refused::new("add the --state-dir that holds the run's packed pages")
            })?;
            let compare = move || audit_run(&run.store, &packed, &run.config);
            let report = aside(compare).await?.map_err(store_failed)?;
            serde_json::to_value(report)?
        }
        (None, addresses) => {
            let connection = connect(addresses).await?;
            let answered = connection.operator().audit(v1::AuditRequest {}).await;
            let answer = answered.map_err(call_failed)?.into_inner();
            serde_json::from_str(&answer.report)?
        }
    };
    // Whether anybody read it or not, how the audit ended is told by the exit code.
    cli::print(|out| match args.json {
        true => writeln!(out, "{report}"),
        false => show(out, &report),
    })?;
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

fn show(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let counts = ["planned", "trained", "repeated", "missed", "skipped"];
    writeln!(out, "run {}", report["run_id"].as_str().unwrap_or_default())?;
    writeln!(
        out,
        "{:>8}{}",
        "epoch",
        counts.map(|name| format!("{name:>12}")).concat()
    )?;
    let row = |name: &str, entry: &Value| {
        let values = counts.map(|count| format!("{:>12}", entry[count].as_u64().unwrap_or(0)));
        format!("{name:>8}{}", values.concat())
    };
    for epoch in report["epochs"].as_array().into_iter().flatten() {
        writeln!(out, "{}", row(&epoch["epoch"].to_string(), epoch))?;
    }
    writeln!(out, "{}", row("total", &report["total"]))?;
    let pages = |name: &str| report[name].as_array().into_iter().flatten();
    for page in pages("skipped_pages").chain(pages("skipped_evaluation_pages")) {
        let use_of_it = match page["epoch"].as_u64() {
            Some(epoch) => format!("epoch {epoch}"),
            None => "the evaluation".to_owned(),
        };
        let reason = page["reason"].as_str().unwrap_or("unknown");
        writeln!(
            out,
            "page {} is skipped in {use_of_it}: {reason}",
            page["page"]
        )?;
    }
    for violation in violations(report) {
        writeln!(
            out,
            "violation: {}",
            violation.as_str().unwrap_or("unknown")
        )?;
    }
    let listed = violations(report).len() as u64;
    let unlisted = violation_count(report).saturating_sub(listed);
    if unlisted > 0 {
        writeln!(out, "and {unlisted} more violations")?;
    }
    Ok(())
}
