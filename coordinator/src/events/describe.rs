//! Words and fields for what the machine tells people: the one place where the
//! coordinator's log and the event log get them from.

use serde_json::Value;

use super::{Description, Kind, Severity};
use crate::machine::{Happening, Origin};
use crate::progress::duration;
use crate::records::{Checkpoint, Evaluation, Reported, WorkerId};

/// Members that a sentence names.
const MEMBERS_NAMED: usize = 8;

/// A happening in words and fields, in a run of so many epochs.
pub fn describe(happening: &Happening, epochs: Option<u64>) -> Description {
    match happening {
        Happening::Joined { worker, device } => {
            about_worker(Kind::WorkerJoined, worker, format!("joined ({device})"))
                .with("device", device.as_str())
        }
        Happening::Lost { worker, reason } => {
            about_worker(Kind::WorkerLost, worker, format!("is gone: {reason}"))
                .with("reason", reason.as_str())
        }
        Happening::Waiting { reason } => {
            Description::new(Kind::Waiting, reason.as_str()).with("reason", reason.as_str())
        }
        Happening::Formed {
            generation,
            members,
            base,
            origin,
            reason,
            rolled_back,
        } => {
            let state = state_of(origin);
            let mut what = format!(
                "formed of {} from {state}, after {} steps: {reason}",
                listed(members),
                base.step
            );
            let mut severity = Severity::Info;
            if *rolled_back > 0 {
                severity = Severity::Warning;
                what += &format!("; {rolled_back} steps that no member holds are rolled back");
            }
            about_generation(Kind::GenerationFormed, *generation, what)
                .at_least(severity)
                .with("members", names(members))
                .with("steps", base.step)
                .with("sequences", base.position)
                .with("origin", state)
                .with("reason", reason.as_str())
                .with("rolled_back", *rolled_back)
        }
        Happening::Adopted {
            generation,
            members,
        } => about_generation(
            Kind::GenerationAdopted,
            *generation,
            format!(
                "of {} went on by itself; waiting for its members",
                listed(members)
            ),
        )
        .with("members", names(members)),
        Happening::Straggled {
            worker,
            generation,
            doing,
            waited,
            deadline,
        } => about_worker(
            Kind::Straggled,
            worker,
            format!(
                "holds up generation {generation}: {doing}; the others have waited for \
                 {waited:.1} s, and the deadline is {deadline:.1} s"
            ),
        )
        .with("generation", *generation)
        .with("doing", doing.as_str())
        .with("waited", *waited)
        .with("deadline", *deadline),
        Happening::SetAside {
            worker,
            seconds,
            reason,
        } => about_worker(
            Kind::WorkerSetAside,
            worker,
            format!("is set aside for {seconds:.0} s: {reason}"),
        )
        .with("seconds", *seconds)
        .with("reason", reason.as_str()),
        Happening::Readmitted { worker } => {
            about_worker(Kind::WorkerReadmitted, worker, "may take part again")
        }
        Happening::Running { generation } => {
            about_generation(Kind::GenerationRunning, *generation, "runs")
        }
        Happening::Leaving {
            generation,
            at_once,
            reason,
        } => {
            let how = if *at_once { "at once" } else { "after a step" };
            about_generation(
                Kind::GenerationLeaving,
                *generation,
                format!("ends {how}: {reason}"),
            )
            .with("at_once", *at_once)
            .with("reason", reason.as_str())
        }
        Happening::Ended { generation } => {
            about_generation(Kind::GenerationEnded, *generation, "has ended")
        }
        Happening::Stepped {
            reported,
            tokens_per_second,
            seconds_left,
        } => stepped(reported, *tokens_per_second, *seconds_left),
        Happening::EpochTrained { epoch, loss } => {
            let of = epochs.map_or(String::new(), |epochs| format!(" of {epochs}"));
            let loss_text = loss.map_or(String::new(), |loss| format!(", mean loss {loss:.4}"));
            let text = format!("epoch {}{of} trained{loss_text}", epoch + 1);
            Description::new(Kind::EpochTrained, text)
                .with("epoch", *epoch)
                .with("loss", *loss)
        }
        Happening::Evaluated { evaluation, best } => evaluated(evaluation, *best),
        Happening::CheckpointKept { checkpoint, best } => kept(checkpoint, *best),
        Happening::CheckpointDropped { id } => Description::new(
            Kind::CheckpointDropped,
            format!("checkpoint {id} dropped: it is no longer needed"),
        )
        .with("checkpoint", id.0.as_str()),
        Happening::CheckpointDamaged { id, reason } => Description::new(
            Kind::CheckpointDamaged,
            format!("checkpoint {id} is damaged and dropped: {reason}"),
        )
        .with("checkpoint", id.0.as_str())
        .with("reason", reason.as_str()),
        Happening::CheckpointSound { id, doubt } => Description::new(
            Kind::CheckpointSound,
            format!("checkpoint {id} could not be read ({doubt}), but its files are whole"),
        )
        .with("checkpoint", id.0.as_str())
        .with("reason", doubt.as_str()),
        Happening::CheckpointRefused { reason } => {
            Description::new(Kind::CheckpointRefused, reason.clone())
                .with("reason", reason.as_str())
        }
        Happening::PageSkipped { slot, page, reason } => Description::new(
            Kind::PageSkipped,
            format!("{page} ({slot}) is skipped: {reason}"),
        )
        .with("page", page.0)
        .with("slot", slot.to_string())
        .with("reason", reason.as_str()),
        Happening::PageDelayed {
            slot,
            worker,
            attempts,
            reason,
        } => Description::new(
            Kind::PageDelayed,
            format!("{slot} could not be prepared by {worker} (attempt {attempts}): {reason}"),
        )
        .with("slot", slot.to_string())
        .with("worker", worker.0.as_str())
        .with("attempts", *attempts)
        .with("reason", reason.as_str()),
        Happening::Fault { worker, what } => {
            about_worker(Kind::WorkerFault, worker, what.as_str()).with("what", what.as_str())
        }
        Happening::Complete { cursor } => Description::new(
            Kind::RunComplete,
            format!(
                "the run is complete after {} steps of {} sequences in all",
                cursor.step, cursor.position
            ),
        )
        .with("steps", cursor.step)
        .with("sequences", cursor.position),
        Happening::RunFailed { reason } => {
            Description::new(Kind::RunFailed, format!("the run cannot go on: {reason}"))
                .with("reason", reason.as_str())
        }
        Happening::Stopping => Description::new(Kind::Stopping, "stopping after the current step"),
    }
}

fn about_worker(kind: Kind, worker: &WorkerId, what: impl AsRef<str>) -> Description {
    Description::new(kind, format!("worker {worker} {}", what.as_ref()))
        .with("worker", worker.0.as_str())
}

fn about_generation(kind: Kind, generation: u64, what: impl AsRef<str>) -> Description {
    Description::new(kind, format!("generation {generation} {}", what.as_ref()))
        .with("generation", generation)
}

fn state_of(origin: &Origin) -> String {
    match origin {
        Origin::Rank(rank) => format!("the state of rank {rank}"),
        Origin::Initial { weights: None } => "a model from scratch".to_owned(),
        Origin::Initial { weights: Some(_) } => "the loaded weights".to_owned(),
        Origin::Checkpoint(id) => format!("checkpoint {id}"),
    }
}

fn stepped(
    reported: &Reported,
    tokens_per_second: Option<f64>,
    seconds_left: Option<f64>,
) -> Description {
    let report = &reported.report;
    let loss = report.mean_loss();
    // Steps are numbered from 0 and counted from 1.
    let mut text = format!(
        "step {}: loss {:.4}",
        report.step.number + 1,
        loss.unwrap_or(f64::NAN)
    );
    if let Some(speed) = tokens_per_second {
        text += &format!(", {speed:.0} tokens/s");
    }
    if let Some(left) = seconds_left {
        text += &format!(", {} left", duration(left));
    }
    let mut severity = Severity::Info;
    if !report.applied {
        severity = Severity::Warning;
        text += "; it was skipped: its gradient is not finite";
    }
    Description::new(Kind::Step, text)
        .at_least(severity)
        .with("step", report.step.number)
        .with("generation", report.generation)
        .with("epoch", report.step.epoch)
        .with("sequences", report.sequences)
        .with("tokens", report.tokens)
        .with("loss", loss)
        .with("grad_norm", report.grad_norm)
        .with("learning_rate", reported.learning_rate)
        .with("applied", report.applied)
        .with("seconds", reported.times.total)
        .with("tokens_per_second", tokens_per_second)
        .with("seconds_left", seconds_left)
}

fn evaluated(evaluation: &Evaluation, best: bool) -> Description {
    let what = match evaluation.from_training {
        true => "training average",
        false => "evaluation",
    };
    let text = format!(
        "{what} after {} steps: loss {:.4}{}",
        evaluation.cursor.step,
        evaluation.loss,
        best_so_far(best)
    );
    Description::new(Kind::Evaluated, text)
        .with("steps", evaluation.cursor.step)
        .with("loss", evaluation.loss)
        .with("from_training", evaluation.from_training)
        .with("best", best)
}

fn kept(checkpoint: &Checkpoint, best: bool) -> Description {
    let bytes = checkpoint.total_bytes();
    let text = format!(
        "checkpoint {} kept ({:.1} MB){}",
        checkpoint.id,
        bytes as f64 / 1e6,
        best_so_far(best)
    );
    Description::new(Kind::CheckpointKept, text)
        .with("checkpoint", checkpoint.id.0.as_str())
        .with("steps", checkpoint.cursor.step)
        .with("bytes", bytes)
        .with(
            "loss",
            checkpoint.evaluation.map(|evaluation| evaluation.loss),
        )
        .with("best", best)
}

fn best_so_far(best: bool) -> &'static str {
    if best { ", the best so far" } else { "" }
}

/// `a, b, c`, or the first few and how many more.
fn listed(members: &[WorkerId]) -> String {
    let named: Vec<&str> = members
        .iter()
        .take(MEMBERS_NAMED)
        .map(|worker| worker.0.as_str())
        .collect();
    match members.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn names(members: &[WorkerId]) -> Value {
    members.iter().map(|worker| worker.0.as_str()).collect()
}
