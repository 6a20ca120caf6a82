//! What happens, as log lines for people.

use std::time::{Duration, Instant};

use crate::machine::{Happening, Origin};
use crate::records::Reported;

/// Steps are shown at most this often.
const STEP_INTERVAL: Duration = Duration::from_secs(1);

/// Turns happenings into log lines: one for each, but for steps, which are
/// shown once a second at most.
#[derive(Debug)]
pub(crate) struct Progress {
    last_step: Option<Instant>,
    epochs: Option<u64>,
}

impl Progress {
    /// For a run of so many epochs.
    pub(crate) fn new(epochs: Option<u64>) -> Progress {
        Progress {
            last_step: None,
            epochs,
        }
    }

    /// Shows one happening.
    pub(crate) fn show(&mut self, happening: &Happening) {
        match happening {
            Happening::Joined { worker, device } => {
                tracing::info!(device, "worker {worker} joined")
            }
            Happening::Lost { worker, reason } => {
                tracing::info!("worker {worker} is gone: {reason}")
            }
            Happening::Waiting { reason } => tracing::info!("{reason}"),
            Happening::Formed {
                generation,
                members,
                base,
                origin,
                reason,
                rolled_back,
            } => {
                let names: Vec<&str> = members.iter().map(|worker| worker.0.as_str()).collect();
                let state = match origin {
                    Origin::Rank(rank) => format!("the state of rank {rank}"),
                    Origin::Initial { weights: None } => "a model from scratch".to_owned(),
                    Origin::Initial { weights: Some(_) } => "the loaded weights".to_owned(),
                    Origin::Checkpoint(id) => format!("checkpoint {id}"),
                };
                tracing::info!(
                    members = names.join(","),
                    step = base.step,
                    "generation {generation} formed from {state}: {reason}"
                );
                if *rolled_back > 0 {
                    tracing::warn!("{rolled_back} steps that no member holds are rolled back");
                }
            }
            Happening::Adopted {
                generation,
                members,
            } => {
                let names: Vec<&str> = members.iter().map(|worker| worker.0.as_str()).collect();
                tracing::info!(
                    members = names.join(","),
                    "generation {generation} went on by itself; waiting for its members"
                );
            }
            Happening::Straggled {
                worker,
                generation,
                doing,
                waited,
                deadline,
            } => tracing::warn!(
                "worker {worker} holds up generation {generation}: {doing}; the others have \
                 waited for {waited:.1} s, and the deadline is {deadline:.1} s"
            ),
            Happening::SetAside {
                worker,
                seconds,
                reason,
            } => tracing::warn!("worker {worker} is set aside for {seconds:.0} s: {reason}"),
            Happening::Readmitted { worker } => {
                tracing::info!("worker {worker} may take part again");
            }
            Happening::Running { generation } => tracing::info!("generation {generation} runs"),
            Happening::Leaving {
                generation,
                at_once,
                reason,
            } => {
                let how = if *at_once { "at once" } else { "after a step" };
                tracing::info!("generation {generation} ends {how}: {reason}");
            }
            Happening::Ended { generation } => tracing::info!("generation {generation} has ended"),
            Happening::Stepped {
                reported,
                tokens_per_second,
                seconds_left,
            } => self.show_step(reported, *tokens_per_second, *seconds_left),
            Happening::EpochTrained { epoch, loss } => {
                let of = self
                    .epochs
                    .map_or(String::new(), |epochs| format!(" of {epochs}"));
                tracing::info!("epoch {}{of} trained, mean loss {loss:.4}", epoch + 1);
            }
            Happening::Evaluated { evaluation, best } => {
                let what = match evaluation.from_training {
                    true => "training average",
                    false => "evaluation",
                };
                let best = if *best { ", the best so far" } else { "" };
                tracing::info!(
                    step = evaluation.cursor.step,
                    "{what}: loss {:.4}{best}",
                    evaluation.loss
                );
            }
            Happening::CheckpointKept { checkpoint, best } => {
                let best = if *best { ", the best so far" } else { "" };
                let megabytes = checkpoint.total_bytes() as f64 / 1e6;
                tracing::info!(
                    "checkpoint {} kept ({megabytes:.1} MB){best}",
                    checkpoint.id
                );
            }
            Happening::CheckpointRefused { reason } => tracing::warn!("{reason}"),
            Happening::CheckpointDamaged { id, reason } => {
                tracing::error!("checkpoint {id} is damaged and dropped: {reason}");
            }
            Happening::CheckpointSound { id, doubt } => {
                tracing::warn!(
                    "checkpoint {id} could not be read ({doubt}), but its files are whole"
                );
            }
            Happening::CheckpointDropped { id } => tracing::debug!("checkpoint {id} dropped"),
            Happening::PageSkipped { slot, page, reason } => {
                tracing::warn!("{page} ({slot}) is skipped: {reason}");
            }
            Happening::PageDelayed {
                slot,
                worker,
                attempts,
                reason,
            } => {
                tracing::warn!(
                    attempts,
                    "{slot} could not be prepared by {worker}: {reason}"
                );
            }
            Happening::Fault { worker, what } => tracing::warn!("worker {worker} {what}"),
            Happening::Complete { cursor } => {
                tracing::info!(
                    steps = cursor.step,
                    sequences = cursor.position,
                    "the run is complete"
                );
            }
            Happening::RunFailed { reason } => tracing::error!("the run cannot go on: {reason}"),
            Happening::Stopping => tracing::info!("stopping after the current step"),
        }
    }

    fn show_step(&mut self, reported: &Reported, speed: Option<f64>, left: Option<f64>) {
        let report = &reported.report;
        if !report.applied {
            tracing::warn!(
                "step {} was skipped: its gradient is not finite",
                report.step.number
            );
        }
        if self
            .last_step
            .is_some_and(|last| last.elapsed() < STEP_INTERVAL)
        {
            return;
        }
        self.last_step = Some(Instant::now());
        let loss = report.mean_loss().unwrap_or(f64::NAN);
        let speed = speed.map_or(String::new(), |speed| format!(", {speed:.0} tokens/s"));
        let left = left.map_or(String::new(), |left| format!(", {} left", duration(left)));
        // Steps are numbered from 0 and counted from 1.
        tracing::info!(
            "step {}: loss {loss:.4}{speed}{left}",
            report.step.number + 1
        );
    }
}

/// Seconds as `2h 03m`, `4m 05s` or `6s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_short() {
        let shown = [0.4, 6.2, 245.0, 7380.0].map(duration);
        assert_eq!(shown, ["0s", "6s", "4m 05s", "2h 03m"]);
    }
}
