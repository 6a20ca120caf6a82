//! Which device a worker trains on, and in which arithmetic.

use std::str::FromStr;

use tch::Device;

/// `--device`, checked for form but not yet for existence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the CPU.
    Auto,
    /// One device.
    One(Device),
    /// Every GPU of the machine, one supervised process each.
    AllGpus,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::One(Device::Cpu)),
            "cuda" => Ok(Self::One(Device::Cuda(0))),
            "cuda:all" => Ok(Self::AllGpus),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(|index| Self::One(Device::Cuda(index)))
                .ok_or_else(|| {
                    format!("`{text}` is no device: use cpu, cuda:0, cuda:1, …, cuda:all or auto")
                }),
        }
    }
}

/// A device that `--device` names and this machine does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "--device {asked}: this machine has {}; use one of them, or --device cpu",
    match .gpus { 0 => "no usable GPU".to_owned(), n => format!("cuda:0 to cuda:{}", n - 1) }
)]
pub struct NoSuchDevice {
    asked: String,
    gpus: usize,
}

impl DeviceChoice {
    /// The devices meant, of a machine with `gpus` usable GPUs.
    pub fn resolve(self, gpus: usize) -> Result<Vec<Device>, NoSuchDevice> {
        let missing = |asked: String| NoSuchDevice { asked, gpus };
        match self {
            Self::Auto if gpus > 0 => Ok(vec![Device::Cuda(0)]),
            Self::Auto => Ok(vec![Device::Cpu]),
            Self::AllGpus if gpus == 0 => Err(missing("cuda:all".into())),
            Self::AllGpus => Ok((0..gpus).map(Device::Cuda).collect()),
            Self::One(Device::Cuda(index)) if index >= gpus => {
                Err(missing(format!("cuda:{index}")))
            }
            Self::One(device) => Ok(vec![device]),
        }
    }
}

/// How many CPU workers stand in for the GPUs of `cuda:all`, so that supervision
/// can be tested on any machine: `PEREGRINE_STAND_IN_GPUS`. A build without debug
/// assertions has none.
pub(crate) fn stand_ins() -> Option<usize> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var("PEREGRINE_STAND_IN_GPUS").ok()?.parse().ok()
}

/// How many GPUs this build and this machine can use.
#[must_use]
pub fn usable_gpus() -> usize {
    (0..)
        .take_while(|index| c10d::device_available(Device::Cuda(*index)).is_ok())
        .count()
}

/// How `--device` spells `device`.
#[must_use]
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

/// `--precision`, before the device is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// bf16 on GPUs, fp32 on CPUs.
    Auto,
    /// As given.
    Fixed(model::Precision),
}

impl PrecisionChoice {
    /// The precision on `device`.
    #[must_use]
    pub fn on(self, device: Device) -> model::Precision {
        match self {
            Self::Fixed(precision) => precision,
            Self::Auto if device.is_cuda() => model::Precision::Bf16,
            Self::Auto => model::Precision::Fp32,
        }
    }
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Fixed)
            .map_err(|_| format!("`{text}` is no precision: use fp32, bf16 or auto"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood() {
        assert_eq!("cpu".parse(), Ok(DeviceChoice::One(Device::Cpu)));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::One(Device::Cuda(0))));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::One(Device::Cuda(3))));
        assert_eq!("cuda:all".parse(), Ok(DeviceChoice::AllGpus));
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_missing_device_is_refused_by_name_and_with_a_remedy() {
        let refusal = DeviceChoice::One(Device::Cuda(2))
            .resolve(2)
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("--device cuda:2"), "{refusal}");
        assert!(refusal.contains("cuda:0 to cuda:1"), "{refusal}");
        let refusal = DeviceChoice::AllGpus.resolve(0).unwrap_err().to_string();
        assert!(refusal.contains("--device cpu"), "{refusal}");
    }

    #[test]
    fn auto_prefers_the_first_gpu() {
        assert_eq!(DeviceChoice::Auto.resolve(4).unwrap(), [Device::Cuda(0)]);
        assert_eq!(DeviceChoice::Auto.resolve(0).unwrap(), [Device::Cpu]);
        assert_eq!(DeviceChoice::AllGpus.resolve(3).unwrap().len(), 3);
    }
}
