//! What the coordinator itself does, beside what its machine tells.

use super::{Description, Kind, Severity};
use crate::machine::Outcome;
use crate::records::CheckpointId;

/// Something about the coordinator's own life.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// It leads from here on.
    Started {
        /// Its version.
        version: String,
        /// The run.
        run_id: String,
        /// Where it is reached.
        address: String,
        /// Steps that are durable; `None` if it begins the run.
        resumed_at: Option<u64>,
        /// Whether the coordinator before it ended without a word.
        unclean: bool,
    },
    /// It was a standby, and leads from here on.
    TookOver {
        /// Its version.
        version: String,
        /// The run.
        run_id: String,
        /// Where it is reached.
        address: String,
        /// Where the coordinator before it was reached.
        former: String,
        /// Steps that are durable.
        steps: u64,
    },
    /// A checkpoint's files are not what its manifest says; it was dropped.
    CheckpointDamaged {
        /// Which.
        checkpoint: CheckpointId,
        /// What is wrong, in words.
        reason: String,
    },
    /// It is about to exit.
    Stopped {
        /// How its life ends.
        outcome: Outcome,
        /// Steps that are durable.
        steps: u64,
    },
}

impl Notice {
    /// The notice in words and fields.
    pub fn describe(&self) -> Description {
        match self {
            Notice::Started {
                version,
                run_id,
                address,
                resumed_at,
                unclean,
            } => {
                let how = match resumed_at {
                    None => format!("begins run {run_id}"),
                    Some(steps) => format!("continues run {run_id} after {steps} steps"),
                };
                let after = match unclean {
                    true => "; the one before it ended without a word",
                    false => "",
                };
                Description::new(
                    Kind::CoordinatorStarted,
                    format!("coordinator {version} at {address} {how}{after}"),
                )
                .with("version", version.as_str())
                .with("run_id", run_id.as_str())
                .with("address", address.as_str())
                .with("new_run", resumed_at.is_none())
                .with("steps", resumed_at.unwrap_or(0))
                .with("unclean", *unclean)
            }
            Notice::TookOver {
                version,
                run_id,
                address,
                former,
                steps,
            } => Description::new(
                Kind::CoordinatorTookOver,
                format!(
                    "coordinator {version} at {address} took run {run_id} over from {former} \
                         after {steps} steps"
                ),
            )
            .with("version", version.as_str())
            .with("run_id", run_id.as_str())
            .with("address", address.as_str())
            .with("former", former.as_str())
            .with("steps", *steps),
            Notice::CheckpointDamaged { checkpoint, reason } => Description::new(
                Kind::CheckpointDamaged,
                format!("checkpoint {checkpoint} is damaged and dropped: {reason}"),
            )
            .with("checkpoint", checkpoint.0.as_str())
            .with("reason", reason.as_str()),
            Notice::Stopped { outcome, steps } => {
                let (word, reason, severity) = match outcome {
                    Outcome::Complete => ("complete", "the run is complete", Severity::Info),
                    Outcome::Stopped => ("stopped", "it was asked to stop", Severity::Info),
                    Outcome::Failed(reason) => ("failed", reason.as_str(), Severity::Error),
                };
                Description::new(
                    Kind::CoordinatorStopped,
                    format!("the coordinator stopped after {steps} steps: {reason}"),
                )
                .with("outcome", word)
                .with("reason", reason)
                .with("steps", *steps)
                .at_least(severity)
            }
        }
    }
}
