//! The flags that define a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::optimization::Decay;
use crate::recipe::Recipe;

/// The flags that define a run, for the coordinator to flatten into its own.
///
/// All are optional: what is not given comes from the recipe in a new run, and
/// from the stored run in a resumed one. [`RunArgs::settings`] and
/// [`RunArgs::settings_over`] do that, and the checks.
///
/// Numbers may be negative as far as parsing goes (clap takes `-1e-3` for a flag
/// unless hyphens are allowed), so that the checks can say what is right.
// This struct's documentation is not the description of the binary.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(about = None, long_about = None)]
pub struct RunArgs {
    /// Epochs to train; -1 trains until stopped. A resumed run may change it.
    /// [default: -1]
    #[arg(
        long = "num_epochs",
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Run"
    )]
    pub num_epochs: Option<i64>,

    /// Pages of 100 rows in an epoch; after each, the model is evaluated.
    /// [default: 10]
    #[arg(long = "pages_per_epoch", value_name = "N", help_heading = "Run")]
    pub pages_per_epoch: Option<u64>,

    /// Pages set apart for evaluation, which no epoch trains on; 0 goes by the
    /// epoch's mean training loss instead. [default: 3]
    #[arg(long = "eval_pages", value_name = "N", help_heading = "Run")]
    pub eval_pages: Option<u64>,

    /// What the order of pages, initial weights and dropout are drawn from.
    /// [default: 0]
    #[arg(long = "seed", value_name = "N", help_heading = "Run")]
    pub seed: Option<u64>,

    /// Train on whole documents, rather than on the first 1024 tokens of each.
    #[arg(long = "keep-long-documents", help_heading = "Run")]
    pub keep_long_documents: bool,

    /// The model to train from scratch, by name. [default: gpt2-122m]
    #[arg(
        long = "preset",
        value_name = "NAME",
        conflicts_with = "model_config",
        help_heading = "Model"
    )]
    pub preset: Option<String>,

    /// The model to train from scratch, by a config.json as transformers writes it.
    #[arg(long = "model_config", value_name = "FILE", help_heading = "Model")]
    pub model_config: Option<PathBuf>,

    /// Probability of dropping an activation. [default: 0 (modern), 0.1 (seed)]
    #[arg(
        long = "dropout",
        value_name = "P",
        allow_hyphen_values = true,
        help_heading = "Model"
    )]
    pub dropout: Option<f64>,

    /// Tokens in a sequence. [default: 1024, or what the model takes if that is less]
    #[arg(long = "sl", value_name = "TOKENS", help_heading = "Batch")]
    pub sl: Option<u32>,

    /// Sequences in a micro-batch: what goes through a model at once. [default: 1]
    #[arg(long = "bs", value_name = "SEQUENCES", help_heading = "Batch")]
    pub bs: Option<u32>,

    /// Micro-batches that each worker adds up in a step, if --global-batch is not
    /// given. A resumed run keeps its global batch. [default: 5]
    #[arg(long = "accumulation_steps", value_name = "N", help_heading = "Batch")]
    pub accumulation_steps: Option<u32>,

    /// Sequences in a step of the whole cluster, however many workers there are.
    /// [default: --bs x --accumulation_steps x workers at the start]
    #[arg(
        long = "global-batch",
        value_name = "SEQUENCES",
        help_heading = "Batch"
    )]
    pub global_batch: Option<u32>,

    /// What the settings below are where they are not given. [default: modern]
    #[arg(long = "recipe", value_enum, help_heading = "Optimization")]
    pub recipe: Option<Recipe>,

    /// Learning rate. [default: 1e-5 (seed); by width (modern): 6e-4 for
    /// gpt2-122m, at most 3e-3, a tenth of that for loaded weights]
    #[arg(
        long = "lr",
        value_name = "RATE",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub lr: Option<f64>,

    /// How the learning rate goes on after the warm-up. [default: constant]
    #[arg(long = "schedule", value_enum, help_heading = "Optimization")]
    pub schedule: Option<ScheduleKind>,

    /// Steps over which the learning rate rises from 0.
    /// [default: 0 (seed), 2 / (1 - beta2) (modern)]
    #[arg(
        long = "warmup-steps",
        value_name = "STEPS",
        help_heading = "Optimization"
    )]
    pub warmup_steps: Option<u64>,

    /// Steps after which a cosine schedule reaches its final learning rate.
    #[arg(
        long = "total-steps",
        value_name = "STEPS",
        help_heading = "Optimization"
    )]
    pub total_steps: Option<u64>,

    /// The final learning rate of a cosine schedule, as a fraction of --lr.
    /// [default: 0.1]
    #[arg(
        long = "final-lr-fraction",
        value_name = "FRACTION",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub final_lr_fraction: Option<f64>,

    /// AdamW's decay of the mean of gradients. [default: 0.9]
    #[arg(
        long = "beta1",
        value_name = "BETA",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub beta1: Option<f64>,

    /// AdamW's decay of the mean of squared gradients.
    /// [default: 0.95 (modern), 0.999 (seed)]
    #[arg(
        long = "beta2",
        value_name = "BETA",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub beta2: Option<f64>,

    /// AdamW's epsilon. [default: 1e-8]
    #[arg(
        long = "eps",
        value_name = "EPSILON",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub eps: Option<f64>,

    /// AdamW's weight decay. [default: 0.1 (modern), 0.01 (seed)]
    #[arg(
        long = "weight-decay",
        value_name = "DECAY",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub weight_decay: Option<f64>,

    /// Which weights decay. [default: matrices-only (modern), everywhere (seed)]
    #[arg(long = "decay", value_enum, help_heading = "Optimization")]
    pub decay: Option<Decay>,

    /// Largest norm of a step's gradient; 0 does not clip.
    /// [default: 1 (modern), 0 (seed)]
    #[arg(
        long = "clip-grad-norm",
        value_name = "NORM",
        allow_hyphen_values = true,
        help_heading = "Optimization"
    )]
    pub clip_grad_norm: Option<f64>,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleKind {
    /// It stays.
    Constant,
    /// It falls along half a cosine over --total-steps.
    Cosine,
}
