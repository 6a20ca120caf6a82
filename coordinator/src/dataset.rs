//! What the flags say to train on, described by its source.

use std::path::Path;

use cli::Refused;
use pages::{
    DatasetViewer, LocalFiles, Secret, ServerAccess, Source, SourceInfo, Tokenizer, ViewerConfig,
};
use run::{DataManifest, Dataset};

use crate::args::DataArgs;

const DEFAULT_DATASET: &str = "tiiuae/falcon-refinedweb";
const DEFAULT_CONFIG: &str = "default";
const DEFAULT_SPLIT: &str = "train";
const DEFAULT_COLUMN: &str = "content";

/// Describes the dataset of a new run, or of a resumed one whose flags name
/// one: asks the dataset server, or reads local files once.
///
/// # Errors
/// Refused if the rows cannot be had, naming the flag.
pub(crate) async fn describe(
    args: &DataArgs,
    stored: Option<&DataManifest>,
) -> Result<Dataset, Refused> {
    let (tokenizer, vocabulary) = tokenizer(args, stored).await?;
    let (source, rows) = match stored {
        // The rows are pinned; whether they are still there is seen when a
        // worker reads them.
        Some(stored) if !args.names_rows() => (stored.source.clone(), stored.rows),
        _ => rows(args).await?,
    };
    Ok(Dataset {
        source,
        rows,
        tokenizer,
        vocabulary,
    })
}

async fn rows(args: &DataArgs) -> Result<(run::Source, u64), Refused> {
    let column = args.column.as_deref().unwrap_or(DEFAULT_COLUMN);
    match &args.data {
        Some(path) => local_rows(path, column).await,
        None => hub_rows(args, column).await,
    }
}

async fn local_rows(path: &Path, column: &str) -> Result<(run::Source, u64), Refused> {
    let refuse = |problem: &dyn std::fmt::Display| {
        Refused::new(format!("--data {}: {problem}", path.display()))
    };
    // Workers on this machine may run in another folder.
    let absolute = std::path::absolute(path).map_err(|error| refuse(&error))?;
    let opened = {
        let (absolute, column) = (absolute.clone(), column.to_owned());
        tokio::task::spawn_blocking(move || LocalFiles::open(&absolute, &column)).await
    };
    let files = opened
        .map_err(|error| refuse(&error))?
        .map_err(|error| refuse(&error))?;
    let SourceInfo { rows, revision } = files.info().clone();
    let source = run::Source::Files {
        path: absolute.to_string_lossy().into_owned(),
        column: column.to_owned(),
        revision,
    };
    Ok((source, rows))
}

async fn hub_rows(args: &DataArgs, column: &str) -> Result<(run::Source, u64), Refused> {
    let dataset = args.dataset.as_deref().unwrap_or(DEFAULT_DATASET);
    let config = args.dataset_config.as_deref().unwrap_or(DEFAULT_CONFIG);
    let split = args.dataset_split.as_deref().unwrap_or(DEFAULT_SPLIT);
    let refuse =
        |problem: &dyn std::fmt::Display| Refused::new(format!("--dataset {dataset}: {problem}"));
    let viewer = ViewerConfig {
        dataset: dataset.to_owned(),
        config: config.to_owned(),
        split: split.to_owned(),
        column: column.to_owned(),
        pinned: None,
    };
    let access = ServerAccess {
        endpoint: args.dataset_endpoint.clone(),
        token: token(),
        ..ServerAccess::default()
    };
    let viewer = DatasetViewer::new(viewer, access).map_err(|error| refuse(&error))?;
    let SourceInfo { rows, revision } = viewer.describe().await.map_err(|error| refuse(&error))?;
    let source = run::Source::Falcon {
        dataset: dataset.to_owned(),
        config: config.to_owned(),
        split: split.to_owned(),
        column: column.to_owned(),
        revision,
    };
    Ok((source, rows))
}

/// A token that may read gated datasets, from the environment or `.env`.
fn token() -> Option<Secret> {
    let token = std::env::var("HF_ACCESS_TOKEN").or_else(|_| std::env::var("HF_TOKEN"));
    let token = token.ok().filter(|token| !token.trim().is_empty())?;
    Some(Secret::new(&token))
}

/// The tokenizer's identity and how many ids it has.
async fn tokenizer(
    args: &DataArgs,
    stored: Option<&DataManifest>,
) -> Result<(String, u32), Refused> {
    if let (None, Some(stored)) = (&args.tokenizer, stored) {
        return Ok((stored.tokenizer.clone(), stored.vocabulary));
    }
    let file = args.tokenizer.clone();
    let opened = tokio::task::spawn_blocking(move || match file {
        Some(file) => Tokenizer::from_file(&file)
            .map_err(|error| Refused::new(format!("--tokenizer {}: {error}", file.display()))),
        None => Tokenizer::gpt2().map_err(Refused::because),
    });
    let tokenizer = opened.await.map_err(Refused::because)??;
    Ok((tokenizer.identity().to_owned(), tokenizer.vocabulary_size()))
}
