//! A copy of the weights that training no longer touches.

use std::io;
use std::path::Path;

use layout::{Gpt2Config, LayoutError, SafetensorsHeader};
use tch::{Device, Tensor};

use crate::error::ModelError;
use crate::gpt2::Gpt2;
use crate::reader::TensorReader;

/// A model's weights at one moment, in main memory.
///
/// Taking one costs a copy of the weights; writing or streaming it can be left
/// to another thread.
#[derive(Debug)]
pub struct Snapshot {
    config: Gpt2Config,
    /// In the order of `layout::tensors`; fp32, contiguous, on the CPU.
    tensors: Vec<(String, Tensor)>,
}

impl Gpt2 {
    /// Copies the weights to main memory.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn snapshot(&self) -> Result<Snapshot, ModelError> {
        let mut tensors = Vec::with_capacity(self.parameters().len());
        for (name, parameter) in self.parameters() {
            tensors.push((name.clone(), copy_to_cpu(parameter)?));
        }
        Ok(Snapshot {
            config: self.config().clone(),
            tensors,
        })
    }
}

impl Snapshot {
    /// What the model is.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The weights with their names, in the order of `layout::tensors`.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// Writes `config.json`, `generation_config.json` and the weights as
    /// transformers does, in files of at most `max_shard_bytes` if given.
    ///
    /// # Errors
    /// When the directory already holds a model, or cannot be written.
    pub fn write_model_dir(
        &self,
        dir: &Path,
        max_shard_bytes: Option<u64>,
    ) -> Result<(), LayoutError> {
        layout::write_model_dir(dir, &self.config, max_shard_bytes, |name, out| {
            let found = self
                .tensors
                .binary_search_by(|(other, _)| other.as_str().cmp(name));
            let index =
                found.map_err(|_| io::Error::other(format!("{name} is not in the model")))?;
            let mut reader =
                TensorReader::new(Vec::new(), vec![self.tensors[index].1.shallow_clone()]);
            io::copy(&mut reader, out).map(|_| ())
        })
    }

    /// The bytes of `model.safetensors`.
    pub fn model_file(&self) -> TensorReader {
        let header = SafetensorsHeader::for_f32(&layout::tensors(&self.config));
        let handles = self
            .tensors
            .iter()
            .map(|(_, tensor)| tensor.shallow_clone());
        TensorReader::new(header.to_bytes(), handles.collect())
    }
}

/// A contiguous copy in main memory, without gradient, that shares nothing.
pub(crate) fn copy_to_cpu(tensor: &Tensor) -> Result<Tensor, ModelError> {
    tch::no_grad(|| {
        let source = tensor.f_detach()?;
        if source.device() != Device::Cpu {
            return Ok(source.f_to_device(Device::Cpu)?);
        }
        let mut copy = source.f_empty_like()?;
        copy.f_copy_(&source)?;
        Ok(copy)
    })
}
