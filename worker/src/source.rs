//! The run's rows and tokenizer on this machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use cli::{Failure, Refused, hub_token};
use pages::{CacheConfig, Preparer, PreparerConfig, Secret, ServerAccess, Tokenizer};
use run::{DataManifest, RunConfig};

/// Where one machine reads the run's rows from, when not from where the
/// coordinator does.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LocalData {
    /// Where this machine keeps the run's local dataset, if not at the path
    /// that the coordinator names.
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Dataset server to ask for rows, such as a mirror.
    #[arg(
        long,
        value_name = "URL",
        env = "PEREGRINE_DATASET_ENDPOINT",
        default_value = pages::DEFAULT_ENDPOINT,
        help_heading = "Data"
    )]
    pub dataset_endpoint: String,

    /// The tokenizer.json with which the run was planned; GPT-2's vocabulary is
    /// built in.
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub tokenizer: Option<PathBuf>,
}

impl LocalData {
    /// How the dataset server is asked.
    pub(crate) fn access(&self) -> ServerAccess {
        ServerAccess {
            endpoint: self.dataset_endpoint.clone(),
            token: hub_token().map(|token| Secret::new(token.expose())),
            ..ServerAccess::default()
        }
    }

    /// The run's data, with local files where this machine has them.
    pub(crate) fn here(&self, manifest: &DataManifest) -> DataManifest {
        let mut here = manifest.clone();
        if let (run::Source::Files { path, .. }, Some(local)) = (&mut here.source, &self.data) {
            *path = local.display().to_string();
        }
        here
    }

    /// The tokenizer of this machine's flags.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, Refused> {
        match &self.tokenizer {
            Some(file) => Tokenizer::from_file(file)
                .map_err(|error| Refused::new(format!("--tokenizer {}: {error}", file.display()))),
            None => Tokenizer::gpt2().map_err(Refused::because),
        }
    }
}

/// What prepares the run's pages here, keeping them in `cache`.
pub(crate) async fn preparer(
    local: &LocalData,
    cache: CacheConfig,
    run: &RunConfig,
) -> Result<Preparer, Failure> {
    let manifest = local.here(&run.data);
    let source = pages::open(&manifest, &local.access())
        .await
        .map_err(|error| Refused::new(format!("the run's data (--data): {error}")))?;
    let tokenizer = Arc::new(local.tokenizer()?);
    let config = PreparerConfig {
        concurrency: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        cache: Some(cache),
    };
    Ok(Preparer::new(source, tokenizer, &manifest, run.sl, config).map_err(Refused::because)?)
}
