//! Model directories as the `transformers` library lays them out on disk.
//!
//! The mental model: a directory is a `config.json`, which says what the model
//! *is* ([`Gpt2Config`]); from it follows which tensors there must be and of
//! which shapes ([`tensors()`]); and one or more safetensors files hold them,
//! each beginning with a header that says where each tensor's bytes lie
//! ([`SafetensorsHeader`]). [`ModelDir`] opens what is there and compares it
//! with what should be there; [`write_model_dir`] writes it. What this crate
//! writes is byte for byte what transformers 4.34 writes for the same model,
//! so that hashes agree.
//!
//! Architecture invariant: this crate does not know libtorch, and computes
//! nothing from weights. It moves bytes between files and callers, so that
//! the coordinator and the publisher can check a checkpoint without linking a
//! tensor library.
//!
//! Architecture invariant: a tensor file is never read as a whole. Headers are
//! read when a directory is opened, and one tensor's bytes when asked for.

mod config;
mod config_file;
mod dir;
mod error;
mod file;
mod finite;
mod header;
mod presets;
mod python_json;
mod shards;
mod tensors;
mod write;

pub use config::{Activation, Gpt2Config};
pub use config_file::TRANSFORMERS_VERSION;
pub use dir::{ModelDir, checkpoint_files};
pub use error::{ConfigError, LayoutError, TensorProblem};
pub use file::{SafetensorsFile, TensorBytes};
pub use finite::first_non_finite;
pub use header::{SafetensorsHeader, TensorEntry};
pub use presets::{PRESETS, Preset, preset};
pub use safetensors::Dtype;
pub use shards::{Shard, plan_shards};
pub use tensors::{TensorSpec, parameter_count, tensors, tensors_in_module_order};
pub use write::{replace_file, write_model_dir};

/// The file that says what the model is.
pub const CONFIG_FILE: &str = "config.json";
/// The file of generation defaults that transformers writes beside it.
pub const GENERATION_CONFIG_FILE: &str = "generation_config.json";
/// The weights, when they are in one file.
pub const MODEL_FILE: &str = "model.safetensors";
/// Which shard holds which tensor, when the weights are in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
