//! `worker score`: the loss that a validator would compute.
//!
//! A validator feeds each sequence alone, takes the mean cross-entropy over its
//! shifted predictions, and averages over sequences; so does this. Several
//! models are scored on the very same sequences, so that their losses can be
//! compared sequence by sequence.

mod sequences;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use cli::{Failure, Refused};
use layout::ModelDir;
use model::{Gpt2, ModelError, Precision};
use serde::Serialize;
use tch::Device;
use tokio_util::sync::CancellationToken;

use crate::device::{self, DeviceChoice, PrecisionChoice};
use crate::source::LocalData;
use sequences::Sequences;

/// What draws pages and says what they are; a run's configuration says all of it.
const OF_THE_DATASET: [&str; 7] = [
    "seed",
    "sl",
    "keep_long_documents",
    "dataset",
    "dataset_config",
    "dataset_split",
    "column",
];

/// Flags of `worker score`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("sequences").required(true).args(["ids", "pages"]))]
pub struct ScoreArgs {
    /// Model directory as transformers writes it. Given several times, all are
    /// scored, one after another, on the same sequences.
    #[arg(long = "load_model_dir", value_name = "DIR", required = true)]
    pub load_model_dir: Vec<PathBuf>,

    /// File with the sequences: a JSON array of arrays of token ids.
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,

    /// Score this many pages of the dataset, drawn by --seed: those on which a
    /// run with as many evaluation pages and this seed evaluates.
    #[arg(long, value_name = "N")]
    pub pages: Option<NonZeroU32>,

    /// File with a run's configuration, as JSON: its dataset at its revision,
    /// seed, sequence length and tokenizer, instead of the flags for them. So
    /// many --pages as the run has evaluation pages are just those pages, and
    /// fewer are some of them.
    #[arg(long, value_name = "FILE", requires = "pages", conflicts_with_all = OF_THE_DATASET)]
    pub run: Option<PathBuf>,

    /// Draws the pages.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

    /// Tokens per sequence; by default 1024, or as many as the model takes.
    #[arg(long, value_name = "N")]
    pub sl: Option<u32>,

    /// Keep documents whole instead of cutting them to 1024 tokens.
    #[arg(long)]
    pub keep_long_documents: bool,

    /// Dataset to draw pages from, when not --data.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "tiiuae/falcon-refinedweb",
        help_heading = "Data"
    )]
    pub dataset: String,

    /// Configuration of the dataset.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        help_heading = "Data"
    )]
    pub dataset_config: String,

    /// Split of the dataset.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "train",
        help_heading = "Data"
    )]
    pub dataset_split: String,

    /// Column or field that holds the text.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "content",
        help_heading = "Data"
    )]
    pub column: String,

    /// Where rows and tokenizer come from.
    #[command(flatten)]
    pub local: LocalData,

    /// Device to score on: cpu, cuda:N or auto.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Arithmetic: fp32, bf16 or auto (bf16 on GPUs, fp32 on CPUs).
    #[arg(long, value_name = "PRECISION", default_value = "fp32")]
    pub precision: PrecisionChoice,

    /// Print one JSON object instead of a sentence.
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Scores {
    /// The first model's mean over sequences, in nats per predicted token.
    loss: f64,
    sequences: usize,
    /// Predicted tokens.
    tokens: u64,
    /// Pages drawn; absent with --ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<Vec<u64>>,
    /// How many sequences each of them holds, in the same order; sequences are
    /// in the order of pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_sequences: Option<Vec<usize>>,
    /// In the order of the flags.
    models: Vec<ModelScore>,
}

/// One model's part of it.
#[derive(Debug, Serialize)]
struct ModelScore {
    load_model_dir: PathBuf,
    /// Mean over sequences, in nats per predicted token.
    loss: f64,
    /// Each sequence's, in their order. A loss that is not finite is null.
    sequence_losses: Vec<f64>,
}

/// Scores and prints.
///
/// # Errors
/// A model, file or dataset that cannot be used is refused by name.
pub async fn run(args: ScoreArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    let device = match args.device.resolve(device::usable_gpus()) {
        Ok(devices) => devices[0],
        Err(error) => return Err(Refused::because(error).into()),
    };
    let model_dirs = open_models(&args.load_model_dir)?;
    let positions = model_dirs.iter().map(|dir| dir.config().n_positions);
    let positions = positions.min().unwrap_or_default();
    let sequences = shutdown
        .run_until_cancelled(Sequences::of(&args, positions))
        .await;
    let Some(sequences) = sequences else {
        return Ok(());
    };
    let sequences = sequences?;
    let precision = args.precision.on(device);
    let directories = args.load_model_dir;
    let scored = tokio::task::spawn_blocking(move || {
        let mut models = Vec::new();
        for (load_model_dir, opened) in directories.into_iter().zip(model_dirs) {
            let losses = losses(&opened, &sequences.ids, device, precision, &shutdown)?;
            let Some(sequence_losses) = losses else {
                return Ok(None);
            };
            models.push(ModelScore {
                load_model_dir,
                loss: sequence_losses.iter().sum::<f64>() / sequence_losses.len() as f64,
                sequence_losses,
            });
        }
        Ok::<_, ModelError>(Some((models, sequences)))
    });
    let Some((models, sequences)) = scored.await.context("scoring")?? else {
        return Ok(());
    };
    print(models, sequences, args.json)
}

fn open_models(directories: &[PathBuf]) -> Result<Vec<ModelDir>, Refused> {
    let open = |directory: &PathBuf| {
        let model_dir = ModelDir::open(directory).map_err(named(directory))?;
        model_dir
            .check(model_dir.config())
            .map_err(named(directory))?;
        Ok(model_dir)
    };
    directories.iter().map(open).collect()
}

fn named(dir: &Path) -> impl Fn(layout::LayoutError) -> Refused {
    move |error| Refused::new(format!("--load_model_dir {}: {error}", dir.display()))
}

/// The loss of each sequence alone; `None` when asked to stop.
fn losses(
    model_dir: &ModelDir,
    sequences: &[Vec<u32>],
    device: Device,
    precision: Precision,
    shutdown: &CancellationToken,
) -> Result<Option<Vec<f64>>, ModelError> {
    let model = Gpt2::load(model_dir, 0.0, device)?;
    let mut losses = Vec::with_capacity(sequences.len());
    for ids in sequences {
        if shutdown.is_cancelled() {
            return Ok(None);
        }
        let batch = model.batch(&[ids])?;
        losses.extend(precision.scope(device, || model.sequence_losses(&batch))?);
    }
    Ok(Some(losses))
}

fn print(models: Vec<ModelScore>, sequences: Sequences, json: bool) -> Result<(), Failure> {
    let tokens: u64 = sequences.ids.iter().map(|ids| ids.len() as u64 - 1).sum();
    if !json {
        cli::print(|out| {
            models.iter().try_for_each(|model| {
                writeln!(
                    out,
                    "loss {:.6} nats per token over {} sequences ({tokens} tokens): {}",
                    model.loss,
                    sequences.ids.len(),
                    model.load_model_dir.display()
                )
            })
        })?;
        return Ok(());
    }
    let (pages, page_sequences) = match sequences.pages {
        Some(drawn) => {
            let (pages, counts) = drawn.into_iter().unzip();
            (Some(pages), Some(counts))
        }
        None => (None, None),
    };
    let scores = Scores {
        loss: models.first().map_or(f64::NAN, |model| model.loss),
        sequences: sequences.ids.len(),
        tokens,
        pages,
        page_sequences,
        models,
    };
    let scores = serde_json::to_string(&scores)?;
    cli::print(|out| writeln!(out, "{scores}"))?;
    Ok(())
}
