//! What a step's ranks found together.

use serde::{Deserialize, Serialize};

use crate::{FedDigest, Step};

/// What a step really did, all-reduced over its ranks, so that any survivor
/// can report the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The generation that ran the step.
    pub generation: u64,
    /// The step as the ranks planned it.
    pub step: Step,
    /// Cross-entropy in nats, summed over predicted tokens.
    #[serde(with = "float")]
    pub loss_sum: f64,
    /// Predicted tokens.
    pub tokens: u64,
    /// Sequences that went through a model.
    pub sequences: u64,
    /// Digest of those sequences.
    pub fed: FedDigest,
    /// Norm of the gradients before clipping; not finite in a step that was
    /// skipped for that.
    #[serde(with = "float")]
    pub grad_norm: f64,
    /// Whether the optimizer took the step; `false` if every rank skipped it
    /// because a gradient was not finite. Its sequences are consumed either way.
    pub applied: bool,
}

impl StepReport {
    /// Mean loss per predicted token, in nats; `None` if there were none.
    pub fn mean_loss(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.loss_sum / self.tokens as f64)
    }

    /// Whether two reports state the same facts about what was consumed. The
    /// measured floating-point values are left out: they prove nothing, and
    /// NaN differs from itself.
    pub fn agrees_with(&self, other: &StepReport) -> bool {
        self.generation == other.generation
            && self.step == other.step
            && self.tokens == other.tokens
            && self.sequences == other.sequences
            && self.fed == other.fed
            && self.applied == other.applied
    }
}

/// Floats that may be infinite or NaN. JSON has no such numbers, and a report
/// of a step that went wrong is the last one to lose, so there they are words.
mod float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum NumberOrWord {
        Number(f64),
        Word(String),
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `with` passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() && !value.is_finite() {
            serializer.serialize_str(&value.to_string())
        } else {
            serializer.serialize_f64(*value)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        if !deserializer.is_human_readable() {
            return f64::deserialize(deserializer);
        }
        match NumberOrWord::deserialize(deserializer)? {
            NumberOrWord::Number(value) => Ok(value),
            NumberOrWord::Word(word) => word
                .parse()
                .map_err(|_| de::Error::custom(format!("`{word}` is not a number"))),
        }
    }
}
