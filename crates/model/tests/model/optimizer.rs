//! AdamW, what goes into it, and how it survives on disk.

use std::fs;
use std::io::Read;

use layout::Gpt2Config;
use model::{AdamW, Gpt2, Mode, ModelError};
use run::Decay;
use tch::Tensor;

use crate::common::{adamw, fresh, ids, parameter, relative, small, value};

const TOKENS: u64 = 30;

fn backward(model: &Gpt2) {
    model.zero_gradients().unwrap();
    model
        .loss_sum(&ids(model, 2, 16), Mode::Train)
        .unwrap()
        .backward();
}

fn train(model: &Gpt2, optimizer: &mut AdamW, steps: usize) {
    for _ in 0..steps {
        backward(model);
        model.average_gradients(TOKENS, Some(1.0)).unwrap();
        optimizer.step(1e-2).unwrap();
    }
}

fn gradient_norm(model: &Gpt2) -> f64 {
    let square = |(_, parameter): &(String, Tensor)| {
        value(&parameter.grad().square().sum(tch::Kind::Double))
    };
    model.parameters().iter().map(square).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_averaged_and_clipped_in_one() {
    let model = fresh(&small(), 0.0);
    backward(&model);
    let norm = gradient_norm(&model) / TOKENS as f64;
    assert!(relative(model.average_gradients(TOKENS, None).unwrap(), norm) < 1e-5);
    assert!(relative(gradient_norm(&model), norm) < 1e-5);

    backward(&model);
    assert!(
        relative(
            model.average_gradients(TOKENS, Some(norm / 3.0)).unwrap(),
            norm
        ) < 1e-5
    );
    assert!(relative(gradient_norm(&model), norm / 3.0) < 1e-4);

    // What is short enough is left alone.
    backward(&model);
    model.average_gradients(TOKENS, Some(norm * 3.0)).unwrap();
    assert!(relative(gradient_norm(&model), norm) < 1e-5);
}

#[test]
fn a_gradient_that_is_not_finite_shows_in_the_norm() {
    let model = fresh(&small(), 0.0);
    backward(&model);
    let mut gradient = parameter(&model, "transformer.ln_f.bias").grad();
    let _ = gradient.fill_(f64::NAN);
    assert!(model.average_gradients(TOKENS, Some(1.0)).unwrap().is_nan());
}

#[test]
fn a_step_without_gradients_is_refused() {
    let model = fresh(&small(), 0.0);
    let mut optimizer = AdamW::new(&model, &adamw()).unwrap();
    let error = optimizer.step(1e-3).unwrap_err();
    assert!(matches!(error, ModelError::NoGradient { .. }), "{error}");
    assert_eq!(optimizer.steps(), 0);
}

#[test]
fn zeroing_keeps_the_gradients_memory() {
    let model = fresh(&small(), 0.0);
    backward(&model);
    let (_, first) = &model.parameters()[0];
    let before = first.grad().data_ptr();
    model.zero_gradients().unwrap();
    assert_eq!(first.grad().data_ptr(), before);
    assert_eq!(gradient_norm(&model), 0.0);
}

#[test]
fn weight_decay_touches_what_it_is_told_to() {
    for decay in [Decay::Everywhere, Decay::MatricesOnly] {
        let model = fresh(&small(), 0.0);
        // With gradients of zero, decay is all that a step does.
        model.zero_loss().unwrap().backward();
        let settings = run::AdamW {
            weight_decay: 0.5,
            decay,
            ..adamw()
        };
        let before: Vec<Tensor> = model
            .parameters()
            .iter()
            .map(|(_, tensor)| tensor.detach().copy())
            .collect();
        AdamW::new(&model, &settings).unwrap().step(0.1).unwrap();
        for ((name, after), before) in model.parameters().iter().zip(before) {
            let decays = decay == Decay::Everywhere || after.dim() == 2;
            let expected = if decays { before * 0.95 } else { before };
            assert!(
                after.allclose(&expected, 1e-6, 0.0, false),
                "{name} with {decay:?}"
            );
        }
    }
}

#[test]
fn training_resumed_from_files_goes_on_bit_for_bit() {
    let undisturbed = fresh(&small(), 0.0);
    let mut optimizer = AdamW::new(&undisturbed, &adamw()).unwrap();
    train(&undisturbed, &mut optimizer, 3);
    let dir = tempfile::tempdir().unwrap();
    let state_path = dir.path().join(model::OPTIMIZER_FILE);
    undisturbed
        .snapshot()
        .unwrap()
        .write_model_dir(dir.path(), None)
        .unwrap();
    optimizer.snapshot().unwrap().write(&state_path).unwrap();
    train(&undisturbed, &mut optimizer, 3);

    let saved = layout::ModelDir::open(dir.path()).unwrap();
    let resumed = Gpt2::load(&saved, 0.0, tch::Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(&resumed, &adamw()).unwrap();
    optimizer.restore(&state_path).unwrap();
    assert_eq!(optimizer.steps(), 3);
    train(&resumed, &mut optimizer, 3);

    for ((name, expected), (_, found)) in undisturbed.parameters().iter().zip(resumed.parameters())
    {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_streamed_state_is_the_written_state() {
    let model = fresh(&small(), 0.0);
    let mut optimizer = AdamW::new(&model, &adamw()).unwrap();
    train(&model, &mut optimizer, 1);
    let state = optimizer.snapshot().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optimizer.safetensors");
    state.write(&path).unwrap();

    let mut streamed = Vec::new();
    let mut reader = state.file().unwrap();
    reader.read_to_end(&mut streamed).unwrap();
    assert_eq!(reader.total_bytes(), streamed.len() as u64);
    assert!(streamed == fs::read(&path).unwrap());
}

#[test]
fn state_of_another_model_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optimizer.safetensors");
    let model = fresh(&small(), 0.0);
    AdamW::new(&model, &adamw())
        .unwrap()
        .snapshot()
        .unwrap()
        .write(&path)
        .unwrap();
    for (config, says) in [
        (
            Gpt2Config {
                n_positions: 8,
                ..small()
            },
            "exp_avg.transformer.wpe.weight is Float [16, 24] and should be Float [8, 24]",
        ),
        (
            Gpt2Config {
                n_layer: 2,
                ..small()
            },
            "exp_avg.transformer.h.2.attn.c_attn.bias is of no parameter of this model",
        ),
        (
            Gpt2Config {
                n_layer: 4,
                ..small()
            },
            "it lacks exp_avg.transformer.h.3.attn.c_attn.bias",
        ),
    ] {
        let other = fresh(&config, 0.0);
        let error = AdamW::new(&other, &adamw())
            .unwrap()
            .restore(&path)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("optimizer.safetensors: ") && error.contains(says),
            "{error}"
        );
    }
}
