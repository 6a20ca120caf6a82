//! What is saved is what was there when it was saved.

use std::fs;
use std::io::Read;
use std::thread;

use layout::ModelDir;
use model::{AdamW, Gpt2, Mode};
use tch::{Device, Tensor};

use crate::common::{adamw, fresh, ids, small};

fn train(model: &Gpt2, optimizer: &mut AdamW, steps: usize) {
    let ids = ids(model, 2, 16);
    for _ in 0..steps {
        model.zero_gradients().unwrap();
        model.loss_sum(&ids, Mode::Train).unwrap().backward();
        model.average_gradients(30, Some(1.0)).unwrap();
        optimizer.step(1e-3).unwrap();
    }
}

fn weights(model: &Gpt2) -> Vec<Tensor> {
    model
        .parameters()
        .iter()
        .map(|(_, tensor)| tensor.detach().copy())
        .collect()
}

#[test]
fn training_does_not_touch_a_snapshot() {
    let model = fresh(&small(), 0.0);
    let before = weights(&model);
    let snapshot = model.snapshot().unwrap();
    let mut optimizer = AdamW::new(&model, &adamw()).unwrap();
    train(&model, &mut optimizer, 2);
    for ((name, saved), original) in snapshot.tensors().iter().zip(&before) {
        assert_eq!(saved, original, "{name}");
        assert!(!saved.requires_grad());
    }
}

#[test]
fn another_thread_writes_what_a_model_then_reads() {
    let model = fresh(&small(), 0.0);
    for max_shard_bytes in [None, Some(10_000)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let snapshot = model.snapshot().unwrap();
        let writer = thread::spawn(move || snapshot.write_model_dir(&path, max_shard_bytes));
        writer.join().unwrap().unwrap();

        let read = ModelDir::open(dir.path()).unwrap();
        assert_eq!(read.files().len() > 3, max_shard_bytes.is_some());
        let copy = Gpt2::load(&read, 0.0, Device::Cpu).unwrap();
        assert_eq!(weights(&copy), weights(&model));
        assert!(
            copy.parameters()
                .iter()
                .all(|(_, tensor)| tensor.requires_grad() && tensor.is_leaf())
        );
    }
}

#[test]
fn weights_in_half_precision_are_read_as_fp32() {
    use layout::{Dtype, SafetensorsHeader};
    let config = small();
    for (dtype, kind) in [
        (Dtype::F16, tch::Kind::Half),
        (Dtype::BF16, tch::Kind::BFloat16),
    ] {
        let model = fresh(&config, 0.0);
        let specs = layout::tensors(&config);
        let header = SafetensorsHeader::for_tensors(
            specs
                .into_iter()
                .map(|spec| (spec.name, dtype, spec.shape))
                .collect(),
        );
        let mut bytes = header.to_bytes();
        let mut rounded = Vec::new();
        for tensor in weights(&model) {
            let half = tensor.to_kind(kind);
            let start = bytes.len();
            bytes.resize(start + 2 * half.numel(), 0);
            half.copy_data_u8(&mut bytes[start..], half.numel());
            rounded.push(half.to_kind(tch::Kind::Float));
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config.to_json()).unwrap();
        fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        let copy = Gpt2::load(&ModelDir::open(dir.path()).unwrap(), 0.0, Device::Cpu).unwrap();
        assert_eq!(weights(&copy), rounded);
    }
}

#[test]
fn the_streamed_file_is_the_written_file() {
    let model = fresh(&layout::preset("gpt2-nano").unwrap(), 0.0);
    let snapshot = model.snapshot().unwrap();
    let dir = tempfile::tempdir().unwrap();
    snapshot.write_model_dir(dir.path(), None).unwrap();
    let written = fs::read(dir.path().join("model.safetensors")).unwrap();

    let mut reader = snapshot.model_file();
    assert_eq!(reader.total_bytes(), written.len() as u64);
    // It outlives the snapshot, goes to another thread, and is read in pieces
    // that end neither with a tensor nor with an element.
    drop(snapshot);
    let streamed = thread::spawn(move || {
        let mut streamed: Vec<u8> = Vec::new();
        let mut piece = [0; 4099];
        loop {
            let length = reader.read(&mut piece).unwrap();
            streamed.extend(&piece[..length]);
            if length == 0 {
                return streamed;
            }
        }
    });
    assert!(streamed.join().unwrap() == written);
}

#[test]
fn a_model_directory_that_does_not_fit_names_the_tensor() {
    let model = fresh(&small(), 0.0);
    let dir = tempfile::tempdir().unwrap();
    model
        .snapshot()
        .unwrap()
        .write_model_dir(dir.path(), None)
        .unwrap();
    let wider = layout::Gpt2Config {
        n_positions: 32,
        ..small()
    };
    fs::write(dir.path().join("config.json"), wider.to_json()).unwrap();
    let error = Gpt2::load(&ModelDir::open(dir.path()).unwrap(), 0.0, Device::Cpu).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("transformer.wpe.weight is [16, 24] and should be [32, 24]"),
        "{error}"
    );
}
