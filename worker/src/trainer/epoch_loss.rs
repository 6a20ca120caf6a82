//! The training loss of an epoch so far.
//!
//! It is part of the state: whoever takes over weights and moments takes over what
//! the epoch has cost until there, so that an epoch's mean does not depend on which
//! generations its steps were done in.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::metrics::StepMetrics;

/// The name of its file in a checkpoint's training state.
pub(crate) const EPOCH_LOSS_FILE: &str = "epoch_loss.json";

/// Training loss summed over an epoch's steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochLoss {
    /// Cross-entropy in nats, summed over predicted tokens.
    loss_sum: f64,
    /// Predicted tokens.
    tokens: u64,
    sequences: u64,
}

impl EpochLoss {
    pub(super) fn add(&mut self, step: &StepMetrics) {
        self.loss_sum += step.loss_sum;
        self.tokens += step.tokens;
        self.sequences += step.sequences;
    }

    /// Nats per predicted token; NaN for an epoch without any.
    pub(super) fn mean(&self) -> f64 {
        self.loss_sum / self.tokens as f64
    }

    pub(super) fn sequences(&self) -> u64 {
        self.sequences
    }

    /// As int64 of shape `[3]`, for a broadcast: a float's bits and two counts.
    pub(super) fn to_tensor(self, device: Device) -> Tensor {
        let words = [self.loss_sum.to_bits(), self.tokens, self.sequences];
        Tensor::from_slice(&words.map(u64::cast_signed)).to_device(device)
    }

    /// What [`EpochLoss::to_tensor`] made.
    ///
    /// # Errors
    /// If it is not of that kind and shape.
    pub(super) fn from_tensor(tensor: &Tensor) -> Result<EpochLoss, tch::TchError> {
        let tensor = tensor.f_to_kind(Kind::Int64)?.f_to_device(Device::Cpu)?;
        let word =
            |index| Ok::<u64, tch::TchError>(tensor.f_int64_value(&[index])?.cast_unsigned());
        Ok(EpochLoss {
            loss_sum: f64::from_bits(word(0)?),
            tokens: word(1)?,
            sequences: word(2)?,
        })
    }

    /// The content of its file; `None` for a loss that is not finite, which JSON
    /// cannot say.
    pub(crate) fn to_json(self) -> Option<Vec<u8>> {
        let is_finite = self.loss_sum.is_finite();
        is_finite.then(|| serde_json::to_vec(&self).ok()).flatten()
    }

    /// Reads it from a checkpoint's training state; nothing, where that has none.
    ///
    /// # Errors
    /// If the file cannot be read, or says something else.
    pub(super) fn read(state: &Path) -> io::Result<EpochLoss> {
        match std::fs::read(state.join(EPOCH_LOSS_FILE)) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(EpochLoss::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> EpochLoss {
        EpochLoss {
            loss_sum: 1.0 / 3.0 + 1e9,
            tokens: u64::MAX - 1,
            sequences: 7,
        }
    }

    #[test]
    fn it_travels_bit_for_bit() {
        let there = EpochLoss::from_tensor(&some().to_tensor(Device::Cpu)).unwrap();
        assert_eq!(there, some());
    }

    #[test]
    fn it_is_kept_bit_for_bit_and_a_state_without_it_has_none() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(EpochLoss::read(state.path()).unwrap(), EpochLoss::default());
        let file = state.path().join(EPOCH_LOSS_FILE);
        std::fs::write(&file, some().to_json().unwrap()).unwrap();
        assert_eq!(EpochLoss::read(state.path()).unwrap(), some());
        std::fs::write(&file, "{}").unwrap();
        EpochLoss::read(state.path()).unwrap_err();
        let infinite = EpochLoss {
            loss_sum: f64::INFINITY,
            ..some()
        };
        assert_eq!(infinite.to_json(), None);
    }

    #[test]
    fn the_epochs_loss_is_the_mean_over_tokens_and_not_over_steps() {
        let mut epoch = EpochLoss::default();
        for (loss_sum, tokens) in [(100.0, 10), (10.0, 10), (0.0, 90)] {
            epoch.add(&StepMetrics {
                loss_sum,
                tokens,
                ..StepMetrics::none()
            });
        }
        assert!((epoch.mean() - 1.0).abs() < 1e-12);
    }
}
