//! A leader fetches what it lacks and a standby has.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::PageDigest;
use tokio::time::{sleep, timeout};

use super::pages::{self, PageCopies};
use super::standby::describe;
use super::{Holdings, MirrorError, blocking, checkpoints, connect};
use crate::checkpoints::CheckpointFolder;
use crate::driver::Handle;
use crate::machine::Event;
use crate::records::{Checkpoint, CheckpointId};
use crate::services::Standbys;
use crate::store::RunStore;

/// The time between two rounds through the standbys, at first and at most.
const ROUND_WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long standbys may take over one page that a worker waits for.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Other coordinators, which may have what is missing here.
#[derive(Clone, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) standbys: Standbys,
    pub(crate) holdings: Holdings,
    /// Checkpoints that the records have and this disk has not yet.
    awaited: Arc<Mutex<BTreeSet<CheckpointId>>>,
}

impl Elsewhere {
    pub(crate) fn new(standbys: Standbys, holdings: Holdings) -> Elsewhere {
        Elsewhere {
            standbys,
            holdings,
            awaited: Arc::default(),
        }
    }

    /// Sets which checkpoints another coordinator has to hand over.
    pub(crate) fn await_all(&self, checkpoints: &[Checkpoint]) {
        *self.awaited() = checkpoints.iter().map(|one| one.id.clone()).collect();
    }

    /// Whether a checkpoint is still to be handed over.
    pub(crate) fn is_awaited(&self, id: &CheckpointId) -> bool {
        self.awaited().contains(id)
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeSet<CheckpointId>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches one page from whoever has it; whether it is here now.
    pub(crate) async fn fetch_page(&self, digest: PageDigest) -> bool {
        for address in self.standbys.present() {
            let fetching = async {
                let connection = connect(&address)?;
                pages::fetch(&connection, self.holdings.packed(), digest).await
            };
            match timeout(PAGE_TIMEOUT, fetching).await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => tracing::debug!("packed page {digest} of {address}: {error}"),
                Err(_) => tracing::debug!("{address} does not hand over packed page {digest}"),
            }
        }
        false
    }
}

/// What a leader lacks.
pub(crate) struct Lacking {
    pub(crate) store: RunStore,
    pub(crate) folder: CheckpointFolder,
    pub(crate) run_id: String,
    /// Checkpoints that the records have and the disk has not.
    pub(crate) checkpoints: Vec<Checkpoint>,
}

/// Fetches from standbys what this leader lacks, until it lacks nothing.
pub(crate) async fn recover(mut lacking: Lacking, elsewhere: Elsewhere, handle: Handle) {
    let mut all_pages = false;
    let [mut wait, longest] = ROUND_WAITS;
    while !(all_pages && lacking.checkpoints.is_empty()) {
        for address in elsewhere.standbys.present() {
            match recover_from(&address, &mut lacking, &elsewhere, &handle).await {
                Ok(has_all) => all_pages |= has_all,
                Err(error) => tracing::debug!("fetching what is missing from {address}: {error}"),
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}

/// Whether every page of the table is here now.
async fn recover_from(
    address: &str,
    lacking: &mut Lacking,
    elsewhere: &Elsewhere,
    handle: &Handle,
) -> Result<bool, MirrorError> {
    let connection = connect(address)?;
    let other = describe(&connection, "").await?;
    if other.state_dir == elsewhere.holdings.id() {
        // What is not here is not there, and never will be.
        return Ok(true);
    }
    let packed = elsewhere.holdings.packed();
    let pass = PageCopies::default()
        .copy(&lacking.store, packed, &connection)
        .await?;
    if pass.fetched > 0 {
        tracing::info!("fetched {} packed pages from {address}", pass.fetched);
    }
    for checkpoint in std::mem::take(&mut lacking.checkpoints) {
        let fetching =
            checkpoints::fetch(&lacking.folder, &lacking.run_id, &checkpoint, &connection);
        match fetching.await {
            Ok(()) => {
                tracing::info!("fetched checkpoint {} from {address}", checkpoint.id);
                elsewhere.awaited().remove(&checkpoint.id);
                announce(lacking, checkpoint, handle).await?;
            }
            Err(error) => {
                tracing::debug!("checkpoint {} of {address}: {error}", checkpoint.id);
                lacking.checkpoints.push(checkpoint);
            }
        }
    }
    Ok(pass.lacking == 0)
}

/// Hands a checkpoint to the machine, as if it had been stored just now.
async fn announce(
    lacking: &Lacking,
    checkpoint: Checkpoint,
    handle: &Handle,
) -> Result<(), MirrorError> {
    if checkpoint.is_initial() {
        // The machine knows it already.
        return Ok(());
    }
    let id = checkpoint.id.clone();
    let event = |request| Event::CheckpointStored {
        request,
        checkpoint,
    };
    if let Ok(Err(refusal)) = handle.call(event).await {
        tracing::info!("checkpoint {id} is not needed: {}", refusal.message);
        let (store, folder) = (lacking.store.clone(), lacking.folder.clone());
        blocking(move || {
            store.forget_checkpoint(&id)?;
            folder.discard(&id);
            Ok::<(), MirrorError>(())
        })
        .await?;
    }
    Ok(())
}
