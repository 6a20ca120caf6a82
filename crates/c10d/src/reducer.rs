use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use tch::Tensor;

use crate::error::checked;
use crate::group::Group;
use crate::{Result, ffi};

/// How gradients are cut into buckets. Must be the same on all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReducerOptions {
    /// Size of the bucket that is reduced first: small, so that communication starts
    /// early in the backward pass.
    pub first_bucket_bytes: usize,
    /// Size of the other buckets. A larger parameter has a bucket to itself.
    pub bucket_bytes: usize,
}

impl Default for ReducerOptions {
    /// DistributedDataParallel's: 1 MiB, then 25 MiB.
    fn default() -> Self {
        Self {
            first_bucket_bytes: 1 << 20,
            bucket_bytes: 25 << 20,
        }
    }
}

/// What one [`Reducer::backward`] cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackwardTimes {
    /// The whole call.
    pub total: Duration,
    /// The part in which this rank only waited: from handing over the last bucket to the
    /// last bucket's sum. What came before it overlapped with computing.
    pub exposed_communication: Duration,
    /// Bytes of gradients that this rank put into the reduction; 0 in a world of one and
    /// without `sync`.
    pub bytes_reduced: u64,
}

/// Sums gradients over the ranks of a group while the backward pass computes them
/// (c10d's `Reducer`, which DistributedDataParallel uses).
///
/// It owns the gradients of its parameters, from construction (zero) to drop
/// (undefined): each is a view of a bucket, in place throughout. Read them, scale them
/// in place, zero them with [`zero_grads`](Self::zero_grads); do not replace them.
///
/// The buckets and their order follow from the parameters' order and sizes alone, never
/// from timing. So with the same ranks and thread counts, sums are the same bit by bit.
pub struct Reducer {
    raw: NonNull<ffi::Reducer>,
    group: Group,
}

// SAFETY: the C++ object is reached through this handle only (`&mut` where it changes),
// and autograd may run a backward pass from any thread.
unsafe impl Send for Reducer {}

impl Reducer {
    /// For these parameters: leaves that require a gradient, each once, in the same
    /// order on all ranks, on the group's device. Their gradients become zero.
    ///
    /// Drop the reducer of the previous generation first.
    pub fn new(group: &Group, parameters: &[Tensor], options: ReducerOptions) -> Result<Self> {
        let list = ffi::tensors(parameters);
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let raw = checked(|error| {
            // SAFETY: handle and tensors live as long as the call; C++ keeps its own
            // references to the tensors and the group.
            unsafe {
                ffi::c10d_reducer_new(
                    group.as_ptr(),
                    list.as_ptr(),
                    list.len(),
                    size(options.first_bucket_bytes),
                    size(options.bucket_bytes),
                    error,
                )
            }
        })?;
        Ok(Self {
            raw: ffi::owned(raw)?,
            group: group.clone(),
        })
    }

    /// Adds the gradients of `loss` to the parameters' gradients.
    ///
    /// With `sync`, the gradients accumulated so far are then summed over the ranks, and
    /// are complete when this returns. Every rank must take part in each such
    /// reduction once: all micro-batches but a share's last go without `sync`, and a
    /// rank with an empty share passes a zero that depends on every parameter. As the
    /// sums replace what was accumulated, begin the next step with
    /// [`zero_grads`](Self::zero_grads).
    ///
    /// With `sync` the loss must depend on every parameter. After an error with `sync`
    /// the gradients hold no defined values and the group is over.
    pub fn backward(&mut self, loss: &Tensor, sync: bool) -> Result<BackwardTimes> {
        let mut times = ffi::BackwardTimes::default();
        checked(|error| {
            // SAFETY: handle and tensor live as long as the call; `times` is ours.
            unsafe {
                ffi::c10d_reducer_backward(
                    self.raw.as_ptr(),
                    ffi::tensor(loss),
                    sync,
                    &mut times,
                    error,
                );
            }
        })?;
        Ok(BackwardTimes {
            total: Duration::from_secs_f64(times.total_seconds.max(0.0)),
            exposed_communication: Duration::from_secs_f64(times.exposed_seconds.max(0.0)),
            bytes_reduced: times.bytes_reduced,
        })
    }

    /// Sets all gradients to zero, in place.
    pub fn zero_grads(&mut self) -> Result<()> {
        checked(|error| {
            // SAFETY: the handle lives as long as the call.
            unsafe { ffi::c10d_reducer_zero_grads(self.raw.as_ptr(), error) }
        })
    }

    /// How many buckets the gradients are cut into.
    pub fn bucket_count(&self) -> usize {
        // SAFETY: the handle lives as long as the call.
        unsafe { ffi::c10d_reducer_bucket_count(self.raw.as_ptr()) }
    }

    /// The group that it reduces over.
    pub fn group(&self) -> &Group {
        &self.group
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once. Hooks and bucket views are off the parameters
        // when this returns.
        unsafe { ffi::c10d_reducer_free(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Reducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reducer")
            .field("buckets", &self.bucket_count())
            .field("group", &self.group)
            .finish()
    }
}
