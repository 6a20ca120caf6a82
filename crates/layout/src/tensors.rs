//! Which tensors a GPT-2 of a given configuration has.

use crate::config::Gpt2Config;

/// A tensor's name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in a `GPT2LMHeadModel`'s state: `transformer.…`.
    pub name: String,
    /// The shape. Projections are stored as `[in, out]`: transformers' `Conv1D`.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// How many numbers it holds.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}

/// The model's tensors in the byte order of their names: the order of a
/// checkpoint file, and of the optimizer's parameters everywhere in Peregrine.
///
/// There is no `lm_head.weight`: it is the token embedding (tied).
pub fn tensors(config: &Gpt2Config) -> Vec<TensorSpec> {
    let mut specs = tensors_in_module_order(config);
    specs.sort_by(|left, right| left.name.cmp(&right.name));
    specs
}

/// The model's tensors in the order in which a forward pass first needs them,
/// which is also PyTorch's module order; transformers cuts shards along it.
pub fn tensors_in_module_order(config: &Gpt2Config) -> Vec<TensorSpec> {
    let width = config.n_embd;
    let inner = config.inner_width();
    let mut specs = Vec::with_capacity(4 + 12 * config.n_layer);
    let mut push = |name: String, shape: &[usize]| {
        specs.push(TensorSpec {
            name: format!("transformer.{name}"),
            shape: shape.to_vec(),
        });
    };

    push("wte.weight".to_owned(), &[config.vocab_size, width]);
    push("wpe.weight".to_owned(), &[config.n_positions, width]);
    for layer in 0..config.n_layer {
        let mut push_pair = |module: &str, weight: &[usize], bias: usize| {
            push(format!("h.{layer}.{module}.weight"), weight);
            push(format!("h.{layer}.{module}.bias"), &[bias]);
        };
        push_pair("ln_1", &[width], width);
        push_pair("attn.c_attn", &[width, 3 * width], 3 * width);
        push_pair("attn.c_proj", &[width, width], width);
        push_pair("ln_2", &[width], width);
        push_pair("mlp.c_fc", &[width, inner], inner);
        push_pair("mlp.c_proj", &[inner, width], width);
    }
    push("ln_f.weight".to_owned(), &[width]);
    push("ln_f.bias".to_owned(), &[width]);
    specs
}

/// How many parameters the model has; tied weights count once, as a
/// validator's sum over `model.parameters()` counts them.
pub fn parameter_count(config: &Gpt2Config) -> u64 {
    tensors_in_module_order(config)
        .iter()
        .map(TensorSpec::elements)
        .sum()
}
