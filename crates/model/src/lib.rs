//! GPT-2 in libtorch: forward pass, loss, optimizer, and the state of both on disk.
//!
//! The mental model: a [`Gpt2`] is a configuration and an ordered list of
//! parameters, named and shaped as [`layout::tensors`] says; its forward pass
//! reads top to bottom in one file. [`AdamW`] holds two moments for each of
//! those parameters, in the same order. A [`Snapshot`] (weights) and an
//! [`OptimizerState`] are copies of the two in main memory, which another
//! thread can write or stream while training goes on.
//!
//! Architecture invariant: nothing here decides what is trained on, when, or
//! with whom. Gradients lie in the parameters' `grad`; who sums them between
//! workers (`c10d`), and how many tokens they are divided by, is the caller's.
//!
//! Architecture invariant: there is no state of random numbers here. Dropout
//! draws from libtorch's global generator, so [`tch::manual_seed`] before a
//! forward pass fixes its masks, whatever went before.

mod adamw;
mod error;
mod gpt2;
mod gradients;
mod optimizer_state;
mod precision;
mod reader;
mod snapshot;
mod weights;

pub use adamw::AdamW;
pub use error::ModelError;
pub use gpt2::{Gpt2, Mode};
pub use optimizer_state::OptimizerState;
pub use precision::{Precision, UnknownPrecision};
pub use reader::TensorReader;
pub use snapshot::Snapshot;

/// The optimizer's state, beside the model's files but not one of them.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
