//! Each way in which a directory can be wrong is refused, and named.

use std::fs;
use std::path::Path;

use crate::common::{f32_tensors, fixture, tiny, write_dir, write_safetensors};
use layout::{Dtype, Gpt2Config, LayoutError, ModelDir, TensorProblem};
use tempfile::TempDir;

fn message(dir: impl AsRef<Path>) -> String {
    ModelDir::open(dir).unwrap_err().to_string()
}

fn copy_of(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        // Not fs::copy, which would keep a fixture's read-only permissions.
        let bytes = fs::read(entry.path()).unwrap();
        fs::write(copy.path().join(entry.file_name()), bytes).unwrap();
    }
    copy
}

#[test]
fn no_directory() {
    let message = message("/nowhere/at/all");
    assert!(message.starts_with("/nowhere/at/all: "), "{message}");
}

#[test]
fn no_config() {
    let dir = tempfile::tempdir().unwrap();
    assert!(message(&dir).contains("has no config.json"));
}

#[test]
fn no_weights() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), tiny().to_json()).unwrap();
    let without = message(&dir);
    assert!(without.contains("has no model.safetensors and no model.safetensors.index.json"));

    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    assert!(message(&dir).contains("convert its pytorch_model.bin"));
}

#[test]
fn a_missing_shard() {
    let dir = copy_of("gpt2-tiny-sharded");
    fs::remove_file(dir.path().join("model-00002-of-00003.safetensors")).unwrap();
    let message = message(&dir);
    assert!(
        message.contains("has no model-00002-of-00003.safetensors, which its index names"),
        "{message}"
    );
}

#[test]
fn another_architecture() {
    let message = message(fixture("llama-tiny"));
    assert!(
        message.contains("model_type is \"llama\", and only \"gpt2\""),
        "{message}"
    );
}

#[test]
fn no_architecture() {
    let dir = tempfile::tempdir().unwrap();
    write_dir(dir.path(), b"{}", f32_tensors(&tiny()));
    assert!(message(&dir).contains("model_type is not given"));
}

#[test]
fn a_config_that_is_not_json() {
    let dir = tempfile::tempdir().unwrap();
    write_dir(
        dir.path(),
        b"{\"model_type\": \"gpt2\",",
        f32_tensors(&tiny()),
    );
    let error = ModelDir::open(dir.path()).unwrap_err();
    assert!(matches!(error, LayoutError::Json { .. }));
    assert!(error.to_string().contains("config.json: EOF"), "{error}");
}

#[test]
fn fields_that_change_the_arithmetic() {
    for (field, json) in [
        ("tie_word_embeddings", "false"),
        ("add_cross_attention", "true"),
        ("pruned_heads", "{\"0\": [1]}"),
        ("quantization_config", "{\"bits\": 4}"),
        ("activation_function", "\"quick_gelu\""),
        ("n_head", "5"),
        ("n_layer", "0"),
        ("n_embd", "4000000000"),
        ("layer_norm_epsilon", "0"),
        ("resid_pdrop", "1.0"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{{\"model_type\": \"gpt2\", \"{field}\": {json}}}");
        write_dir(dir.path(), config.as_bytes(), f32_tensors(&tiny()));
        let error = ModelDir::open(dir.path()).unwrap_err();
        let LayoutError::Config { source, .. } = &error else {
            panic!("{field}: {error}");
        };
        assert_eq!(source.field, field, "{error}");
        assert!(error.to_string().contains("config.json: "), "{error}");
    }
}

#[test]
fn a_truncated_file() {
    let dir = copy_of("gpt2-tiny");
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for (length, says) in [
        (4, "it has only 4 bytes"),
        (100, "its header would be"),
        (bytes.len() - 1, "and the file has 11071"),
    ] {
        fs::write(&path, &bytes[..length]).unwrap();
        let message = message(&dir);
        assert!(message.contains("model.safetensors: "), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_file_of_garbage() {
    let dir = copy_of("gpt2-tiny");
    fs::write(dir.path().join("model.safetensors"), "<!doctype html>").unwrap();
    assert!(message(&dir).contains("not a whole safetensors file"));
}

#[test]
fn an_index_that_leads_out_of_its_directory() {
    for shard in ["../model.safetensors", "/etc/passwd", "", ".."] {
        let dir = copy_of("gpt2-tiny-sharded");
        let index = format!("{{\"weight_map\": {{\"wte.weight\": \"{shard}\"}}}}");
        fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        let message = message(&dir);
        assert!(
            message.contains("is not the name of a file beside it"),
            "{message}"
        );
    }
}

#[test]
fn an_index_that_contradicts_its_shards() {
    let dir = copy_of("gpt2-tiny-sharded");
    let path = dir.path().join("model.safetensors.index.json");
    let index = fs::read_to_string(&path).unwrap().replace(
        "\"transformer.ln_f.bias\": \"model-00003",
        "\"transformer.ln_f.bias\": \"model-00001",
    );
    fs::write(&path, index).unwrap();
    let message = message(&dir);
    assert!(
        message.contains("transformer.ln_f.bias is not in model-00001-of-00003.safetensors"),
        "{message}"
    );
}

#[test]
fn a_tensor_in_two_shards() {
    let dir = copy_of("gpt2-tiny-sharded");
    let first = fs::read(dir.path().join("model-00001-of-00003.safetensors")).unwrap();
    fs::write(dir.path().join("model-00003-of-00003.safetensors"), first).unwrap();
    assert!(message(&dir).contains("for a second time"));
}

fn problems(tensors: Vec<(String, Dtype, Vec<usize>)>) -> (String, Vec<TensorProblem>) {
    let dir = tempfile::tempdir().unwrap();
    write_dir(dir.path(), &tiny().to_json(), tensors);
    let opened = ModelDir::open(dir.path()).unwrap();
    let error = opened.check(&tiny()).unwrap_err();
    let text = error.to_string();
    match error {
        LayoutError::Tensors { problems, .. } => (text, problems),
        other => panic!("{other}"),
    }
}

#[test]
fn every_wrong_tensor_is_named() {
    let mut tensors = f32_tensors(&tiny());
    tensors.retain(|(name, ..)| name != "transformer.ln_f.bias");
    tensors.push(("transformer.h.2.ln_1.bias".to_owned(), Dtype::F32, vec![4]));
    for (name, dtype, shape) in &mut tensors {
        match name.as_str() {
            // As a Linear would have it: transposed.
            "transformer.h.0.mlp.c_fc.weight" => *shape = vec![16, 4],
            "transformer.wpe.weight" => *dtype = Dtype::F64,
            _ => {}
        }
    }

    let (text, problems) = problems(tensors);
    assert_eq!(problems.len(), 4, "{text}");
    for says in [
        "transformer.ln_f.bias [4] is missing",
        "transformer.h.0.mlp.c_fc.weight is [16, 4] and should be [4, 16]",
        "transformer.h.2.ln_1.bias [4] is not part of this model",
        "transformer.wpe.weight is F64 and should be F32, F16 or BF16",
    ] {
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn another_configuration_than_the_weights() {
    let golden = ModelDir::open(fixture("gpt2-tiny")).unwrap();
    let deeper = Gpt2Config {
        n_layer: 3,
        ..golden.config().clone()
    };
    let error = golden.check(&deeper).unwrap_err().to_string();
    assert!(
        error.contains("transformer.h.2.ln_1.weight [8] is missing"),
        "{error}"
    );
}

#[test]
fn tensors_that_add_nothing_are_tolerated_and_not_counted() {
    let mut tensors: Vec<_> = f32_tensors(&tiny())
        .into_iter()
        .map(|(name, _, shape)| {
            // As a bare GPT2Model in half precision is saved.
            let bare = name.strip_prefix("transformer.").unwrap().to_owned();
            (bare, Dtype::BF16, shape)
        })
        .collect();
    tensors.push(("lm_head.weight".to_owned(), Dtype::F16, vec![11, 4]));
    tensors.push(("h.0.attn.bias".to_owned(), Dtype::BOOL, vec![1, 1, 6, 6]));
    tensors.push(("h.1.attn.masked_bias".to_owned(), Dtype::F32, vec![]));

    let dir = tempfile::tempdir().unwrap();
    write_dir(dir.path(), &tiny().to_json(), tensors);
    let opened = ModelDir::open(dir.path()).unwrap();
    opened.check(&tiny()).unwrap();
    assert_eq!(opened.count_parameters(), layout::parameter_count(&tiny()));
    let embedding = opened.read_tensor("transformer.wte.weight").unwrap();
    assert_eq!(
        (embedding.dtype, embedding.bytes.len()),
        (Dtype::BF16, 11 * 4 * 2)
    );
}

#[test]
fn an_output_projection_of_another_vocabulary_is_named() {
    let mut tensors = f32_tensors(&tiny());
    tensors.push(("lm_head.weight".to_owned(), Dtype::F32, vec![12, 4]));
    let (text, _) = problems(tensors);
    assert!(
        text.contains("lm_head.weight is [12, 4] and should be [11, 4]"),
        "{text}"
    );
}

#[test]
fn a_single_file_takes_precedence_over_an_index() {
    let dir = copy_of("gpt2-tiny-sharded");
    write_safetensors(
        &dir.path().join("model.safetensors"),
        f32_tensors(&Gpt2Config::read(&fixture("gpt2-tiny/config.json")).unwrap()),
    );
    let opened = ModelDir::open(dir.path()).unwrap();
    assert_eq!(opened.files().len(), 3);
}

#[test]
fn writing_over_a_model_is_refused() {
    let dir = copy_of("gpt2-tiny-sharded");
    let error = layout::write_model_dir(dir.path(), &tiny(), None, |_, _| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("config.json already exists"),
        "{error}"
    );
}

#[test]
fn a_tensor_of_the_wrong_length_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let error = layout::write_model_dir(dir.path(), &tiny(), None, |_, out| out.write_all(&[0; 4]))
        .unwrap_err();
    assert!(
        error.to_string().contains("bytes, and 4 were written"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing half-written stays"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error =
        layout::write_model_dir(&file.join("model"), &tiny(), None, |_, _| Ok(())).unwrap_err();
    assert!(
        error.to_string().starts_with(file.to_str().unwrap()),
        "{error}"
    );
}
