//! The forward pass, top to bottom.
//!
//! GPT-2 (Radford et al. 2019) as transformers computes it: pre-norm blocks of
//! causal self-attention and an MLP on a residual stream, learned positions,
//! and the token embedding once more as the output projection. Projections are
//! stored as `[in, out]`.
//!
//! Shapes in comments: b sequences, t positions, w = `n_embd`, h heads.

use layout::{Activation, Gpt2Config};
use tch::{Device, Kind, Reduction, Tensor};

use crate::error::ModelError;

/// Whether a pass is to learn from or to measure with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout as the model was given it.
    Train,
    /// No dropout.
    Evaluate,
}

/// A GPT-2 language model with its parameters on one device, in fp32.
#[derive(Debug)]
pub struct Gpt2 {
    config: Gpt2Config,
    activation: Activation,
    dropout: f64,
    device: Device,
    /// Every parameter, in the order of `layout::tensors`. The fields below
    /// are other handles on the same tensors.
    parameters: Vec<(String, Tensor)>,
    /// `[vocab_size, w]`; also the output projection.
    token_embedding: Tensor,
    /// `[n_positions, w]`
    position_embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
}

#[derive(Debug)]
struct Block {
    attention_norm: LayerNorm,
    /// To queries, keys and values, side by side: `[w, 3w]`.
    attention_in: Projection,
    attention_out: Projection,
    /// What scores are multiplied by before the softmax.
    attention_scale: f64,
    mlp_norm: LayerNorm,
    mlp_in: Projection,
    mlp_out: Projection,
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

/// transformers' `Conv1D`: x · weight + bias, with weight `[in, out]`.
#[derive(Debug)]
struct Projection {
    weight: Tensor,
    bias: Tensor,
}

impl Gpt2 {
    /// Puts a model together from a tensor for each of `layout::tensors`, in
    /// that order, fp32 on `device`, without gradient.
    pub(crate) fn assemble(
        config: &Gpt2Config,
        dropout: f64,
        device: Device,
        parameters: Vec<(String, Tensor)>,
    ) -> Result<Gpt2, ModelError> {
        let activation = config.activation()?;
        for (_, parameter) in &parameters {
            let _ = parameter.f_set_requires_grad(true)?;
        }
        let named = |name: &str| {
            let name = format!("transformer.{name}");
            let found = parameters.binary_search_by(|(other, _)| other.as_str().cmp(&name));
            let index = found.expect("layout::tensors names every parameter of a GPT-2, in order");
            parameters[index].1.shallow_clone()
        };
        let norm = |module: &str| LayerNorm {
            weight: named(&format!("{module}.weight")),
            bias: named(&format!("{module}.bias")),
            epsilon: config.layer_norm_epsilon,
        };
        let projection = |module: &str| Projection {
            weight: named(&format!("{module}.weight")),
            bias: named(&format!("{module}.bias")),
        };
        let block = |layer: usize| Block {
            attention_norm: norm(&format!("h.{layer}.ln_1")),
            attention_in: projection(&format!("h.{layer}.attn.c_attn")),
            attention_out: projection(&format!("h.{layer}.attn.c_proj")),
            attention_scale: attention_scale(config, layer),
            mlp_norm: norm(&format!("h.{layer}.ln_2")),
            mlp_in: projection(&format!("h.{layer}.mlp.c_fc")),
            mlp_out: projection(&format!("h.{layer}.mlp.c_proj")),
        };
        Ok(Gpt2 {
            activation,
            dropout,
            device,
            token_embedding: named("wte.weight"),
            position_embedding: named("wpe.weight"),
            blocks: (0..config.n_layer).map(block).collect(),
            final_norm: norm("ln_f"),
            config: config.clone(),
            parameters,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Where its parameters are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Its parameters with their names, in the order of `layout::tensors`.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Logits for the token after each position.
    ///
    /// `ids` is `[b, t]`, int64, on the model's device; the result `[b, t,
    /// vocab_size]`, in bf16 under autocast.
    ///
    /// # Errors
    /// When t is 0 or above `n_positions`, or memory runs out.
    pub fn forward(&self, ids: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        let (_, length) = ids.size2()?;
        self.check_length(length)?;
        let dropout = match mode {
            Mode::Train => self.dropout,
            Mode::Evaluate => 0.0,
        };

        let tokens = Tensor::f_embedding(&self.token_embedding, ids, -1, false, false)?;
        let positions = self.position_embedding.f_narrow(0, 0, length)?;
        let mut x = drop_out(tokens.f_add(&positions)?, dropout)?;
        for block in &self.blocks {
            let heads = self.config.n_head as i64;
            x = x.f_add(&block.attend(&x, heads, dropout)?)?;
            x = x.f_add(&block.feed_forward(&x, self.activation, dropout)?)?;
        }
        let x = self.final_norm.forward(&x)?;
        Ok(x.f_linear(&self.token_embedding, None::<&Tensor>)?)
    }

    /// The sum of the cross-entropies (nats, fp32) of the b · (t - 1) tokens
    /// that have one before them, as a scalar to run backward from.
    ///
    /// # Errors
    /// As [`forward`](Gpt2::forward); and when t is below 2.
    pub fn loss_sum(&self, ids: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        self.cross_entropy(ids, mode, Reduction::Sum)
    }

    /// Each sequence's mean cross-entropy (nats), without dropout or
    /// gradients: what a validator computes one sequence at a time.
    ///
    /// # Errors
    /// As [`loss_sum`](Gpt2::loss_sum).
    pub fn sequence_losses(&self, ids: &Tensor) -> Result<Vec<f64>, ModelError> {
        let (batch, length) = ids.size2()?;
        let losses = tch::no_grad(|| self.cross_entropy(ids, Mode::Evaluate, Reduction::None))?;
        let means = losses
            .f_view([batch, length - 1])?
            .f_mean_dim(1, false, Kind::Double)?;
        Ok(Vec::<f64>::try_from(&means)?)
    }

    /// A scalar 0 whose backward pass gives every parameter a gradient of
    /// zeros: what a worker with an empty share contributes to a step.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn zero_loss(&self) -> Result<Tensor, ModelError> {
        let mut sums = Vec::with_capacity(self.parameters.len());
        for (_, parameter) in &self.parameters {
            // The sum over no element: 0 even where a weight is not finite.
            sums.push(
                parameter
                    .f_flatten(0, -1)?
                    .f_narrow(0, 0, 0)?
                    .f_sum(Kind::Float)?,
            );
        }
        Ok(Tensor::f_stack(&sums, 0)?.f_sum(Kind::Float)?)
    }

    /// Sequences as a tensor `[b, t]` on the model's device.
    ///
    /// # Errors
    /// When there is none, they differ in length, or a token is outside the
    /// vocabulary, which a GPU would answer with its own end.
    pub fn batch<S: AsRef<[u32]>>(&self, sequences: &[S]) -> Result<Tensor, ModelError> {
        let length = sequences.first().map_or(0, |first| first.as_ref().len());
        let mut ids: Vec<i64> = Vec::with_capacity(sequences.len() * length);
        for (index, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            if sequence.len() != length {
                return Err(ModelError::Batch(format!(
                    "sequence {index} has {} tokens and the first has {length}: \
                     a batch has sequences of one length",
                    sequence.len()
                )));
            }
            for &id in sequence {
                if id as usize >= self.config.vocab_size {
                    return Err(ModelError::Batch(format!(
                        "sequence {index} has token {id}, and the vocabulary ends at {}",
                        self.config.vocab_size - 1
                    )));
                }
                ids.push(i64::from(id));
            }
        }
        self.check_length(length as i64)?;
        let shape = [sequences.len() as i64, length as i64];
        Ok(Tensor::f_from_slice(&ids)?
            .f_view(shape)?
            .f_to_device(self.device)?)
    }

    fn cross_entropy(
        &self,
        ids: &Tensor,
        mode: Mode,
        reduction: Reduction,
    ) -> Result<Tensor, ModelError> {
        let (_, length) = ids.size2()?;
        if length < 2 {
            return Err(ModelError::Batch(format!(
                "a sequence of {length} tokens has nothing to predict: at least 2 are needed"
            )));
        }
        // No position sees a later one and the last predicts nothing that the
        // loss asks for, so it need not go through the model at all.
        let inputs = ids.f_narrow(1, 0, length - 1)?;
        let targets = ids.f_narrow(1, 1, length - 1)?.f_reshape([-1])?;
        let logits = self.forward(&inputs, mode)?;
        let logits = logits
            .f_view([-1, self.config.vocab_size as i64])?
            .f_to_kind(Kind::Float)?;
        Ok(logits.f_cross_entropy_loss(&targets, None::<&Tensor>, reduction, -100, 0.0)?)
    }

    fn check_length(&self, length: i64) -> Result<(), ModelError> {
        let most = self.config.n_positions;
        if (1..=most as i64).contains(&length) {
            return Ok(());
        }
        Err(ModelError::Batch(format!(
            "sequences have {length} tokens, and the model has {most} positions"
        )))
    }
}

impl Block {
    /// What attention adds to the residual stream `x`, `[b, t, w]`.
    fn attend(&self, x: &Tensor, heads: i64, dropout: f64) -> Result<Tensor, ModelError> {
        let (batch, length, width) = x.size3()?;
        let projected = self
            .attention_in
            .forward(&self.attention_norm.forward(x)?)?;
        // Views all the way: [b, t, 3w] → three of [b, h, t, w/h].
        let mut split = Vec::with_capacity(3);
        for part in projected.f_split(width, 2)? {
            let by_head = part.f_view([batch, length, heads, width / heads])?;
            split.push(by_head.f_transpose(1, 2)?);
        }
        let [query, key, value] = &split[..] else {
            return Err(ModelError::Torch(format!(
                "split into {} parts",
                split.len()
            )));
        };
        let attended = Tensor::f_scaled_dot_product_attention(
            query,
            key,
            value,
            None::<&Tensor>,
            dropout,
            true,
            self.attention_scale,
            false,
        )?;
        // [b, h, t, w/h] → [b, t, w]; a copy only where the kernel did not
        // already write its result in that order.
        let merged = attended
            .f_transpose(1, 2)?
            .f_reshape([batch, length, width])?;
        drop_out(self.attention_out.forward(&merged)?, dropout)
    }

    /// What the MLP adds to the residual stream `x`, `[b, t, w]`.
    fn feed_forward(
        &self,
        x: &Tensor,
        activation: Activation,
        dropout: f64,
    ) -> Result<Tensor, ModelError> {
        let hidden = self.mlp_in.forward(&self.mlp_norm.forward(x)?)?;
        let activated = match activation {
            Activation::GeluTanh => hidden.f_gelu("tanh")?,
            Activation::Gelu => hidden.f_gelu("none")?,
            Activation::Relu => hidden.f_relu()?,
            Activation::Silu => hidden.f_silu()?,
            Activation::Tanh => hidden.f_tanh()?,
        };
        drop_out(self.mlp_out.forward(&activated)?, dropout)
    }
}

impl LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let width = self.weight.size();
        Ok(x.f_layer_norm(
            width,
            Some(&self.weight),
            Some(&self.bias),
            self.epsilon,
            true,
        )?)
    }
}

impl Projection {
    /// `[b, t, in]` → `[b, t, out]`
    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, length, width) = x.size3()?;
        let rows = x.f_view([batch * length, width])?;
        let projected = self.bias.f_addmm(&rows, &self.weight)?;
        Ok(projected.f_view([batch, length, -1])?)
    }
}

/// What a layer's attention scores are multiplied by.
fn attention_scale(config: &Gpt2Config, layer: usize) -> f64 {
    let head_width = (config.n_embd / config.n_head) as f64;
    let mut scale = 1.0;
    if config.scale_attn_weights {
        scale /= head_width.sqrt();
    }
    if config.scale_attn_by_inverse_layer_idx {
        scale /= (layer + 1) as f64;
    }
    scale
}

fn drop_out(x: Tensor, probability: f64) -> Result<Tensor, ModelError> {
    if probability == 0.0 {
        return Ok(x);
    }
    Ok(x.f_dropout(probability, true)?)
}
