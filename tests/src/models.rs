//! Model directories for coordinators and `worker score` to accept or refuse.

use std::path::Path;

use layout::{Gpt2Config, SafetensorsHeader};

/// A model whose weights are a few kilobytes but for the embedding.
#[must_use]
pub fn tiny() -> Gpt2Config {
    Gpt2Config {
        n_layer: 1,
        n_head: 1,
        n_embd: 4,
        n_positions: 32,
        ..Gpt2Config::default()
    }
}

/// The smallest preset, with room for the sequences on which validators
/// evaluate: a model that a publisher accepts.
///
/// # Panics
/// When there is no such preset.
#[must_use]
pub fn publishable() -> Gpt2Config {
    Gpt2Config {
        n_positions: 1024,
        ..layout::preset("gpt2-nano").expect("the preset exists")
    }
}

/// Writes a whole model directory, its weights all small and alike.
///
/// # Panics
/// When it cannot be written: a test cannot go on.
pub fn write(dir: &Path, config: &Gpt2Config) {
    let specs = layout::tensors(config);
    layout::write_model_dir(dir, config, None, |name, out| {
        let elements = specs
            .iter()
            .find(|spec| spec.name == name)
            .map_or(0, |spec| spec.elements());
        for element in 0..elements {
            let value = (element % 7) as f32 * 0.01;
            out.write_all(&value.to_le_bytes())?;
        }
        Ok(())
    })
    .expect("the model can be written");
}

/// Replaces the weights by ones that lack `missing` and in which `misshapen`
/// has a row too many.
///
/// # Panics
/// When they cannot be written: a test cannot go on.
pub fn break_weights(dir: &Path, config: &Gpt2Config, missing: &str, misshapen: &str) {
    let mut specs = layout::tensors(config);
    specs.retain(|spec| spec.name != missing);
    for spec in &mut specs {
        if spec.name == misshapen {
            spec.shape[0] += 1;
        }
    }
    let header = SafetensorsHeader::for_f32(&specs);
    let mut file = header.to_bytes();
    file.resize(header.file_bytes() as usize, 0);
    std::fs::write(dir.join("model.safetensors"), file).expect("the weights can be written");
}
