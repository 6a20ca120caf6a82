//! The model computes and writes what transformers and PyTorch do.

use std::fs;

use model::{AdamW, Gpt2, Mode};
use tch::{Device, Tensor};

use crate::common::{adamw, distance, fixture, golden, load, relative, value};

const GOLDENS: [&str; 2] = ["gpt2-tiny", "gpt2-tiny-sharded"];

fn golden_ids(model: &Gpt2, golden: &serde_json::Value) -> Tensor {
    let sequences: Vec<Vec<u32>> = serde_json::from_value(golden["ids"].clone()).unwrap();
    model.batch(&sequences).unwrap()
}

fn predicted(ids: &Tensor) -> u64 {
    let (batch, length) = ids.size2().unwrap();
    (batch * (length - 1)) as u64
}

#[test]
fn loss_and_logits() {
    for name in GOLDENS {
        let (model, golden) = (load(name), golden(name));
        let ids = golden_ids(&model, &golden);

        let expected_loss = golden["loss"].as_f64().unwrap();
        let sum = value(&model.loss_sum(&ids, Mode::Train).unwrap());
        assert!(relative(sum / predicted(&ids) as f64, expected_loss) < 1e-5);

        let by_sequence = model.sequence_losses(&ids).unwrap();
        let mean = by_sequence.iter().sum::<f64>() / by_sequence.len() as f64;
        assert!(relative(mean, expected_loss) < 1e-5);

        let logits: Vec<f32> = serde_json::from_value(golden["logits_last_row"].clone()).unwrap();
        let last = model.forward(&ids, Mode::Evaluate).unwrap().get(0).get(-1);
        let error = distance(&last, &Tensor::from_slice(&logits));
        assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn gradient_norm() {
    for name in GOLDENS {
        let (model, golden) = (load(name), golden(name));
        let ids = golden_ids(&model, &golden);
        model.loss_sum(&ids, Mode::Train).unwrap().backward();
        let norm = model.average_gradients(predicted(&ids), None).unwrap();
        assert!(relative(norm, golden["grad_norm"].as_f64().unwrap()) < 1e-4);
    }
}

#[test]
fn five_steps_of_adamw() {
    for name in GOLDENS {
        let (model, golden) = (load(name), golden(name));
        let ids = golden_ids(&model, &golden);
        let settings = adamw();
        // The golden run's settings are those of `adamw()`.
        let expected = &golden["adamw"];
        assert_eq!(expected["lr"], settings.lr);
        assert_eq!(expected["weight_decay"], settings.weight_decay);

        let mut optimizer = AdamW::new(&model, &settings).unwrap();
        for loss in expected["losses"].as_array().unwrap() {
            model.zero_gradients().unwrap();
            let sum = model.loss_sum(&ids, Mode::Train).unwrap();
            sum.backward();
            let mean = value(&sum) / predicted(&ids) as f64;
            assert!(relative(mean, loss.as_f64().unwrap()) < 1e-4);
            model.average_gradients(predicted(&ids), None).unwrap();
            optimizer.step(settings.lr).unwrap();
        }
    }
}

#[test]
fn names_shapes_and_order_of_parameters() {
    let model = load("gpt2-tiny");
    let found: Vec<(String, Vec<i64>)> = model
        .parameters()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.size()))
        .collect();
    let expected: Vec<(String, Vec<i64>)> = layout::tensors(model.config())
        .into_iter()
        .map(|spec| {
            (
                spec.name,
                spec.shape.iter().map(|&size| size as i64).collect(),
            )
        })
        .collect();
    assert_eq!(found, expected);
    let count: i64 = found
        .iter()
        .map(|(_, shape)| shape.iter().product::<i64>())
        .sum();
    assert_eq!(count, 2144);
}

#[test]
fn the_seeds_model_has_its_parameters_and_file_size() {
    let _alone = crate::common::generator();
    let config = layout::preset("gpt2-122m").unwrap();
    let model = Gpt2::new(&config, 0.0, Device::Cpu, 1).unwrap();
    let count: usize = model
        .parameters()
        .iter()
        .map(|(_, tensor)| tensor.numel())
        .sum();
    assert_eq!(count, 122_268_040);
    assert_eq!(model.parameters().len(), 148);
    assert_eq!(
        model.snapshot().unwrap().model_file().total_bytes(),
        489_087_136
    );
}

#[test]
fn a_model_read_and_written_is_the_same_directory() {
    for (name, max_shard_bytes) in [("gpt2-tiny", None), ("gpt2-tiny-sharded", Some(4000))] {
        let copy = tempfile::tempdir().unwrap();
        let snapshot = load(name).snapshot().unwrap();
        snapshot
            .write_model_dir(copy.path(), max_shard_bytes)
            .unwrap();

        let golden_files = layout::checkpoint_files(&fixture(name)).unwrap();
        let copied_files = layout::checkpoint_files(copy.path()).unwrap();
        assert_eq!(copied_files.len(), golden_files.len());
        for (copied, original) in copied_files.iter().zip(&golden_files) {
            assert_eq!(copied.file_name(), original.file_name());
            assert_eq!(fs::read(copied).unwrap(), fs::read(original).unwrap());
        }
    }
}
