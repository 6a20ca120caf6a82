//! The arithmetic of a pass.

use std::fmt;
use std::str::FromStr;

use tch::{Device, Kind};

use crate::error::ModelError;

/// The number format that matrix products are computed in. Parameters,
/// gradients and optimizer state are fp32 in either case, as are layer norms'
/// statistics and the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    Fp32,
    /// bfloat16 where libtorch's autocast deems it safe.
    Bf16,
}

/// A precision that is neither `fp32` nor `bf16`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision: choose fp32 or bf16")]
pub struct UnknownPrecision(String);

impl Precision {
    /// Runs `pass`, which should be a forward pass and its loss, in this
    /// precision. The backward pass stays outside: it follows by itself.
    ///
    /// # Errors
    /// Those of `pass`, and when the device has no such arithmetic.
    pub fn scope<T>(
        self,
        device: Device,
        pass: impl FnOnce() -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        match self {
            Precision::Fp32 => pass(),
            Precision::Bf16 => c10d::autocast(device, Kind::BFloat16, pass)?,
        }
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Precision, UnknownPrecision> {
        match text {
            "fp32" => Ok(Precision::Fp32),
            "bf16" => Ok(Precision::Bf16),
            other => Err(UnknownPrecision(other.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
        })
    }
}
