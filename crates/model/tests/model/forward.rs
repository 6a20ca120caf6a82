//! Every field of the configuration that changes the arithmetic changes it as
//! it should: compared with GPT-2 written out naively.

use layout::Gpt2Config;
use model::{Gpt2, Mode};
use tch::{Kind, Tensor};

use crate::common::{distance, fresh, ids, parameter, relative, small, value};

/// GPT-2 by its formulas, with the full matrix of attention weights.
fn naive_logits(model: &Gpt2, ids: &Tensor) -> Tensor {
    let config = model.config();
    let weight = |name: &str| parameter(model, &format!("transformer.{name}"));
    let norm = |x: &Tensor, module: &str| {
        let mean = x.mean_dim(-1, true, Kind::Float);
        let centred = x - mean;
        let variance = (&centred * &centred).mean_dim(-1, true, Kind::Float);
        let normed = centred / (variance + config.layer_norm_epsilon).sqrt();
        normed * weight(&format!("{module}.weight")) + weight(&format!("{module}.bias"))
    };
    let project = |x: &Tensor, module: &str| {
        x.matmul(weight(&format!("{module}.weight"))) + weight(&format!("{module}.bias"))
    };

    let (batch, length) = ids.size2().unwrap();
    let (heads, width) = (config.n_head as i64, config.n_embd as i64);
    let future = Tensor::ones([length, length], (Kind::Float, ids.device())).triu(1) * -1e9;
    let mut x = weight("wte.weight")
        .index_select(0, &ids.flatten(0, -1))
        .view([batch, length, width])
        + weight("wpe.weight").narrow(0, 0, length);
    for layer in 0..config.n_layer {
        let projected = project(
            &norm(&x, &format!("h.{layer}.ln_1")),
            &format!("h.{layer}.attn.c_attn"),
        );
        let part = |index: i64| {
            let part = projected.narrow(2, index * width, width);
            part.reshape([batch, length, heads, -1]).transpose(1, 2)
        };
        let mut scores = part(0).matmul(&part(1).transpose(2, 3));
        if config.scale_attn_weights {
            scores /= ((width / heads) as f64).sqrt();
        }
        if config.scale_attn_by_inverse_layer_idx {
            scores /= (layer + 1) as f64;
        }
        let attended = (scores + &future).softmax(-1, Kind::Float).matmul(&part(2));
        let merged = attended.transpose(1, 2).reshape([batch, length, width]);
        x = &x + project(&merged, &format!("h.{layer}.attn.c_proj"));

        let hidden = project(
            &norm(&x, &format!("h.{layer}.ln_2")),
            &format!("h.{layer}.mlp.c_fc"),
        );
        let activated = naive_activation(&hidden, &config.activation_function);
        x = &x + project(&activated, &format!("h.{layer}.mlp.c_proj"));
    }
    norm(&x, "ln_f").matmul(&weight("wte.weight").transpose(0, 1))
}

fn naive_activation(x: &Tensor, name: &str) -> Tensor {
    match name {
        "gelu_new" | "gelu_pytorch_tanh" => {
            let inner: Tensor = (x + 0.044715 * x * x * x) * (2.0 / std::f64::consts::PI).sqrt();
            0.5 * x * (inner.tanh() + 1.0)
        }
        "gelu" => 0.5 * x * ((x / 2.0_f64.sqrt()).erf() + 1.0),
        "relu" => x.clamp_min(0.0),
        "silu" | "swish" => x / ((-x).exp() + 1.0),
        "tanh" => x.tanh(),
        other => panic!("{other}"),
    }
}

fn assert_computed(config: Gpt2Config) {
    // Large weights, so that what is tested shows in the result.
    let config = Gpt2Config {
        initializer_range: 0.4,
        ..config
    };
    let model = fresh(&config, 0.0);
    let ids = ids(&model, 2, 11);
    let found = model.forward(&ids, Mode::Train).unwrap();
    let error = distance(&found, &naive_logits(&model, &ids));
    assert!(error < 1e-5, "{error} for {config:?}");
}

#[test]
fn the_defaults() {
    assert_computed(small());
}

#[test]
fn unscaled_attention() {
    assert_computed(Gpt2Config {
        scale_attn_weights: false,
        ..small()
    });
}

#[test]
fn attention_scaled_by_layer() {
    assert_computed(Gpt2Config {
        scale_attn_by_inverse_layer_idx: true,
        ..small()
    });
}

#[test]
fn a_hidden_layer_of_another_width() {
    assert_computed(Gpt2Config {
        n_inner: Some(10),
        ..small()
    });
}

#[test]
fn another_epsilon() {
    assert_computed(Gpt2Config {
        layer_norm_epsilon: 0.3,
        ..small()
    });
}

#[test]
fn every_activation() {
    for name in [
        "gelu_new",
        "gelu_pytorch_tanh",
        "gelu",
        "relu",
        "silu",
        "swish",
        "tanh",
    ] {
        assert_computed(Gpt2Config {
            activation_function: name.to_owned(),
            ..small()
        });
    }
}

#[test]
fn an_unknown_activation_is_refused() {
    let config = Gpt2Config {
        activation_function: "mish".to_owned(),
        ..small()
    };
    let error = Gpt2::new(&config, 0.0, tch::Device::Cpu, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("activation_function is \"mish\""),
        "{error}"
    );
}

#[test]
fn the_loss_is_the_cross_entropy_of_each_next_token() {
    let model = fresh(&small(), 0.0);
    let ids = ids(&model, 3, 16);
    let logits = naive_logits(&model, &ids).log_softmax(-1, Kind::Float);
    let mut by_sequence = Vec::new();
    for row in 0..3 {
        let mut sum = 0.0;
        for position in 0..15 {
            let next = ids.int64_value(&[row, position + 1]);
            sum -= logits.double_value(&[row, position, next]);
        }
        by_sequence.push(sum / 15.0);
    }

    let expected_sum = by_sequence.iter().sum::<f64>() * 15.0;
    let sum = value(&model.loss_sum(&ids, Mode::Train).unwrap());
    assert!(relative(sum, expected_sum) < 1e-5);
    for (found, expected) in model
        .sequence_losses(&ids)
        .unwrap()
        .iter()
        .zip(&by_sequence)
    {
        assert!(relative(*found, *expected) < 1e-5);
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let model = fresh(&small(), 0.0);
    let ids = ids(&model, 4, 16);
    let whole = value(&model.loss_sum(&ids, Mode::Train).unwrap());
    let halves: f64 = [0, 2]
        .map(|start| {
            value(
                &model
                    .loss_sum(&ids.narrow(0, start, 2), Mode::Train)
                    .unwrap(),
            )
        })
        .iter()
        .sum();
    assert!(relative(halves, whole) < 1e-6);
}

#[test]
fn the_zero_loss_gives_every_parameter_a_gradient_of_zeros() {
    let model = fresh(&small(), 0.0);
    // Even a model that has diverged must not poison the sum with NaN.
    tch::no_grad(|| {
        let mut bias = parameter(&model, "transformer.ln_f.bias").shallow_clone();
        let _ = bias.fill_(f64::INFINITY);
    });
    let loss = model.zero_loss().unwrap();
    assert_eq!(value(&loss), 0.0);
    loss.backward();
    for (name, parameter) in model.parameters() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name}");
        assert_eq!(gradient.size(), parameter.size());
        assert_eq!(value(&gradient.abs().max()), 0.0, "{name}");
    }
}

#[test]
fn evaluation_leaves_no_gradient() {
    let model = fresh(&small(), 0.0);
    model.sequence_losses(&ids(&model, 2, 8)).unwrap();
    assert!(
        model
            .parameters()
            .iter()
            .all(|(_, parameter)| !parameter.grad().defined())
    );
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let model = fresh(&small(), 0.0);
    for (sequences, says) in [
        (vec![], "sequences have 0 tokens"),
        (
            vec![vec![1; 17]],
            "sequences have 17 tokens, and the model has 16 positions",
        ),
        (
            vec![vec![1, 2, 3], vec![1, 2]],
            "sequence 1 has 2 tokens and the first has 3",
        ),
        (
            vec![vec![1, 50]],
            "sequence 0 has token 50, and the vocabulary ends at 49",
        ),
    ] {
        let error = model.batch(&sequences).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let single = model.batch(&[[1_u32]]).unwrap();
    let error = model
        .loss_sum(&single, Mode::Train)
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing to predict"), "{error}");
}
