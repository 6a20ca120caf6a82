//! The optimizer's state as a copy in memory and as a file.
//!
//! The file is a safetensors file with, for each parameter P, tensors
//! `exp_avg.P` and `exp_avg_sq.P` (PyTorch's names for AdamW's moments) and one
//! scalar `step`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use layout::{Dtype, LayoutError, SafetensorsFile, SafetensorsHeader};
use tch::{Device, Kind, Tensor};

use crate::adamw::AdamW;
use crate::error::ModelError;
use crate::reader::TensorReader;
use crate::snapshot::copy_to_cpu;
use crate::weights::to_tensor;

/// AdamW's state at one moment, in main memory; can be written or streamed by
/// another thread while training goes on.
#[derive(Debug)]
pub struct OptimizerState {
    steps: u64,
    moments: Vec<Moments>,
}

#[derive(Debug)]
struct Moments {
    /// Of the parameter.
    name: String,
    mean: Tensor,
    square: Tensor,
}

const STEP: &str = "step";

fn mean_name(parameter: &str) -> String {
    format!("exp_avg.{parameter}")
}

fn square_name(parameter: &str) -> String {
    format!("exp_avg_sq.{parameter}")
}

impl AdamW {
    /// Copies the state to main memory.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn snapshot(&self) -> Result<OptimizerState, ModelError> {
        let mut moments = Vec::new();
        for (name, mean, square) in self.moments() {
            moments.push(Moments {
                name: name.to_owned(),
                mean: copy_to_cpu(mean)?,
                square: copy_to_cpu(square)?,
            });
        }
        Ok(OptimizerState {
            steps: self.steps(),
            moments,
        })
    }

    /// Reads the state that a file holds into this optimizer.
    ///
    /// # Errors
    /// When the file cannot be read, or its tensors are not those of this
    /// optimizer's parameters; then the optimizer is of no more use.
    pub fn restore(&mut self, path: &Path) -> Result<(), ModelError> {
        let unfit = |reason: String| ModelError::OptimizerState {
            path: path.to_owned(),
            reason,
        };
        let file = SafetensorsFile::open(path)?;
        let mut stored: BTreeMap<&str, _> = BTreeMap::new();
        for entry in file.entries() {
            stored.insert(entry.name.as_str(), entry);
        }
        let mut take = |name: &str, kind: Kind, shape: &[i64]| -> Result<Tensor, ModelError> {
            let Some(entry) = stored.remove(name) else {
                return Err(unfit(format!("it lacks {name}")));
            };
            let tensor = to_tensor(&file.read_tensor(entry)?)?;
            if tensor.kind() != kind || tensor.size() != shape {
                return Err(unfit(format!(
                    "{name} is {:?} {:?} and should be {kind:?} {shape:?}",
                    tensor.kind(),
                    tensor.size()
                )));
            }
            Ok(tensor)
        };

        let steps = take(STEP, Kind::Int64, &[])?.f_int64_value(&[])?;
        let steps = u64::try_from(steps).map_err(|_| unfit(format!("step is {steps}")))?;
        for (name, mean, square) in self.moments() {
            let shape = mean.size();
            overwrite(mean, &take(&mean_name(name), Kind::Float, &shape)?)?;
            overwrite(square, &take(&square_name(name), Kind::Float, &shape)?)?;
        }
        if let Some(name) = stored.keys().next() {
            return Err(unfit(format!("{name} is of no parameter of this model")));
        }
        self.set_steps(steps)
    }
}

fn overwrite(moment: &Tensor, with: &Tensor) -> Result<(), ModelError> {
    tch::no_grad(|| Ok(moment.shallow_clone().f_copy_(with)?))
}

impl OptimizerState {
    /// How many steps had been taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The bytes of `optimizer.safetensors`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn file(&self) -> Result<TensorReader, ModelError> {
        let step = Tensor::f_full([0_i64; 0], self.steps as i64, (Kind::Int64, Device::Cpu))?;
        let mut specs = vec![(STEP.to_owned(), Dtype::I64, Vec::new())];
        let mut tensors = BTreeMap::from([(STEP.to_owned(), step)]);
        for moments in &self.moments {
            let size = moments.mean.size();
            let shape: Vec<usize> = size.iter().map(|&length| length as usize).collect();
            for (name, tensor) in [
                (mean_name(&moments.name), &moments.mean),
                (square_name(&moments.name), &moments.square),
            ] {
                specs.push((name.clone(), Dtype::F32, shape.clone()));
                tensors.insert(name, tensor.shallow_clone());
            }
        }
        let header = SafetensorsHeader::for_tensors(specs);
        let in_file_order = header.entries().iter();
        let tensors = in_file_order.filter_map(|entry| tensors.remove(&entry.name));
        Ok(TensorReader::new(header.to_bytes(), tensors.collect()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        let mut reader = self.file()?;
        let copied: Result<(), LayoutError> =
            layout::replace_file(path, |out| io::copy(&mut reader, out).map(|_| ()));
        Ok(copied?)
    }
}
