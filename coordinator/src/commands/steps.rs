//! `coordinator steps`.

use cli::{Failure, Reader};
use proto::v1;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{StoredRun, aside, call_failed, connect, store_failed, unless_interrupted};
use crate::args::StepsArgs;

/// Prints the steps of the surviving lineage.
///
/// # Errors
/// If the coordinator cannot be reached, or its state cannot be read; if a signal
/// came before all was printed, unless it was to go on until then.
pub async fn steps(args: StepsArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    if args.follow {
        // Whoever follows ends it like this.
        let followed = shutdown.run_until_cancelled(follow(args)).await;
        return followed.unwrap_or(Ok(()));
    }
    let what = "before every step was printed";
    unless_interrupted(&shutdown, what, print_once(args)).await
}

async fn print_once(args: StepsArgs) -> Result<(), Failure> {
    if let Some(run) = StoredRun::open(&args.subject).await? {
        let read = move || run.store.lineage_steps(args.from, u64::MAX);
        let steps = aside(read).await?.map_err(store_failed)?;
        return print_all(steps.iter().map(v1::StepReport::from), args.json);
    }
    let mut stream = ask(&args).await?;
    let mut steps = Vec::new();
    while let Some(step) = stream.message().await.map_err(call_failed)? {
        steps.push(step);
    }
    print_all(steps.into_iter(), args.json)
}

async fn follow(args: StepsArgs) -> Result<(), Failure> {
    let mut stream = ask(&args).await?;
    while let Some(step) = stream.message().await.map_err(call_failed)? {
        let printed = cli::print(|out| match args.json {
            true => writeln!(out, "{}", as_json(&step)),
            false => writeln!(out, "{}", as_line(&step)),
        })?;
        if printed == Reader::Gone {
            break;
        }
    }
    Ok(())
}

async fn ask(args: &StepsArgs) -> Result<tonic::Streaming<v1::StepReport>, Failure> {
    let connection = connect(&args.subject.coordinator).await?;
    let request = v1::StepsRequest {
        from_step: args.from,
        follow: args.follow,
    };
    let answered = connection.operator().steps(request).await;
    Ok(answered.map_err(call_failed)?.into_inner())
}

fn print_all(steps: impl Iterator<Item = v1::StepReport>, json: bool) -> Result<(), Failure> {
    cli::print(|out| {
        if json {
            let steps: Vec<Value> = steps.map(|step| as_json(&step)).collect();
            return writeln!(out, "{}", Value::Array(steps));
        }
        for step in steps {
            writeln!(out, "{}", as_line(&step))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The same names as in the protocol, and the mean loss.
fn as_json(step: &v1::StepReport) -> Value {
    let times = step.times.unwrap_or_default();
    json!({
        "generation": step.generation,
        "number": step.number,
        "epoch": step.epoch,
        "first": step.first,
        "count": step.count,
        "last_of_epoch": step.last_of_epoch,
        "loss": mean_loss(step),
        "loss_sum": step.loss_sum,
        "tokens": step.tokens,
        "sequences": step.sequences,
        "fed": step.fed.iter().map(|limb| format!("{limb:08x}")).collect::<String>(),
        "grad_norm": step.grad_norm,
        "applied": step.applied,
        "learning_rate": step.learning_rate,
        "times": {
            "total": times.total,
            "data": times.data,
            "forward": times.forward,
            "backward": times.backward,
            "communication": times.communication,
            "optimizer": times.optimizer,
            "checkpoint": times.checkpoint,
        },
    })
}

fn as_line(step: &v1::StepReport) -> String {
    let loss = mean_loss(step).unwrap_or(f64::NAN);
    let seconds = step.times.unwrap_or_default().total;
    let speed = step.tokens as f64 / seconds;
    let note = if step.applied { "" } else { "  not applied" };
    format!(
        "step {:>6}  epoch {:>3}  loss {loss:.4}  norm {:.3}  lr {:.2e}  {speed:.0} tokens/s{note}",
        step.number, step.epoch, step.grad_norm, step.learning_rate
    )
}

fn mean_loss(step: &v1::StepReport) -> Option<f64> {
    (step.tokens > 0).then(|| step.loss_sum / step.tokens as f64)
}
