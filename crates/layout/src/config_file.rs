//! Reading and writing `config.json`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Gpt2Config;
use crate::error::{ConfigError, LayoutError};
use crate::python_json;

/// The release of transformers whose files this crate writes. Its style of
/// `config.json` is read by older and newer releases alike.
pub const TRANSFORMERS_VERSION: &str = "4.34.1";

impl Gpt2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When it cannot be read or parsed, is another kind of model's, or
    /// describes a GPT-2 that cannot be computed here.
    pub fn read(path: &Path) -> Result<Gpt2Config, LayoutError> {
        let json_error = |source| LayoutError::Json {
            path: path.to_owned(),
            source,
        };
        let text = fs::read(path).map_err(|source| LayoutError::io(path, source))?;
        let kind: ModelKind = serde_json::from_slice(&text).map_err(json_error)?;
        if kind.model_type.as_deref() != Some("gpt2") {
            return Err(LayoutError::ModelType {
                path: path.to_owned(),
                model_type: kind.model_type,
            });
        }
        let config: Gpt2Config = serde_json::from_slice(&text).map_err(json_error)?;
        kind.refuse_other_arithmetic()
            .and_then(|()| config.validate())
            .map_err(|source| LayoutError::Config {
                path: path.to_owned(),
                source,
            })?;
        Ok(config)
    }

    /// The bytes of `config.json` as transformers 4.34 writes them for a
    /// `GPT2LMHeadModel` in fp32.
    pub fn to_json(&self) -> Vec<u8> {
        python_json::to_vec(&ConfigFile::from(self))
    }

    /// The bytes of `generation_config.json` as transformers 4.34 derives
    /// them from the model's configuration.
    pub fn generation_json(&self) -> Vec<u8> {
        python_json::to_vec(&GenerationConfigFile {
            _from_model_config: true,
            bos_token_id: self.bos_token_id,
            eos_token_id: self.eos_token_id,
            transformers_version: TRANSFORMERS_VERSION,
        })
    }
}

/// The fields that every transformers configuration may have and that would
/// make a GPT-2 compute something else.
#[derive(Deserialize)]
#[serde(default)]
struct ModelKind {
    model_type: Option<String>,
    tie_word_embeddings: bool,
    add_cross_attention: bool,
    pruned_heads: serde_json::Map<String, serde_json::Value>,
    quantization_config: Option<serde_json::Value>,
}

impl Default for ModelKind {
    fn default() -> ModelKind {
        ModelKind {
            model_type: None,
            tie_word_embeddings: true,
            add_cross_attention: false,
            pruned_heads: serde_json::Map::new(),
            quantization_config: None,
        }
    }
}

impl ModelKind {
    fn refuse_other_arithmetic(&self) -> Result<(), ConfigError> {
        let refuse = |field, value: &str, reason: &str| {
            Err(ConfigError {
                field,
                value: value.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if !self.tie_word_embeddings {
            return refuse(
                "tie_word_embeddings",
                "false",
                "only tied embeddings are supported",
            );
        }
        if self.add_cross_attention {
            return refuse(
                "add_cross_attention",
                "true",
                "only a decoder by itself is supported",
            );
        }
        if !self.pruned_heads.is_empty() {
            return refuse(
                "pruned_heads",
                "not empty",
                "only models with all heads are supported",
            );
        }
        if self.quantization_config.is_some() {
            return refuse(
                "quantization_config",
                "given",
                "only unquantised weights are supported",
            );
        }
        Ok(())
    }
}

/// `config.json`: the fields in the order of their names, as Python sorts them.
#[derive(Serialize)]
struct ConfigFile<'a> {
    activation_function: &'a str,
    architectures: [&'static str; 1],
    attn_pdrop: f64,
    bos_token_id: Option<u32>,
    embd_pdrop: f64,
    eos_token_id: Option<u32>,
    initializer_range: f64,
    layer_norm_epsilon: f64,
    model_type: &'static str,
    n_embd: usize,
    n_head: usize,
    n_inner: Option<usize>,
    n_layer: usize,
    n_positions: usize,
    reorder_and_upcast_attn: bool,
    resid_pdrop: f64,
    scale_attn_by_inverse_layer_idx: bool,
    scale_attn_weights: bool,
    summary_activation: Option<&'a str>,
    summary_first_dropout: f64,
    summary_proj_to_labels: bool,
    summary_type: &'a str,
    summary_use_proj: bool,
    torch_dtype: &'static str,
    transformers_version: &'static str,
    use_cache: bool,
    vocab_size: usize,
}

impl<'a> From<&'a Gpt2Config> for ConfigFile<'a> {
    fn from(config: &'a Gpt2Config) -> ConfigFile<'a> {
        ConfigFile {
            activation_function: &config.activation_function,
            architectures: ["GPT2LMHeadModel"],
            attn_pdrop: config.attn_pdrop,
            bos_token_id: config.bos_token_id,
            embd_pdrop: config.embd_pdrop,
            eos_token_id: config.eos_token_id,
            initializer_range: config.initializer_range,
            layer_norm_epsilon: config.layer_norm_epsilon,
            model_type: "gpt2",
            n_embd: config.n_embd,
            n_head: config.n_head,
            n_inner: config.n_inner,
            n_layer: config.n_layer,
            n_positions: config.n_positions,
            reorder_and_upcast_attn: config.reorder_and_upcast_attn,
            resid_pdrop: config.resid_pdrop,
            scale_attn_by_inverse_layer_idx: config.scale_attn_by_inverse_layer_idx,
            scale_attn_weights: config.scale_attn_weights,
            summary_activation: config.summary_activation.as_deref(),
            summary_first_dropout: config.summary_first_dropout,
            summary_proj_to_labels: config.summary_proj_to_labels,
            summary_type: &config.summary_type,
            summary_use_proj: config.summary_use_proj,
            torch_dtype: "float32",
            transformers_version: TRANSFORMERS_VERSION,
            use_cache: config.use_cache,
            vocab_size: config.vocab_size,
        }
    }
}

/// `generation_config.json`; absent tokens are left out there.
#[derive(Serialize)]
struct GenerationConfigFile {
    _from_model_config: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token_id: Option<u32>,
    transformers_version: &'static str,
}
