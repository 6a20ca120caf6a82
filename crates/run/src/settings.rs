//! From flags to a run: which value each setting has, and whether all fit.

use layout::Gpt2Config;

use crate::args::{RunArgs, ScheduleKind};
use crate::config::{Init, RunConfig, check_batch, check_epochs, check_model, check_optimization};
use crate::data::{DataManifest, PACKING_VERSION, Source};
use crate::error::{RunError, require};
use crate::optimization::{AdamW, Schedule};
use crate::recipe::Recipe;

/// The model that is trained from scratch if nothing else is asked for.
const DEFAULT_PRESET: &str = "gpt2-122m";
const DEFAULT_SEED: u64 = 0;
const DEFAULT_PAGES_PER_EPOCH: u64 = 10;
/// As many as validators evaluate on.
const DEFAULT_EVAL_PAGES: u64 = 3;
const DEFAULT_BS: u32 = 1;
const DEFAULT_SL: u32 = 1024;
const DEFAULT_ACCUMULATION_STEPS: u32 = 5;
const DEFAULT_FINAL_FRACTION: f64 = 0.1;

/// A model whose weights a run starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedModel {
    /// Its configuration.
    pub model: Gpt2Config,
    /// Its directory hash, as 64 hexadecimal digits.
    pub digest: String,
}

/// The data set that a run shall be trained on, as its source describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Where the rows come from, pinned to a revision.
    pub source: Source,
    /// How many rows there are.
    pub rows: u64,
    /// The tokenizer's name and the SHA-256 of its vocabulary.
    pub tokenizer: String,
    /// How many token ids the tokenizer has.
    pub vocabulary: u32,
}

/// All of a run but its name and its data, checked as far as that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    seed: u64,
    recipe: Recipe,
    model: Gpt2Config,
    init: Init,
    bs: u32,
    sl: u32,
    global_batch: u32,
    num_epochs: Option<u64>,
    pages_per_epoch: u64,
    eval_pages: u64,
    keep_long_documents: bool,
    optimizer: AdamW,
    schedule: Schedule,
    clip_grad_norm: Option<f64>,
    dropout: f64,
}

impl RunArgs {
    /// The settings of a new run that starts with so many workers.
    ///
    /// # Errors
    /// The first flag that cannot be, with the remedy.
    pub fn settings(
        &self,
        workers: u32,
        loaded: Option<LoadedModel>,
    ) -> Result<Settings, RunError> {
        require(
            workers > 0,
            "--workers",
            workers,
            "somebody has to train; give at least 1",
        )?;
        let (model, init) = match self.start(loaded)? {
            Some(start) => start,
            None => (preset(DEFAULT_PRESET)?, Init::Scratch),
        };
        let recipe = self.recipe.unwrap_or_default();
        let defaults = recipe.defaults(model.n_embd, &init);
        let beta2 = self.beta2.unwrap_or(defaults.optimizer.beta2);
        let sl = usize::min(DEFAULT_SL as usize, model.n_positions) as u32;
        let base = Settings {
            seed: DEFAULT_SEED,
            recipe,
            model,
            init,
            bs: DEFAULT_BS,
            sl,
            global_batch: self.global_batch_for(workers)?,
            num_epochs: None,
            pages_per_epoch: DEFAULT_PAGES_PER_EPOCH,
            eval_pages: DEFAULT_EVAL_PAGES,
            keep_long_documents: false,
            optimizer: defaults.optimizer,
            schedule: Schedule::Constant {
                warmup_steps: recipe.warmup_steps(beta2),
            },
            clip_grad_norm: defaults.clip_grad_norm,
            dropout: defaults.dropout,
        };
        self.over(base)
    }

    /// The settings that the same flags ask for when a stored run is resumed:
    /// what is not given is as it was. Whether they contradict the stored run is
    /// for [`RunConfig::resumed_as`] to say.
    ///
    /// # Errors
    /// The first flag that cannot be, with the remedy.
    pub fn settings_over(
        &self,
        stored: &RunConfig,
        loaded: Option<LoadedModel>,
    ) -> Result<Settings, RunError> {
        let (model, init) = match self.start(loaded)? {
            Some(start) => start,
            None => (stored.model.clone(), stored.init.clone()),
        };
        let base = Settings {
            seed: stored.seed,
            recipe: self.recipe.unwrap_or(stored.recipe),
            model,
            init,
            bs: stored.bs,
            sl: stored.sl,
            global_batch: stored.global_batch,
            num_epochs: stored.num_epochs,
            pages_per_epoch: stored.pages_per_epoch,
            eval_pages: stored.eval_pages,
            keep_long_documents: stored.data.keep_long_documents,
            optimizer: stored.optimizer.clone(),
            schedule: stored.schedule.clone(),
            clip_grad_norm: stored.clip_grad_norm,
            dropout: stored.dropout,
        };
        self.over(base)
    }

    /// The model and its weights, if flags or loading say which.
    fn start(&self, loaded: Option<LoadedModel>) -> Result<Option<(Gpt2Config, Init)>, RunError> {
        match (loaded, &self.preset, &self.model_config) {
            (Some(LoadedModel { model, digest }), None, None) => {
                Ok(Some((model, Init::Weights { digest })))
            }
            (Some(_), Some(name), _) => Err(RunError::flag(
                "--preset",
                name,
                "the loaded weights say what the model is; leave the flag out, or load none",
            )),
            (Some(_), None, Some(file)) => Err(RunError::flag(
                "--model_config",
                file.display(),
                "the loaded weights say what the model is; leave the flag out, or load none",
            )),
            (None, Some(name), _) => Ok(Some((preset(name)?, Init::Scratch))),
            (None, None, Some(file)) => Ok(Some((Gpt2Config::read(file)?, Init::Scratch))),
            (None, None, None) => Ok(None),
        }
    }

    fn global_batch_for(&self, workers: u32) -> Result<u32, RunError> {
        if let Some(given) = self.global_batch {
            return Ok(given);
        }
        let bs = self.bs.unwrap_or(DEFAULT_BS);
        let accumulation_steps = self
            .accumulation_steps
            .unwrap_or(DEFAULT_ACCUMULATION_STEPS);
        require(
            accumulation_steps > 0,
            "--accumulation_steps",
            accumulation_steps,
            "each worker trains on at least one micro-batch a step; give at least 1",
        )?;
        let product = bs.checked_mul(accumulation_steps);
        product
            .and_then(|share| share.checked_mul(workers))
            .ok_or_else(|| {
                RunError::flag(
                    "--accumulation_steps",
                    accumulation_steps,
                    format!(
                        "with --bs {bs} and {workers} workers a step has more sequences than fit \
                         into 32 bits; give fewer"
                    ),
                )
            })
    }

    /// The given flags over the values that hold without them, all checked.
    fn over(&self, base: Settings) -> Result<Settings, RunError> {
        let dropout = self.dropout.unwrap_or(base.dropout);
        let num_epochs = match self.num_epochs {
            None => base.num_epochs,
            Some(-1) => None,
            Some(given) => Some(u64::try_from(given).map_err(|_| {
                let reason = "give at least 1, or -1 to go on for ever";
                RunError::flag("--num_epochs", given, reason)
            })?),
        };
        let settings = Settings {
            seed: self.seed.unwrap_or(base.seed),
            recipe: base.recipe,
            model: Gpt2Config {
                attn_pdrop: dropout,
                embd_pdrop: dropout,
                resid_pdrop: dropout,
                ..base.model
            },
            init: base.init,
            bs: self.bs.unwrap_or(base.bs),
            sl: self.sl.unwrap_or(base.sl),
            global_batch: self.global_batch.unwrap_or(base.global_batch),
            num_epochs,
            pages_per_epoch: self.pages_per_epoch.unwrap_or(base.pages_per_epoch),
            eval_pages: self.eval_pages.unwrap_or(base.eval_pages),
            keep_long_documents: self.keep_long_documents || base.keep_long_documents,
            optimizer: AdamW {
                lr: self.lr.unwrap_or(base.optimizer.lr),
                beta1: self.beta1.unwrap_or(base.optimizer.beta1),
                beta2: self.beta2.unwrap_or(base.optimizer.beta2),
                eps: self.eps.unwrap_or(base.optimizer.eps),
                weight_decay: self.weight_decay.unwrap_or(base.optimizer.weight_decay),
                decay: self.decay.unwrap_or(base.optimizer.decay),
            },
            schedule: self.schedule_over(&base.schedule, num_epochs)?,
            clip_grad_norm: match self.clip_grad_norm {
                None => base.clip_grad_norm,
                Some(0.0) => None,
                given => given,
            },
            dropout,
        };
        settings.check()?;
        Ok(settings)
    }

    fn schedule_over(
        &self,
        base: &Schedule,
        num_epochs: Option<u64>,
    ) -> Result<Schedule, RunError> {
        let warmup_steps = self.warmup_steps.unwrap_or(base.warmup_steps());
        let (base_kind, base_total, base_fraction) = match *base {
            Schedule::Constant { .. } => (ScheduleKind::Constant, None, DEFAULT_FINAL_FRACTION),
            Schedule::Cosine {
                total_steps,
                final_fraction,
                ..
            } => (ScheduleKind::Cosine, Some(total_steps), final_fraction),
        };
        match self.schedule.unwrap_or(base_kind) {
            ScheduleKind::Cosine => {
                let why = match num_epochs {
                    None => "the run never ends (--num_epochs -1)",
                    // Pages hold as many sequences as their text gives.
                    Some(_) => "how many steps epochs have is not known beforehand",
                };
                let total_steps = self.total_steps.or(base_total).ok_or_else(|| {
                    let reason =
                        format!("{why}, so say where the cosine ends: add --total-steps N");
                    RunError::flag("--schedule", "cosine", reason)
                })?;
                Ok(Schedule::Cosine {
                    warmup_steps,
                    total_steps,
                    final_fraction: self.final_lr_fraction.unwrap_or(base_fraction),
                })
            }
            ScheduleKind::Constant => {
                let reason =
                    "a constant schedule has no end; add --schedule cosine, or leave it out";
                if let Some(given) = self.total_steps {
                    return Err(RunError::flag("--total-steps", given, reason));
                }
                if let Some(given) = self.final_lr_fraction {
                    return Err(RunError::flag("--final-lr-fraction", given, reason));
                }
                Ok(Schedule::Constant { warmup_steps })
            }
        }
    }
}

fn preset(name: &str) -> Result<Gpt2Config, RunError> {
    layout::preset(name).ok_or_else(|| {
        let names: Vec<&str> = layout::PRESETS.iter().map(|preset| preset.name).collect();
        let reason = format!("there is no such model; give one of {}", names.join(", "));
        RunError::flag("--preset", name, reason)
    })
}

impl Settings {
    /// The run of this name on this data set.
    ///
    /// # Errors
    /// If the data set is too small, or the model too small for its vocabulary,
    /// or the name cannot be one.
    pub fn with_data(self, run_id: &str, dataset: Dataset) -> Result<RunConfig, RunError> {
        let config = RunConfig {
            run_id: run_id.to_owned(),
            seed: self.seed,
            recipe: self.recipe,
            model: self.model,
            init: self.init,
            bs: self.bs,
            sl: self.sl,
            global_batch: self.global_batch,
            num_epochs: self.num_epochs,
            pages_per_epoch: self.pages_per_epoch,
            eval_pages: self.eval_pages,
            data: DataManifest {
                source: dataset.source,
                rows: dataset.rows,
                tokenizer: dataset.tokenizer,
                vocabulary: dataset.vocabulary,
                keep_long_documents: self.keep_long_documents,
                packing: PACKING_VERSION,
            },
            optimizer: self.optimizer,
            schedule: self.schedule,
            clip_grad_norm: self.clip_grad_norm,
            dropout: self.dropout,
        };
        config.validate()?;
        Ok(config)
    }

    /// The model that will be trained.
    #[must_use]
    pub fn model(&self) -> &Gpt2Config {
        &self.model
    }

    fn check(&self) -> Result<(), RunError> {
        check_model(&self.model, &self.init, self.dropout)?;
        check_batch(&self.model, self.bs, self.sl, self.global_batch)?;
        check_epochs(self.num_epochs, self.pages_per_epoch, self.eval_pages)?;
        check_optimization(&self.optimizer, &self.schedule, self.clip_grad_norm)
    }
}
