//! What the tests of this crate share.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use layout::{Gpt2Config, ModelDir};
use model::Gpt2;
use run::{AdamW, Decay};
use tch::{Device, Tensor};

/// Checkpoints of transformers, kept with the crate that reads them.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../layout/tests/fixtures")
        .join(name)
}

/// What PyTorch computed from a fixture.
pub(crate) fn golden(name: &str) -> serde_json::Value {
    let path = fixture(&format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn load(name: &str) -> Gpt2 {
    let dir = ModelDir::open(fixture(name)).unwrap();
    Gpt2::load(&dir, 0.0, Device::Cpu).unwrap()
}

/// libtorch's generator is one for the whole process: tests that draw from it
/// hold this meanwhile.
pub(crate) fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A model that is quick and has more than one of everything.
pub(crate) fn small() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 50,
        n_positions: 16,
        n_embd: 24,
        n_layer: 3,
        n_head: 4,
        ..Gpt2Config::default()
    }
}

pub(crate) fn fresh(config: &Gpt2Config, dropout: f64) -> Gpt2 {
    let _alone = generator();
    Gpt2::new(config, dropout, Device::Cpu, 7).unwrap()
}

/// Token ids `[batch, length]` without any pattern to speak of.
pub(crate) fn ids(model: &Gpt2, batch: usize, length: usize) -> Tensor {
    let vocabulary = model.config().vocab_size;
    let token = |index: usize| ((index * index * 31 + index * 17 + 5) % vocabulary) as u32;
    let sequence =
        |row: usize| -> Vec<u32> { (0..length).map(|i| token(row * length + i)).collect() };
    let sequences: Vec<Vec<u32>> = (0..batch).map(sequence).collect();
    model.batch(&sequences).unwrap()
}

/// PyTorch's defaults.
pub(crate) fn adamw() -> AdamW {
    AdamW {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        decay: Decay::Everywhere,
    }
}

pub(crate) fn value(tensor: &Tensor) -> f64 {
    tensor.double_value(&[])
}

/// The largest difference, relative to the largest of what is expected.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    value(&(found - expected).abs().max()) / value(&expected.abs().max())
}

pub(crate) fn relative(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs()
}

pub(crate) fn parameter<'a>(model: &'a Gpt2, name: &str) -> &'a Tensor {
    let mut parameters = model.parameters().iter();
    let (_, tensor) = parameters.find(|(other, _)| other == name).unwrap();
    tensor
}
