use std::marker::PhantomData;

use tch::{Device, Kind};

use crate::error::checked;
use crate::{Error, Result, ffi};

/// Runs `f` with automatic mixed precision: on this thread and for this kind of
/// device, operations that are safe in `kind` (`BFloat16` or `Half`) run in it.
///
/// Run the backward pass outside: it follows the kinds of the forward pass by itself.
/// The casts of weights that the region made are forgotten when the outermost region
/// ends, however it ends.
pub fn autocast<T>(device: Device, kind: Kind, f: impl FnOnce() -> T) -> Result<T> {
    let dtype = match kind {
        Kind::BFloat16 => ffi::BFLOAT16,
        Kind::Half => ffi::HALF,
        other => {
            return Err(Error::Invalid(format!(
                "autocast computes in BFloat16 or Half, not {other:?}"
            )));
        }
    };
    let device_type = match device {
        Device::Cpu => ffi::CPU,
        Device::Cuda(_) => ffi::CUDA,
        other => {
            return Err(Error::Invalid(format!("no autocast for {other:?}")));
        }
    };
    let _region = Region::enter(device_type, dtype)?;
    Ok(f())
}

struct Region {
    device_type: i32,
    before: ffi::AutocastBefore,
    /// Autocast is a state of the thread: the region must end where it began.
    _not_send: PhantomData<*const ()>,
}

impl Region {
    fn enter(device_type: i32, dtype: i32) -> Result<Self> {
        let mut before = ffi::AutocastBefore::default();
        checked(|error| {
            // SAFETY: `before` is ours; the codes are the header's.
            unsafe { ffi::c10d_autocast_enter(device_type, dtype, &mut before, error) }
        })?;
        Ok(Self {
            device_type,
            before,
            _not_send: PhantomData,
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `before` was filled in by the matching enter, on this thread.
        unsafe { ffi::c10d_autocast_leave(self.device_type, &self.before) }
    }
}
