//! The run itself.

use layout::Gpt2Config;
use serde::{Deserialize, Serialize};

use crate::data::DataManifest;
use crate::error::{RunError, require};
use crate::optimization::{AdamW, Schedule};
use crate::recipe::Recipe;

/// The longest name of a run. It becomes part of file names.
const MAX_RUN_ID: usize = 64;

/// Everything that defines a run. See the [crate] for how it comes about.
///
/// Its JSON is stable: a field is never renamed, and a field that this version
/// does not know is refused rather than ignored, since two versions that read the
/// same run differently would train two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The run's name.
    pub run_id: String,
    /// What all randomness is drawn from: the order of pages, initial weights,
    /// dropout.
    pub seed: u64,
    /// The recipe that filled in what no flag said.
    pub recipe: Recipe,
    /// The model. Its dropout probabilities are all [`RunConfig::dropout`].
    pub model: Gpt2Config,
    /// What its weights are at the first step.
    pub init: Init,
    /// Sequences in a micro-batch.
    pub bs: u32,
    /// Token ids in a sequence.
    pub sl: u32,
    /// Sequences in a step, a multiple of `bs`.
    pub global_batch: u32,
    /// Epochs until the run ends; `None` goes on for ever.
    pub num_epochs: Option<u64>,
    /// Pages in an epoch.
    pub pages_per_epoch: u64,
    /// Pages that are set apart for the evaluation; 0 judges a model by its
    /// epoch's mean training loss.
    pub eval_pages: u64,
    /// What it is trained on.
    pub data: DataManifest,
    /// How weights follow gradients.
    pub optimizer: AdamW,
    /// How the learning rate goes over the steps.
    pub schedule: Schedule,
    /// The norm that the gradient of a step is scaled down to, if it is larger.
    pub clip_grad_norm: Option<f64>,
    /// The probability with which an activation is dropped in training.
    pub dropout: f64,
}

/// What a run's weights are at its first step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// Drawn from the seed as transformers initialises a GPT-2.
    Scratch,
    /// Read from a checkpoint.
    Weights {
        /// The checkpoint's directory hash, as 64 hexadecimal digits.
        digest: String,
    },
}

impl std::fmt::Display for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch => f.write_str("from scratch"),
            Self::Weights { digest } => write!(f, "weights {digest}"),
        }
    }
}

impl RunConfig {
    /// Checks all that can be checked without asking anyone.
    ///
    /// # Errors
    /// The first thing that is wrong, by its flag and with the remedy.
    pub fn validate(&self) -> Result<(), RunError> {
        check_run_id(&self.run_id)?;
        check_model(&self.model, &self.init, self.dropout)?;
        check_batch(&self.model, self.bs, self.sl, self.global_batch)?;
        check_epochs(self.num_epochs, self.pages_per_epoch, self.eval_pages)?;
        check_optimization(&self.optimizer, &self.schedule, self.clip_grad_norm)?;
        self.data
            .check(self.pages_per_epoch, self.eval_pages, self.model.vocab_size)
    }

    /// The learning rate of a step, counted from 0 over the whole run.
    #[must_use]
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.optimizer.lr * self.schedule.factor(step)
    }

    /// The run as JSON text: the same text for the same run, always.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Structs of numbers and strings, written to memory.
        serde_json::to_string(self).expect("a run has no part that JSON cannot hold")
    }

    /// Reads and validates what [`RunConfig::to_json`] wrote.
    ///
    /// # Errors
    /// If the text is not a run's, or the run is refused.
    pub fn from_json(text: &str) -> Result<Self, RunError> {
        let config: Self = serde_json::from_str(text)?;
        config.validate()?;
        Ok(config)
    }

    /// A digest, as 64 hexadecimal digits, of everything that a resume may not
    /// change: all but how many epochs there are and where local data lies.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut lasting = self.clone();
        lasting.num_epochs = None;
        lasting.data.source = lasting.data.source.without_path();
        hex_digest("peregrine run identity", &lasting.to_json())
    }
}

/// BLAKE3 in hexadecimal, under a context, so that digests of different things
/// never agree.
pub(crate) fn hex_digest(context: &str, text: &str) -> String {
    let digest = blake3::derive_key(context, text.as_bytes());
    blake3::Hash::from_bytes(digest).to_hex().to_string()
}

fn check_run_id(run_id: &str) -> Result<(), RunError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let holds = (1..=MAX_RUN_ID).contains(&run_id.len())
        && run_id.chars().all(allowed)
        && run_id.starts_with(|c: char| c.is_ascii_alphanumeric());
    require(
        holds,
        "--run-id",
        format!("{run_id:?}"),
        "give 1 to 64 letters, digits, dots, hyphens or underscores, a letter or digit first",
    )
}

pub(crate) fn check_model(model: &Gpt2Config, init: &Init, dropout: f64) -> Result<(), RunError> {
    // Before the model, whose probabilities it sets.
    require(
        (0.0..1.0).contains(&dropout),
        "--dropout",
        dropout,
        "it is a probability; give a number of at least 0 and below 1",
    )?;
    model.validate()?;
    let of_model = [model.attn_pdrop, model.embd_pdrop, model.resid_pdrop];
    require(
        of_model == [dropout; 3],
        "--dropout",
        dropout,
        "the model's configuration says otherwise; build runs from flags, not by hand",
    )?;
    let Init::Weights { digest } = init else {
        return Ok(());
    };
    let hexadecimal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    require(
        digest.len() == 64 && digest.chars().all(hexadecimal),
        "--load_model_dir",
        format!("with digest {digest:?}"),
        "a digest is 64 lowercase hexadecimal digits; load the weights again",
    )
}

pub(crate) fn check_batch(
    model: &Gpt2Config,
    bs: u32,
    sl: u32,
    global_batch: u32,
) -> Result<(), RunError> {
    require(
        bs > 0,
        "--bs",
        bs,
        "a micro-batch has at least 1 sequence; give at least 1",
    )?;
    require(
        sl >= 2,
        "--sl",
        sl,
        "a loss needs a token and its successor; give at least 2",
    )?;
    require(
        sl as usize <= model.n_positions,
        "--sl",
        sl,
        &format!(
            "the model takes at most {0} tokens (n_positions); give at most {0}, or choose a model \
             with more by --preset or --model_config",
            model.n_positions
        ),
    )?;
    require(
        global_batch > 0,
        "--global-batch",
        global_batch,
        &format!("a step has at least one micro-batch; give a multiple of --bs {bs}"),
    )?;
    if global_batch.is_multiple_of(bs) {
        return Ok(());
    }
    let below = global_batch - global_batch % bs;
    let above = u64::from(below) + u64::from(bs);
    let nearest = if below == 0 {
        format!("give {above}")
    } else {
        format!("give {below} or {above}")
    };
    Err(RunError::flag(
        "--global-batch",
        global_batch,
        format!("micro-batches of --bs {bs} do not divide it; {nearest}, or change --bs"),
    ))
}

pub(crate) fn check_epochs(
    num_epochs: Option<u64>,
    pages_per_epoch: u64,
    eval_pages: u64,
) -> Result<(), RunError> {
    require(
        num_epochs != Some(0),
        "--num_epochs",
        0,
        "nothing would be trained; give at least 1, or -1 to go on for ever",
    )?;
    require(
        pages_per_epoch > 0,
        "--pages_per_epoch",
        pages_per_epoch,
        "an epoch has at least 1 page; give at least 1",
    )?;
    // The evaluation's pages are numbered in 32 bits.
    require(
        eval_pages <= u64::from(u32::MAX),
        "--eval_pages",
        eval_pages,
        "give fewer; validators use 3",
    )
}

pub(crate) fn check_optimization(
    optimizer: &AdamW,
    schedule: &Schedule,
    clip_grad_norm: Option<f64>,
) -> Result<(), RunError> {
    optimizer.check()?;
    schedule.check()?;
    let Some(norm) = clip_grad_norm else {
        return Ok(());
    };
    require(
        norm.is_finite() && norm > 0.0,
        "--clip-grad-norm",
        norm,
        "give a finite number above 0, such as 1, or 0 to turn clipping off",
    )
}
