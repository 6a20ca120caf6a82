//! `coordinator status`.

use std::io::{self, Write};

use cli::Failure;
use client::{ConnectOptions, Connection};
use proto::v1;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{call_failed, connect, unless_interrupted};
use crate::args::StatusArgs;
use crate::progress::duration;

/// Shows what a running coordinator does.
///
/// # Errors
/// If it cannot be reached, or a signal came first.
pub async fn status(args: StatusArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let what = "before the coordinator had answered";
    unless_interrupted(&shutdown, what, ask(args)).await
}

async fn ask(args: StatusArgs) -> Result<(), Failure> {
    let found = connect(&args.coordinator).await?;
    // Of that one, even if it is a standby and another leads.
    let connection = Connection::direct(&found.address(), &ConnectOptions::default())?;
    let answered = connection.operator().status(v1::StatusRequest {}).await;
    let status = answered.map_err(call_failed)?.into_inner();
    cli::print(|out| match args.json {
        true => writeln!(out, "{}", as_json(&status)),
        false => show(out, &status),
    })?;
    Ok(())
}

/// The same names as in the protocol.
fn as_json(status: &v1::StatusResponse) -> Value {
    let context = status.context.clone().unwrap_or_default();
    let manifest = |manifest: &v1::CheckpointManifest| {
        json!({
            "checkpoint_id": manifest.checkpoint_id,
            "step": manifest.cursor.map(|cursor| cursor.step),
            "loss": manifest.evaluation.map(|evaluation| evaluation.loss),
            "bytes": manifest.files.iter().map(|file| file.size).sum::<u64>(),
        })
    };
    let worker = |worker: &v1::WorkerStatus| {
        json!({
            "worker_id": worker.worker_id,
            "rank": worker.rank,
            "device": worker.device,
            "phase": worker.phase,
            "step": worker.cursor.map(|cursor| cursor.step),
            "silence": worker.silence,
        })
    };
    let cursor = status.cursor.unwrap_or_default();
    let run_config: Value = serde_json::from_str(&status.run_config).unwrap_or(Value::Null);
    json!({
        "run_id": context.run_id,
        "term": context.term,
        "generation": context.generation,
        "state": status.state,
        "detail": status.detail,
        "steps": cursor.step,
        "sequences": cursor.position,
        "epoch": cursor.epoch,
        "steps_total": status.steps_total,
        "workers": status.workers.iter().map(worker).collect::<Vec<_>>(),
        "uptime": status.uptime,
        "tokens_per_second": status.tokens_per_second,
        "loss": status.loss,
        "best_loss": status.best.map(|best| best.loss),
        "latest_checkpoint": status.latest_checkpoint.as_ref().map(manifest),
        "best_checkpoint": status.best_checkpoint.as_ref().map(manifest),
        "pages_packed": status.pages_packed,
        "pages_skipped": status.pages_skipped,
        "run_config": run_config,
    })
}

fn show(out: &mut dyn Write, status: &v1::StatusResponse) -> io::Result<()> {
    if status.state == "standby" {
        writeln!(out, "standby: {}", status.detail)?;
        return writeln!(out, "  up for {}", duration(status.uptime));
    }
    let context = status.context.clone().unwrap_or_default();
    let cursor = status.cursor.unwrap_or_default();
    writeln!(out, "run {}: {}", context.run_id, status.state)?;
    writeln!(out, "  {}", status.detail)?;
    let of = status
        .steps_total
        .map_or(String::new(), |total| format!(" of {total}"));
    let loss = status
        .loss
        .map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    writeln!(
        out,
        "  {}{of} steps{loss}, {:.0} tokens/s, up for {}",
        cursor.step,
        status.tokens_per_second,
        duration(status.uptime)
    )?;
    writeln!(
        out,
        "  {} pages packed, {} skipped",
        status.pages_packed, status.pages_skipped
    )?;
    for (name, manifest) in [
        ("latest", &status.latest_checkpoint),
        ("best", &status.best_checkpoint),
    ] {
        if let Some(manifest) = manifest {
            let loss = manifest.evaluation.map(|evaluation| evaluation.loss);
            let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
            writeln!(out, "  {name} checkpoint {}{loss}", manifest.checkpoint_id)?;
        }
    }
    for worker in &status.workers {
        let rank = worker.rank.map_or("-".to_owned(), |rank| rank.to_string());
        writeln!(
            out,
            "  rank {rank:>3}  {:<24} {:<20} {}",
            worker.worker_id, worker.device, worker.phase
        )?;
    }
    Ok(())
}
