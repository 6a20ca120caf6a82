//! From a run's manifest to the source it names.

use std::path::Path;
use std::sync::Arc;

use run::DataManifest;

use crate::files::LocalFiles;
use crate::source::{Source, SourceError, SourceInfo, check_pinned};
use crate::viewer::{DatasetViewer, ServerAccess, ViewerConfig};

/// Opens the source that a run was planned on, pinned to the manifest's revision and row count.
///
/// Local files are read once, to see that they are the same; a dataset on the server is compared
/// with every answer, and nothing is sent yet.
///
/// # Errors
/// [`SourceError::RevisionChanged`] or [`SourceError::RowsChanged`] if local files are not those
/// of the manifest, and whatever [`LocalFiles::open`] and [`DatasetViewer::new`] refuse.
pub async fn open(
    manifest: &DataManifest,
    access: &ServerAccess,
) -> Result<Arc<dyn Source>, SourceError> {
    let pinned = SourceInfo {
        rows: manifest.rows,
        revision: manifest.source.revision().to_owned(),
    };
    match &manifest.source {
        run::Source::Falcon {
            dataset,
            config,
            split,
            column,
            ..
        } => {
            let config = ViewerConfig {
                dataset: dataset.clone(),
                config: config.clone(),
                split: split.clone(),
                column: column.clone(),
                pinned: Some(pinned),
            };
            Ok(Arc::new(DatasetViewer::new(config, access.clone())?))
        }
        run::Source::Files { path, column, .. } => {
            let files = open_files(path, column).await?;
            check_pinned(path, &pinned, files.info())?;
            Ok(Arc::new(files))
        }
    }
}

async fn open_files(path: &str, column: &str) -> Result<LocalFiles, SourceError> {
    let (owned_path, column) = (path.to_owned(), column.to_owned());
    let indexing =
        tokio::task::spawn_blocking(move || LocalFiles::open(Path::new(&owned_path), &column));
    indexing.await.unwrap_or_else(|error| {
        Err(SourceError::File {
            path: path.into(),
            problem: format!("the reader stopped: {error}"),
        })
    })
}
