//! Packs the pages that the coordinator assigns, and hands them over.

use std::sync::Arc;

use ledger::{PageId, Slot};
use pages::{ErrorClass, PrepareError, Preparer};
use proto::v1;
use proto::v1::worker_message::Body;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::page_store::PageStore;

/// Pages in work at once: enough to hide a request's latency behind another's
/// tokenization.
const PAGES_AT_ONCE: usize = 4;

/// What preparing pages takes.
#[derive(Clone)]
pub(crate) struct Preparation {
    pub(crate) preparer: Arc<Preparer>,
    pub(crate) store: PageStore,
    pub(crate) control: Arc<Control>,
}

impl Preparation {
    /// Works on assignments, oldest first, until cancelled.
    pub(crate) async fn run(
        self,
        mut assignments: mpsc::UnboundedReceiver<Vec<(Slot, PageId)>>,
        cancelled: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        let tasks = TaskTracker::new();
        let work = async {
            while let Some(batch) = assignments.recv().await {
                for (slot, page) in batch {
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                        return;
                    };
                    let preparation = self.clone();
                    let cancelled = cancelled.clone();
                    tasks.spawn(async move {
                        cancelled
                            .run_until_cancelled(preparation.prepare(slot, page))
                            .await;
                        drop(place);
                    });
                }
            }
        };
        cancelled.run_until_cancelled(work).await;
        tasks.close();
        tasks.wait().await;
    }

    async fn prepare(&self, slot: Slot, page: PageId) {
        match self.preparer.prepare(page).await {
            Ok(packed) => {
                let encoded = packed.encode();
                self.store.keep(Arc::new(packed)).await;
                self.store.hand_over(slot, encoded.into()).await;
            }
            Err(error) => {
                tracing::warn!(%slot, "{page} could not be prepared: {error}");
                self.fail(slot, &error);
            }
        }
    }

    fn fail(&self, slot: Slot, error: &PrepareError) {
        let body = Body::PageFailed(v1::PageFailed {
            slot: Some(slot.into()),
            reason: error.to_string(),
            permanent: matches!(error.class(), ErrorClass::Skip { .. }),
        });
        self.control.send(0, body);
    }
}
