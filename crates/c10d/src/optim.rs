use tch::Tensor;

use crate::error::checked;
use crate::{Error, Result, ffi};

/// AdamW's numbers for one update (Loshchilov and Hutter, "Decoupled weight decay
/// regularization"), named as in `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWHyper {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Decoupled weight decay, multiplied by `lr`.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
}

/// One AdamW update of all parameters, in place, in libtorch's fused kernel.
///
/// The lists run parallel. `exp_avgs` and `exp_avg_sqs` have their parameter's shape;
/// `state_steps` are `float` tensors without dimensions on the parameter's device, which
/// count updates and are incremented here before use, as `torch.optim.AdamW` does. All
/// state begins at zero. Bit-identical to `torch.optim.AdamW(fused=True)`.
pub fn fused_adamw_(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    state_steps: &[Tensor],
    hyper: AdamWHyper,
) -> Result<()> {
    for (name, list) in [
        ("gradients", grads),
        ("running means", exp_avgs),
        ("running mean squares", exp_avg_sqs),
        ("step counters", state_steps),
    ] {
        if list.len() != params.len() {
            return Err(Error::Invalid(format!(
                "{} {name} for {} parameters",
                list.len(),
                params.len()
            )));
        }
    }
    let hyper = ffi::AdamW {
        lr: hyper.lr,
        beta1: hyper.beta1,
        beta2: hyper.beta2,
        weight_decay: hyper.weight_decay,
        eps: hyper.eps,
    };
    let [params, grads, exp_avgs, exp_avg_sqs, state_steps] =
        [params, grads, exp_avgs, exp_avg_sqs, state_steps].map(ffi::tensors);
    checked(|error| {
        // SAFETY: five lists of the same length, of tensors that live as long as the
        // call.
        unsafe {
            ffi::c10d_fused_adamw(
                params.as_ptr(),
                grads.as_ptr(),
                exp_avgs.as_ptr(),
                exp_avg_sqs.as_ptr(),
                state_steps.as_ptr(),
                params.len(),
                &hyper,
                error,
            );
        }
    })
}

/// The Euclidean norm of all gradients taken together: a `float` tensor without
/// dimensions, on their device. It is not finite if any of them is not.
pub fn grad_norm(grads: &[Tensor]) -> Result<Tensor> {
    let list = ffi::tensors(grads);
    let raw = checked(|error| {
        // SAFETY: a list of tensors that live as long as the call.
        unsafe { ffi::c10d_grad_norm(list.as_ptr(), list.len(), error) }
    })?;
    let raw = ffi::owned(raw)?;
    // SAFETY: an owned `at::Tensor*`, which is what tch's tensors are.
    Ok(unsafe { Tensor::from_ptr(raw.as_ptr().cast()) })
}

/// Multiplies every tensor, in place, by `factor`: a tensor without dimensions, so that
/// clipping needs no copy from the device.
pub fn scale_(tensors: &[Tensor], factor: &Tensor) -> Result<()> {
    let list = ffi::tensors(tensors);
    checked(|error| {
        // SAFETY: a list of tensors that live as long as the call, as `factor` does.
        unsafe { ffi::c10d_scale(list.as_ptr(), list.len(), ffi::tensor(factor), error) }
    })
}
