//! What is scored: sequences from a file, from a dataset, or those of a run.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;

use cli::{Failure, Refused};
use ledger::{Order, OrderConfig, PackedPage};
use pages::{
    DatasetViewer, ErrorClass, LocalFiles, Preparer, PreparerConfig, Source, ViewerConfig, open,
    pack,
};
use run::RunConfig;

use super::ScoreArgs;

/// Sequences to score, each of at least two ids.
pub(super) struct Sequences {
    pub(super) ids: Vec<Vec<u32>>,
    /// The pages they were drawn from and how many each holds, in the order of
    /// the sequences; none when they come from a file.
    pub(super) pages: Option<Vec<(u64, usize)>>,
}

impl Sequences {
    /// What the flags ask for, for models that take `positions` tokens.
    pub(super) async fn of(args: &ScoreArgs, positions: usize) -> Result<Sequences, Failure> {
        let sequences = match (&args.ids, args.pages) {
            (Some(file), _) => Sequences {
                ids: read_ids(file)?,
                pages: None,
            },
            (None, Some(count)) => match &args.run {
                Some(file) => draw_from_run(args, file, count).await?,
                None => draw_from_dataset(args, count, positions).await?,
            },
            (None, None) => return Err(Refused::new("give --ids FILE or --pages N").into()),
        };
        let unfit = |ids: &Vec<u32>| ids.len() < 2 || ids.len() > positions;
        match sequences.ids.iter().position(unfit) {
            None => Ok(sequences),
            Some(at) => Err(Refused::new(format!(
                "sequence {at} has {} ids; {} 2 to {positions}",
                sequences.ids[at].len(),
                match args.load_model_dir.len() {
                    1 => "this model takes",
                    _ => "these models take",
                }
            ))
            .into()),
        }
    }

    fn of_pages(packed: &[PackedPage], sl: u32) -> Result<Sequences, Refused> {
        let mut sequences = Vec::new();
        let mut pages = Vec::new();
        for page in packed {
            let ids = (0..page.sequences()).filter_map(|at| page.sequence(at));
            let before = sequences.len();
            sequences.extend(ids.map(<[u32]>::to_vec));
            pages.push((page.page().0, sequences.len() - before));
        }
        if sequences.is_empty() {
            return Err(Refused::new(format!(
                "the {} pages drawn hold less than one sequence of {sl} tokens; lower --sl",
                pages.len()
            )));
        }
        Ok(Sequences {
            ids: sequences,
            pages: Some(pages),
        })
    }
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

/// The first of the pages that a run keeps for its evaluation, prepared just as
/// its workers prepare them.
async fn draw_from_run(
    args: &ScoreArgs,
    file: &Path,
    count: NonZeroU32,
) -> Result<Sequences, Failure> {
    let refused = |problem: String| Refused::new(format!("--run {}: {problem}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    let run = RunConfig::from_json(&text).map_err(|error| refused(error.to_string()))?;
    let manifest = args.local.here(&run.data);
    let order = order(run.seed, manifest.pages(), count)?;
    let source = open(&manifest, &args.local.access())
        .await
        .map_err(|error| Refused::new(format!("the run's data (--data): {error}")))?;
    let tokenizer = Arc::new(args.local.tokenizer()?);
    let config = PreparerConfig {
        concurrency: NonZeroUsize::MIN,
        cache: None,
    };
    let preparer =
        Preparer::new(source, tokenizer, &manifest, run.sl, config).map_err(Refused::because)?;
    let mut packed = Vec::new();
    for page in order.evaluation() {
        match preparer.prepare(*page).await {
            Ok(page) => packed.push(page),
            // The run's page table skips it as well.
            Err(error) => match error.class() {
                ErrorClass::Skip { reason } => tracing::warn!("page {} skipped: {reason}", page.0),
                _ => return Err(error.into()),
            },
        }
    }
    Ok(Sequences::of_pages(&packed, run.sl)?)
}

async fn draw_from_dataset(
    args: &ScoreArgs,
    count: NonZeroU32,
    positions: usize,
) -> Result<Sequences, Failure> {
    let by_default = u32::try_from(positions).unwrap_or(u32::MAX).min(1024);
    let sl = args.sl.unwrap_or(by_default);
    let source = source(args)?;
    let tokenizer = args.local.tokenizer()?;
    let info = source.describe().await.map_err(Refused::because)?;
    let order = order(args.seed, info.pages(), count)?;
    let mut packed = Vec::new();
    for page in order.evaluation() {
        let rows = source.page(*page).await?;
        let page = pack(*page, &rows, &tokenizer, sl, args.keep_long_documents)?;
        packed.push(page);
    }
    Ok(Sequences::of_pages(&packed, sl)?)
}

/// An order whose evaluation is the pages to score.
fn order(seed: u64, total_pages: u64, count: NonZeroU32) -> Result<Order, Refused> {
    Order::new(OrderConfig {
        seed,
        total_pages,
        evaluation_pages: count.get(),
        pages_per_epoch: 1,
    })
    .map_err(|error| Refused::new(format!("--pages {count}: {error}")))
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
