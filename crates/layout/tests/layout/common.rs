//! What the tests of this crate share.

use std::fs;
use std::path::{Path, PathBuf};

use layout::{Dtype, Gpt2Config, SafetensorsHeader};

/// Directories that transformers 4.34.1 wrote; see `fixtures/README.md`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The smallest model with more than one of everything.
pub(crate) fn tiny() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 11,
        n_positions: 6,
        n_embd: 4,
        n_layer: 2,
        n_head: 2,
        ..Gpt2Config::default()
    }
}

/// A directory with `config` and a weights file of zeros for `tensors`.
pub(crate) fn write_dir(dir: &Path, config: &[u8], tensors: Vec<(String, Dtype, Vec<usize>)>) {
    fs::write(dir.join("config.json"), config).unwrap();
    write_safetensors(&dir.join("model.safetensors"), tensors);
}

pub(crate) fn write_safetensors(path: &Path, tensors: Vec<(String, Dtype, Vec<usize>)>) {
    let header = SafetensorsHeader::for_tensors(tensors);
    let mut bytes = header.to_bytes();
    bytes.resize(header.file_bytes() as usize, 0);
    fs::write(path, bytes).unwrap();
}

/// The tensors of `config` in fp32.
pub(crate) fn f32_tensors(config: &Gpt2Config) -> Vec<(String, Dtype, Vec<usize>)> {
    layout::tensors(config)
        .into_iter()
        .map(|spec| (spec.name, Dtype::F32, spec.shape))
        .collect()
}
