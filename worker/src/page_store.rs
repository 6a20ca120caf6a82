//! Packed pages for this worker's shares: from memory, from those it packed
//! itself, else from the coordinator's cache. A page that the coordinator has
//! lost, as one that took over on another disk may have, is prepared again.

#[cfg(test)]
mod lost;

use std::sync::Arc;

use client::{Connection, RetryPolicy};
use ledger::{PackedPage, PageDigest, PageRow, Slot};
use moka::future::Cache;
use pages::Preparer;
use proto::v1;

use crate::identity::Identity;

/// Memory that packed pages may take. A page is about 110 kB on the wire and
/// four bytes an id here, so this holds some three hundred.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;

/// A page of the table that cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PageStoreError {
    #[error("the coordinator's copy of {slot} does not match the page table: {problem}")]
    Wrong { slot: Slot, problem: String },
    #[error("{slot} has no packed page: {reason}")]
    Skipped { slot: Slot, reason: String },
    #[error("the coordinator refused to serve {slot}: {message}")]
    Refused { slot: Slot, message: String },
    #[error("the coordinator has lost {slot}, and it cannot be prepared again: {problem}")]
    Lost { slot: Slot, problem: String },
}

/// Where packed pages come from.
#[derive(Clone)]
pub(crate) struct PageStore {
    memory: Cache<PageDigest, Arc<PackedPage>>,
    connection: Connection,
    identity: Arc<Identity>,
    /// Prepares again what the coordinator has lost.
    preparer: Option<Arc<Preparer>>,
}

impl PageStore {
    pub(crate) fn new(connection: Connection, identity: Arc<Identity>) -> Self {
        let memory = Cache::builder()
            .max_capacity(MEMORY_BYTES)
            .weigher(|_, page: &Arc<PackedPage>| {
                u32::try_from(4 * page.ids().len()).unwrap_or(u32::MAX)
            })
            .build();
        Self {
            memory,
            connection,
            identity,
            preparer: None,
        }
    }

    /// With what it takes to prepare a page again.
    pub(crate) fn preparing_with(self, preparer: Arc<Preparer>) -> Self {
        Self {
            preparer: Some(preparer),
            ..self
        }
    }

    /// Keeps a page that this worker has packed itself.
    pub(crate) async fn keep(&self, page: Arc<PackedPage>) {
        self.memory.insert(page.digest(), page).await;
    }

    /// The page that `row` lists. Waits for the coordinator as long as it is
    /// away; concurrent calls for one page make one request.
    pub(crate) async fn get(
        &self,
        slot: Slot,
        row: &PageRow,
    ) -> Result<Arc<PackedPage>, PageStoreError> {
        let digest = match row {
            PageRow::Packed { digest, .. } => *digest,
            PageRow::Skipped { reason, .. } => {
                return Err(PageStoreError::Skipped {
                    slot,
                    reason: reason.clone(),
                });
            }
        };
        self.memory
            .try_get_with(digest, self.fetch(slot, row, digest))
            .await
            .map_err(|error| (*error).clone())
    }

    async fn fetch(
        &self,
        slot: Slot,
        row: &PageRow,
        digest: PageDigest,
    ) -> Result<Arc<PackedPage>, PageStoreError> {
        let asking = || async {
            let request = v1::GetPageRequest {
                context: Some(self.identity.context(0)),
                slot: Some(slot.into()),
            };
            match self.connection.cluster().get_page(request).await {
                Ok(response) => Ok(response.into_inner().packed),
                Err(status) => Err(client::Error::call("GetPage", status)),
            }
        };
        let asked = self
            .connection
            .retry("asking for a packed page", &RetryPolicy::PATIENT, asking)
            .await;
        let bytes = match (asked, &self.preparer) {
            (Ok(bytes), _) => bytes,
            (Err(error), Some(preparer)) if error.is_not_found() => {
                tracing::warn!(%slot, "preparing a page again: {error}");
                return self.prepare_again(slot, row, digest, preparer).await;
            }
            (Err(error), _) => {
                return Err(PageStoreError::Refused {
                    slot,
                    message: error.to_string(),
                });
            }
        };
        let wrong = |problem: String| PageStoreError::Wrong { slot, problem };
        let page = PackedPage::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
        if page.page() != row.page() || page.digest() != digest {
            return Err(wrong(format!(
                "{} with digest {} came for {row}",
                page.page(),
                page.digest()
            )));
        }
        Ok(Arc::new(page))
    }

    /// Prepares a page that the table lists, which must give the same sequences
    /// as the first time, and hands it over again.
    async fn prepare_again(
        &self,
        slot: Slot,
        row: &PageRow,
        digest: PageDigest,
        preparer: &Preparer,
    ) -> Result<Arc<PackedPage>, PageStoreError> {
        let lost = |problem: String| PageStoreError::Lost { slot, problem };
        let page = preparer.prepare(row.page()).await;
        let page = page.map_err(|error| lost(error.to_string()))?;
        if page.digest() != digest {
            return Err(lost(format!(
                "{} packs to {} here, and was {row}; compare dataset files and software versions",
                page.page(),
                page.digest()
            )));
        }
        self.hand_over(slot, page.encode().into()).await;
        Ok(Arc::new(page))
    }

    /// Hands a packed page to the coordinator, which says when it is durable.
    pub(crate) async fn hand_over(&self, slot: Slot, packed: bytes::Bytes) {
        let attempt = || {
            let packed = packed.clone();
            async move {
                let request = v1::PutPageRequest {
                    context: Some(self.identity.context(0)),
                    slot: Some(slot.into()),
                    packed,
                };
                match self.connection.cluster().put_page(request).await {
                    Ok(_) => Ok(()),
                    Err(status) => Err(client::Error::call("PutPage", status)),
                }
            }
        };
        let handed = self
            .connection
            .retry("handing over a packed page", &RetryPolicy::PATIENT, attempt)
            .await;
        if let Err(error) = handed {
            tracing::error!(%slot, "the coordinator refused the packed page: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use client::{Address, ConnectOptions};
    use ledger::PageId;

    use super::*;

    fn store() -> PageStore {
        let nobody: Address = "127.0.0.1:9".parse().unwrap();
        let connection = Connection::lazy(&nobody, &ConnectOptions::default()).unwrap();
        PageStore::new(connection, Arc::new(Identity::new(&v1::Context::default())))
    }

    /// A page of a megabyte in memory.
    fn page(number: u64) -> PackedPage {
        let ids = (0..1 << 18).map(|at| at % 50_000 + number as u32);
        PackedPage::new(PageId(number), 1 << 10, 0, ids.collect()).unwrap()
    }

    #[tokio::test]
    async fn its_memory_is_bounded_however_many_pages_come() {
        let store = store();
        for number in 0..100 {
            store.keep(Arc::new(page(number))).await;
            store.memory.run_pending_tasks().await;
            let held = store.memory.weighted_size();
            assert!(held <= MEMORY_BYTES, "{held} bytes after page {number}");
        }
        let held = store.memory.weighted_size();
        assert!(held > MEMORY_BYTES / 2, "it uses what it may: {held} bytes");
    }

    #[tokio::test]
    async fn a_page_that_was_packed_here_is_not_asked_for() {
        let store = store();
        let page = Arc::new(page(7));
        store.keep(Arc::clone(&page)).await;
        let slot = Slot::Training(ledger::Ordinal(0));
        let got = store.get(slot, &page.row()).await.unwrap();
        assert_eq!(got.digest(), page.digest());
    }

    #[tokio::test]
    async fn a_skipped_page_says_why_it_has_no_sequences() {
        let row = PageRow::Skipped {
            page: PageId(3),
            reason: "its rows are too large".to_owned(),
        };
        let slot = Slot::Training(ledger::Ordinal(2));
        let error = store().get(slot, &row).await.unwrap_err();
        assert!(
            error.to_string().contains("its rows are too large"),
            "{error}"
        );
    }
}
