use tch::Device;

use crate::{Error, Result};

#[cfg(not(feature = "cuda"))]
pub(crate) const NO_CUDA: &str =
    "this build has no NCCL: run cargo xtask setup --cuda and build with --features cuda";

/// Whether this process can compute on the device; if not, why, and what to do.
pub fn device_available(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
            if index < count {
                Ok(())
            } else {
                Err(Error::Invalid(format!(
                    "there is no device cuda:{index}: this machine shows {count} to this process"
                )))
            }
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(index) => Err(Error::Invalid(format!(
            "there is no device cuda:{index}: {NO_CUDA}"
        ))),
        other => Err(Error::Invalid(format!(
            "{other:?} devices are not supported"
        ))),
    }
}

/// Sets the environment variables by which libtorch's NCCL groups are configured not
/// to end the process. Nothing without the feature `cuda`.
///
/// [`Group::nccl`](crate::Group::nccl) does it too; call this at the start of `main`,
/// because setting the environment is not safe while other threads read it.
pub fn configure_nccl() {
    #[cfg(feature = "cuda")]
    // SAFETY: no arguments. Its race with readers of the environment is documented
    // above and harmless when called first.
    unsafe {
        crate::ffi::c10d_nccl_configure();
    }
}
