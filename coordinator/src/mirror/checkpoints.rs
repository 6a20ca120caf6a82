//! Copying checkpoints.

use client::{Connection, Download, RetryPolicy};
use proto::v1;

use super::{Holdings, MirrorError, blocking};
use crate::checkpoints::CheckpointFolder;
use crate::records::{Checkpoint, FileKind};
use crate::store::RunStore;
use crate::wire;

/// Fetches every checkpoint that the records have and that is not here, the
/// newest first, and removes those that no record has. Returns how many came.
pub(super) async fn copy(
    store: &RunStore,
    holdings: &Holdings,
    connection: &Connection,
) -> Result<usize, MirrorError> {
    let (run, kept) = {
        let store = store.clone();
        blocking(move || Ok::<_, MirrorError>((store.run()?, store.checkpoints()?))).await?
    };
    let Some(run) = run else {
        return Ok(0);
    };
    let folder = CheckpointFolder::at(holdings.checkpoints(), &run.config.model);
    let mut missing = {
        let folder = folder.clone();
        blocking(move || {
            folder.remove_all_but(&kept)?;
            let missing = kept.into_iter().filter(|one| folder.present(one).is_err());
            Ok::<Vec<Checkpoint>, MirrorError>(missing.collect())
        })
        .await?
    };
    missing.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.cursor.step));
    let mut fetched = 0;
    for checkpoint in missing {
        match fetch(&folder, &run.config.run_id, &checkpoint, connection).await {
            Ok(()) => {
                tracing::info!("checkpoint {} is here as well", checkpoint.id);
                fetched += 1;
            }
            // Removed meanwhile, or not there either.
            Err(MirrorError::Client(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(fetched)
}

/// Fetches one checkpoint. What has come stays for the next attempt until all
/// of it is here.
pub(super) async fn fetch(
    folder: &CheckpointFolder,
    run_id: &str,
    checkpoint: &Checkpoint,
    connection: &Connection,
) -> Result<(), MirrorError> {
    let partial = folder.partial(&checkpoint.id);
    let manifest = wire::manifest(run_id, checkpoint);
    for kind in [FileKind::Model, FileKind::State] {
        let into = partial.join(kind.folder());
        if !checkpoint.files.iter().any(|file| file.kind == kind) {
            let made = into.clone();
            blocking(move || {
                std::fs::create_dir_all(&made).map_err(|source| {
                    MirrorError::Client(client::Error::File { path: made, source })
                })
            })
            .await?;
            continue;
        }
        Download::new(connection, &manifest)
            .of_any_coordinator()
            .only(match kind {
                FileKind::Model => v1::FileKind::Model,
                FileKind::State => v1::FileKind::State,
            })
            .policy(RetryPolicy::BRIEF)
            .into_dir(&into)
            .await?;
    }
    let (folder, checkpoint) = (folder.clone(), checkpoint.clone());
    blocking(move || folder.adopt(&partial, &checkpoint)).await
}
