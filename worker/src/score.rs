//! `worker score`: the loss that a validator would compute.
//!
//! A validator feeds each sequence alone, takes the mean cross-entropy over its
//! shifted predictions, and averages over sequences; so does this.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use cli::{Failure, Refused};
use layout::ModelDir;
use ledger::{Order, OrderConfig};
use model::Gpt2;
use pages::{DatasetViewer, LocalFiles, Source, ViewerConfig, pack};
use serde::Serialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::device::{self, DeviceChoice, PrecisionChoice};
use crate::source::LocalData;

/// Flags of `worker score`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("sequences").required(true).args(["ids", "pages"]))]
pub struct ScoreArgs {
    /// Model directory as transformers writes it.
    #[arg(long = "load_model_dir", value_name = "DIR")]
    pub load_model_dir: PathBuf,

    /// File with the sequences: a JSON array of arrays of token ids.
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,

    /// Score this many pages of the dataset, drawn by --seed: those on which a
    /// run with as many evaluation pages and this seed evaluates.
    #[arg(long, value_name = "N")]
    pub pages: Option<NonZeroU32>,

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
struct Score {
    /// Mean over sequences, in nats per predicted token.
    loss: f64,
    sequences: usize,
    /// Predicted tokens.
    tokens: u64,
    /// Pages drawn; absent with --ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<Vec<u64>>,
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
    let model_dir = ModelDir::open(&args.load_model_dir).map_err(named(&args.load_model_dir))?;
    model_dir
        .check(model_dir.config())
        .map_err(named(&args.load_model_dir))?;
    let positions = model_dir.config().n_positions;
    let (sequences, pages) = match (&args.ids, args.pages) {
        (Some(file), _) => (read_ids(file)?, None),
        (None, Some(count)) => {
            let default = u32::try_from(positions).unwrap_or(u32::MAX).min(1024);
            let sl = args.sl.unwrap_or(default);
            let drawn = shutdown.run_until_cancelled(draw(&args, count, sl)).await;
            let Some(drawn) = drawn else { return Ok(()) };
            let (sequences, pages) = drawn?;
            (sequences, Some(pages))
        }
        (None, None) => return Err(Refused::new("give --ids FILE or --pages N").into()),
    };
    if let Some(at) = sequences
        .iter()
        .position(|ids| ids.len() < 2 || ids.len() > positions)
    {
        return Err(Refused::new(format!(
            "sequence {at} has {} ids; this model takes 2 to {positions}",
            sequences[at].len()
        ))
        .into());
    }
    let precision = args.precision.on(device);
    let scored = tokio::task::spawn_blocking(move || {
        let model = Gpt2::load(&model_dir, 0.0, device)?;
        let mut sum = 0.0;
        for ids in &sequences {
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            let batch = model.batch(&[ids])?;
            let losses = precision.scope(device, || model.sequence_losses(&batch))?;
            sum += losses.iter().sum::<f64>();
        }
        Ok::<_, model::ModelError>(Some(Score {
            loss: sum / sequences.len() as f64,
            sequences: sequences.len(),
            tokens: sequences.iter().map(|ids| ids.len() as u64 - 1).sum(),
            pages,
        }))
    })
    .await
    .context("scoring")??;
    let Some(score) = scored else { return Ok(()) };
    if args.json {
        println!("{}", serde_json::to_string(&score)?);
    } else {
        println!(
            "loss {:.6} nats per token over {} sequences ({} tokens)",
            score.loss, score.sequences, score.tokens
        );
    }
    Ok(())
}

fn named(dir: &Path) -> impl Fn(layout::LayoutError) -> Refused {
    move |error| Refused::new(format!("--load_model_dir {}: {error}", dir.display()))
}

fn read_ids(file: &Path) -> Result<Vec<Vec<u32>>, Refused> {
    let refused = |problem: String| {
        Refused::new(format!(
            "--ids {}: {problem}; give a JSON array of arrays of token ids",
            file.display()
        ))
    };
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    let sequences: Vec<Vec<u32>> =
        serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    if sequences.is_empty() {
        return Err(refused("it has no sequence".into()));
    }
    Ok(sequences)
}

/// The sequences of pages drawn from the dataset, and the pages' numbers.
async fn draw(
    args: &ScoreArgs,
    count: NonZeroU32,
    sl: u32,
) -> Result<(Vec<Vec<u32>>, Vec<u64>), Failure> {
    let source = source(args)?;
    let tokenizer = args.local.tokenizer()?;
    let info = source.describe().await.map_err(Refused::because)?;
    let order = Order::new(OrderConfig {
        seed: args.seed,
        total_pages: info.pages(),
        evaluation_pages: count.get(),
        pages_per_epoch: 1,
    })
    .map_err(|error| Refused::new(format!("--pages {count}: {error}")))?;
    let mut sequences = Vec::new();
    for page in order.evaluation() {
        let rows = source.page(*page).await?;
        let packed = pack(*page, &rows, &tokenizer, sl, args.keep_long_documents)?;
        sequences.extend(
            (0..packed.sequences()).filter_map(|at| packed.sequence(at).map(<[u32]>::to_vec)),
        );
    }
    if sequences.is_empty() {
        return Err(Refused::new(format!(
            "the {count} pages drawn hold less than one sequence of {sl} tokens; lower --sl"
        ))
        .into());
    }
    let pages = order.evaluation().iter().map(|page| page.0).collect();
    Ok((sequences, pages))
}

fn source(args: &ScoreArgs) -> Result<Arc<dyn Source>, Refused> {
    match &args.local.data {
        Some(path) => {
            let files = LocalFiles::open(path, &args.column)
                .map_err(|error| Refused::new(format!("--data: {error}")))?;
            Ok(Arc::new(files))
        }
        None => {
            let dataset = ViewerConfig {
                dataset: args.dataset.clone(),
                config: args.dataset_config.clone(),
                split: args.dataset_split.clone(),
                column: args.column.clone(),
                pinned: None,
            };
            let viewer = DatasetViewer::new(dataset, args.local.access())
                .map_err(|error| Refused::new(format!("--dataset-endpoint: {error}")))?;
            Ok(Arc::new(viewer))
        }
    }
}
