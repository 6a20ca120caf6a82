//! From summed gradients to those of a step.

use tch::Tensor;

use crate::error::ModelError;
use crate::gpt2::Gpt2;

/// What keeps a clipped gradient of length 0 from being divided by it; the
/// value of PyTorch's `clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

impl Gpt2 {
    /// Sets every gradient there is to zero, in place: a reducer's buckets may
    /// be views of them.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn zero_gradients(&self) -> Result<(), ModelError> {
        tch::no_grad(|| {
            for (_, parameter) in self.parameters() {
                let mut gradient = parameter.grad();
                if gradient.defined() {
                    let _ = gradient.f_zero_()?;
                }
            }
            Ok(())
        })
    }

    /// Turns gradients that are sums over `tokens` predicted tokens into those
    /// of the mean, and shortens them to `max_norm` if they are longer, in one
    /// pass over them. Gives the mean's norm (over all parameters, before
    /// shortening); when that is not finite, gradients are left as they are.
    ///
    /// # Errors
    /// When a parameter has no gradient, or libtorch fails.
    pub fn average_gradients(&self, tokens: u64, max_norm: Option<f64>) -> Result<f64, ModelError> {
        let gradients = gradients(self.parameters())?;
        let norm_of_sum = c10d::grad_norm(&gradients)?.f_double_value(&[])?;
        let norm = norm_of_sum / tokens as f64;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let shortening = match max_norm {
            Some(most) => (most / (norm + CLIP_EPSILON)).min(1.0),
            None => 1.0,
        };
        let factor = Tensor::f_from_slice(&[(shortening / tokens as f64) as f32])?;
        let factor = factor.f_reshape([0_i64; 0])?.f_to_device(self.device())?;
        c10d::scale_(&gradients, &factor)?;
        Ok(norm)
    }
}

/// The gradient of each parameter.
pub(crate) fn gradients(parameters: &[(String, Tensor)]) -> Result<Vec<Tensor>, ModelError> {
    let mut gradients = Vec::with_capacity(parameters.len());
    for (name, parameter) in parameters {
        let gradient = parameter.grad();
        if !gradient.defined() {
            return Err(ModelError::NoGradient { name: name.clone() });
        }
        gradients.push(gradient);
    }
    Ok(gradients)
}
