//! Where a model's weights come from: chance, or a directory.

use layout::{Dtype, Gpt2Config, ModelDir, TensorBytes, TensorSpec};
use tch::{Device, Kind, Tensor};

use crate::error::ModelError;
use crate::gpt2::Gpt2;

impl Gpt2 {
    /// A model with fresh weights, initialised as transformers does: weights
    /// normal with mean 0 and deviation `initializer_range`, those of the
    /// projections back to the residual stream divided by √(2 · `n_layer`);
    /// biases 0; layer norms 1 and 0.
    ///
    /// The weights follow from `config` and `seed` alone: they are drawn on the
    /// CPU, whatever the device. Seeds libtorch's global generator, so nothing
    /// else may draw from it meanwhile. `dropout` is the probability at every
    /// place where GPT-2 has dropout; the configuration's three, which other
    /// software may train with, are left as they are.
    ///
    /// # Errors
    /// When the configuration cannot be, or memory runs out.
    pub fn new(
        config: &Gpt2Config,
        dropout: f64,
        device: Device,
        seed: u64,
    ) -> Result<Gpt2, ModelError> {
        config.validate()?;
        tch::manual_seed(seed as i64);
        let mut parameters = Vec::new();
        for spec in layout::tensors(config) {
            let weights = initial(config, &spec)?.f_to_device(device)?;
            parameters.push((spec.name, weights));
        }
        Gpt2::assemble(config, dropout, device, parameters)
    }

    /// A model with the weights of a directory, in fp32 whatever type they are
    /// stored in.
    ///
    /// # Errors
    /// When the directory's tensors are not those of its configuration, a file
    /// cannot be read, or memory runs out.
    pub fn load(dir: &ModelDir, dropout: f64, device: Device) -> Result<Gpt2, ModelError> {
        let config = dir.config();
        dir.check(config)?;
        let mut parameters = Vec::new();
        for spec in layout::tensors(config) {
            let stored = to_tensor(&dir.read_tensor(&spec.name)?)?;
            // A type that needs no conversion is not copied a second time.
            let weights = stored.f_to_kind(Kind::Float)?.f_to_device(device)?;
            parameters.push((spec.name, weights));
        }
        Gpt2::assemble(config, dropout, device, parameters)
    }
}

fn initial(config: &Gpt2Config, spec: &TensorSpec) -> Result<Tensor, ModelError> {
    let shape = to_shape(&spec.shape);
    let options = (Kind::Float, Device::Cpu);
    let is_layer_norm = spec.shape.len() == 1 && spec.name.ends_with(".weight");
    if is_layer_norm {
        return Ok(Tensor::f_ones(shape, options)?);
    }
    if spec.name.ends_with(".bias") {
        return Ok(Tensor::f_zeros(shape, options)?);
    }
    let mut deviation = config.initializer_range;
    if spec.name.ends_with(".c_proj.weight") {
        // Each block adds to the residual stream twice (GPT-2, section 2.3).
        deviation /= (2.0 * config.n_layer as f64).sqrt();
    }
    Ok(Tensor::f_empty(shape, options)?.f_normal_(0.0, deviation)?)
}

/// A tensor on the CPU with a copy of these bytes.
pub(crate) fn to_tensor(stored: &TensorBytes) -> Result<Tensor, ModelError> {
    let kind = match stored.dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        other => {
            return Err(ModelError::Torch(format!(
                "no use for a tensor of type {other}"
            )));
        }
    };
    Ok(Tensor::f_from_data_size(
        &stored.bytes,
        &to_shape(&stored.shape),
        kind,
    )?)
}

pub(crate) fn to_shape(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}
