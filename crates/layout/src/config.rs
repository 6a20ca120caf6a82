//! GPT-2's configuration: what `config.json` says, and what follows from it.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// The largest vocabulary and context accepted; far above any in use, and low
/// enough that no product of sizes overflows 64 bits.
const MAX_ROWS: usize = 1 << 24;
/// The largest width (embedding, hidden layer) accepted.
const MAX_WIDTH: usize = 1 << 20;
/// The deepest model accepted.
const MAX_LAYERS: usize = 1 << 12;

/// Every field of transformers' `GPT2Config`, under its name there.
///
/// Reading is as tolerant as transformers is: a missing field has its default
/// there, an unknown one is ignored, and the generic spellings (`hidden_size`
/// and the like) are understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// Rows of the token embedding, and so of the logits.
    pub vocab_size: usize,
    /// The longest sequence, in tokens.
    #[serde(alias = "max_position_embeddings")]
    pub n_positions: usize,
    /// Width of the residual stream.
    #[serde(alias = "hidden_size")]
    pub n_embd: usize,
    /// Number of blocks.
    #[serde(alias = "num_hidden_layers")]
    pub n_layer: usize,
    /// Attention heads per block; divides `n_embd`.
    #[serde(alias = "num_attention_heads")]
    pub n_head: usize,
    /// Width of the hidden layer of each block's MLP; `None` is `4 * n_embd`.
    pub n_inner: Option<usize>,
    /// The MLP's activation; see [`Activation`] for those understood.
    pub activation_function: String,
    /// Dropout on what attention and MLP add to the residual stream.
    pub resid_pdrop: f64,
    /// Dropout on the sum of the embeddings.
    pub embd_pdrop: f64,
    /// Dropout on the attention weights.
    pub attn_pdrop: f64,
    /// What layer norms add to the variance.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of freshly initialised weights.
    pub initializer_range: f64,
    /// For classification heads; without effect on a language model.
    pub summary_type: String,
    /// For classification heads; without effect on a language model.
    pub summary_use_proj: bool,
    /// For classification heads; without effect on a language model.
    pub summary_activation: Option<String>,
    /// For classification heads; without effect on a language model.
    pub summary_proj_to_labels: bool,
    /// For classification heads; without effect on a language model.
    pub summary_first_dropout: f64,
    /// Whether attention scores are divided by the square root of the head's width.
    pub scale_attn_weights: bool,
    /// For generation; without effect on training.
    pub use_cache: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The token that ends a text.
    pub eos_token_id: Option<u32>,
    /// Whether block i's attention scores are further divided by i + 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether scores are computed in fp32 under mixed precision; in fp32
    /// without effect on the values.
    pub reorder_and_upcast_attn: bool,
}

impl Default for Gpt2Config {
    /// The defaults of transformers' `GPT2Config`.
    fn default() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".to_owned(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            summary_type: "cls_index".to_owned(),
            summary_use_proj: true,
            summary_activation: None,
            summary_proj_to_labels: true,
            summary_first_dropout: 0.1,
            scale_attn_weights: true,
            use_cache: true,
            bos_token_id: Some(50_256),
            eos_token_id: Some(50_256),
            scale_attn_by_inverse_layer_idx: false,
            reorder_and_upcast_attn: false,
        }
    }
}

/// The activations of transformers that the MLP can be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU by its tanh approximation: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// GELU by the error function: `gelu`.
    Gelu,
    /// `relu`.
    Relu,
    /// x · sigmoid(x): `silu`, `swish`.
    Silu,
    /// `tanh`.
    Tanh,
}

impl Activation {
    /// The activation that transformers knows by this name.
    pub fn from_name(name: &str) -> Option<Activation> {
        match name {
            "gelu_new" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            "gelu" => Some(Activation::Gelu),
            "relu" => Some(Activation::Relu),
            "silu" | "swish" => Some(Activation::Silu),
            "tanh" => Some(Activation::Tanh),
            _ => None,
        }
    }
}

impl Gpt2Config {
    /// The width of the MLP's hidden layer.
    pub fn inner_width(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// The MLP's activation.
    ///
    /// # Errors
    /// For a name that [`Activation`] does not know.
    pub fn activation(&self) -> Result<Activation, ConfigError> {
        Activation::from_name(&self.activation_function).ok_or_else(|| ConfigError {
            field: "activation_function",
            value: format!("{:?}", self.activation_function),
            reason: "known are gelu_new, gelu_pytorch_tanh, gelu, relu, silu, swish and tanh"
                .to_owned(),
        })
    }

    /// Checks that a model can be built from these values.
    ///
    /// # Errors
    /// Names the first field that cannot be, and why.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("vocab_size", self.vocab_size, MAX_ROWS)?;
        within("n_positions", self.n_positions, MAX_ROWS)?;
        within("n_embd", self.n_embd, MAX_WIDTH)?;
        within("n_layer", self.n_layer, MAX_LAYERS)?;
        within("n_head", self.n_head, MAX_WIDTH)?;
        within("n_inner", self.inner_width(), 4 * MAX_WIDTH)?;
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(ConfigError {
                field: "n_head",
                value: self.n_head.to_string(),
                reason: format!("it must divide n_embd, which is {}", self.n_embd),
            });
        }
        self.activation()?;
        probability("resid_pdrop", self.resid_pdrop)?;
        probability("embd_pdrop", self.embd_pdrop)?;
        probability("attn_pdrop", self.attn_pdrop)?;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.layer_norm_epsilon) {
            return Err(bad_float(
                "layer_norm_epsilon",
                self.layer_norm_epsilon,
                "it must be above 0",
            ));
        }
        if !self.initializer_range.is_finite() || self.initializer_range < 0.0 {
            return Err(bad_float(
                "initializer_range",
                self.initializer_range,
                "it must be at least 0",
            ));
        }
        Ok(())
    }
}

fn within(field: &'static str, value: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: value.to_string(),
        reason: format!("it must be between 1 and {most}"),
    })
}

fn probability(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(bad_float(
        field,
        value,
        "a dropout probability is at least 0 and below 1",
    ))
}

fn bad_float(field: &'static str, value: f64, reason: &str) -> ConfigError {
    ConfigError {
        field,
        value: value.to_string(),
        reason: reason.to_owned(),
    }
}
