//! Copying packed pages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::Connection;
use ledger::{Ordinal, PackedPage, PageDigest, PageRow, Slot};
use proto::v1;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{MirrorError, blocking};
use crate::packed::PackedPages;
use crate::store::RunStore;

/// Pages under way at once.
const PAGES_AT_ONCE: usize = 4;
/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which pages of the table are here, as far as has been looked.
#[derive(Debug, Default)]
pub(super) struct PageCopies {
    /// Every page of the order before this one is here, or skipped.
    all_before: u64,
}

/// What a pass over the pages found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PagesPass {
    /// Pages that were fetched.
    pub(super) fetched: usize,
    /// Pages that the other coordinator has not either.
    pub(super) lacking: usize,
}

impl PageCopies {
    /// Fetches every page that the table lists and that is not here.
    pub(super) async fn copy(
        &mut self,
        store: &RunStore,
        packed: &PackedPages,
        connection: &Connection,
    ) -> Result<PagesPass, MirrorError> {
        let listed = {
            let (store, packed) = (store.clone(), packed.clone());
            let all_before = self.all_before;
            blocking(move || list(&store, &packed, all_before)).await?
        };
        let mut pass = PagesPass::default();
        let mut missing = listed.missing.iter();
        let mut absent = BTreeSet::new();
        let mut fetching = JoinSet::new();
        loop {
            while fetching.len() < PAGES_AT_ONCE
                && let Some((slot, digest)) = missing.next()
            {
                let (connection, packed) = (connection.clone(), packed.clone());
                let (slot, digest) = (*slot, *digest);
                fetching.spawn(async move {
                    let fetched = fetch(&connection, &packed, digest).await;
                    (slot, fetched)
                });
            }
            let Some(fetched) = fetching.join_next().await else {
                break;
            };
            match fetched? {
                (_, Ok(())) => pass.fetched += 1,
                (slot, Err(MirrorError::Client(error))) if error.is_not_found() => {
                    pass.lacking += 1;
                    absent.insert(slot);
                }
                // One page must not keep everything behind it from being copied.
                (slot, Err(MirrorError::WrongPage { digest })) => {
                    tracing::warn!("packed page {digest} came with the wrong content");
                    pass.lacking += 1;
                    absent.insert(slot);
                }
                (_, Err(error)) => return Err(error),
            }
        }
        let is_here = |ordinal: u64| {
            listed.known.contains(&ordinal) && !absent.contains(&Slot::Training(Ordinal(ordinal)))
        };
        while is_here(self.all_before) {
            self.all_before += 1;
        }
        Ok(pass)
    }
}

struct Listed {
    /// Pages of the order that the table has a row of.
    known: BTreeSet<u64>,
    missing: BTreeMap<Slot, PageDigest>,
}

fn list(store: &RunStore, packed: &PackedPages, all_before: u64) -> Result<Listed, MirrorError> {
    let mut listed = Listed {
        known: BTreeSet::new(),
        missing: BTreeMap::new(),
    };
    for (slot, row) in store.rows_from(Ordinal(all_before))? {
        if let Slot::Training(ordinal) = slot {
            listed.known.insert(ordinal.0);
        }
        if let PageRow::Packed { digest, .. } = row
            && !packed.has(digest)
        {
            listed.missing.insert(slot, digest);
        }
    }
    Ok(listed)
}

/// Fetches one page and keeps it.
pub(super) async fn fetch(
    connection: &Connection,
    packed: &PackedPages,
    digest: PageDigest,
) -> Result<(), MirrorError> {
    let mut coordinators = connection.coordinators();
    let request = v1::ReadPageRequest {
        digest: digest.0.to_vec().into(),
    };
    let answer = timeout(PAGE_TIMEOUT, coordinators.read_page(request)).await;
    let answer = answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
    let bytes = answer
        .map_err(|status| client::Error::call("ReadPage", status))?
        .into_inner()
        .packed;
    let packed = packed.clone();
    blocking(move || {
        let page = PackedPage::decode(&bytes).ok();
        let page = page.filter(|page| page.digest() == digest);
        let page = page.ok_or(MirrorError::WrongPage { digest })?;
        packed.keep(digest, &page).map_err(MirrorError::from)
    })
    .await
}

/// Removes pages that no row lists.
pub(super) async fn tidy(store: &RunStore, packed: &PackedPages) -> Result<usize, MirrorError> {
    let (store, packed) = (store.clone(), packed.clone());
    blocking(move || {
        // In this order: what is listed later is not here yet.
        let here = packed.digests()?;
        let rows = store.rows()?;
        let listed: BTreeSet<PageDigest> =
            rows.iter().filter_map(|(_, row)| row.digest()).collect();
        let mut removed = 0;
        for digest in here {
            if !listed.contains(&digest) {
                packed.remove(digest)?;
                removed += 1;
            }
        }
        Ok::<usize, MirrorError>(removed)
    })
    .await
}
