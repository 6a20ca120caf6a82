//! `coordinator steps`.

use cli::Failure;
use proto::v1;
use serde_json::{Value, json};

use super::{StoredRun, call_failed, connect};
use crate::args::StepsArgs;

/// Prints the steps of the surviving lineage.
///
/// # Errors
/// If the coordinator cannot be reached, or its state cannot be read.
pub async fn steps(args: StepsArgs) -> Result<(), Failure> {
    if let Some(run) = StoredRun::open(&args.subject).await? {
        let steps = run.store.lineage_steps(args.from, u64::MAX)?;
        print_all(steps.iter().map(v1::StepReport::from), args.json);
        return Ok(());
    }
    let connection = connect(&args.subject.coordinator).await?;
    let request = v1::StepsRequest {
        from_step: args.from,
        follow: args.follow,
    };
    let answered = connection.operator().steps(request).await;
    let mut stream = answered.map_err(call_failed)?.into_inner();
    let mut steps = Vec::new();
    while let Some(step) = stream.message().await.map_err(call_failed)? {
        match (args.follow, args.json) {
            (true, true) => println!("{}", as_json(&step)),
            (true, false) => println!("{}", as_line(&step)),
            (false, _) => steps.push(step),
        }
    }
    if !args.follow {
        print_all(steps.into_iter(), args.json);
    }
    Ok(())
}

fn print_all(steps: impl Iterator<Item = v1::StepReport>, json: bool) {
    if json {
        let steps: Vec<Value> = steps.map(|step| as_json(&step)).collect();
        println!("{}", Value::Array(steps));
        return;
    }
    for step in steps {
        println!("{}", as_line(&step));
    }
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
