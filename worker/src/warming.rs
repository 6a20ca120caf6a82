//! Has the pages of the next steps at hand before this worker interrupts anyone.
//!
//! The others pause for a newcomer after a step, and wait for it in the next. What
//! it would have to fetch by then is better here before.

use std::time::Duration;

use client::{Connection, RetryPolicy};
use ledger::{PageRow, Slot};
use proto::v1;
use tokio::task::JoinSet;

use crate::identity::Identity;
use crate::page_store::{MEMORY_BYTES, PageStore};

/// Pages asked for at once: enough to hide one answer's way behind another's.
const PAGES_AT_ONCE: usize = 4;

/// What the pages have to leave of the memory for pages: for those that this
/// worker packs itself.
const MEMORY_SHARE: u64 = 2;

/// Why not all pages are here.
#[derive(Debug, thiserror::Error)]
enum Cold {
    #[error(transparent)]
    Coordinator(#[from] client::Error),
    #[error(transparent)]
    Row(#[from] proto::Malformed),
}

/// Fetches the pages that training is about to need. Never fails: a worker with
/// an empty cache is slower in its first steps, and no less right.
pub(crate) async fn warm(
    connection: &Connection,
    identity: &Identity,
    pages: &PageStore,
    sl: u32,
    patience: Duration,
) {
    let started = tokio::time::Instant::now();
    let mut fetched = 0;
    let fetching = async {
        let rows = coming(connection, identity).await?;
        fetch(rows, pages, sl, &mut fetched).await;
        Ok(())
    };
    let outcome: Result<Result<(), Cold>, _> = tokio::time::timeout(patience, fetching).await;
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(Ok(())) => tracing::info!(pages = fetched, seconds, "the next pages are here"),
        Ok(Err(error)) => tracing::warn!("the next pages are not here yet: {error}"),
        Err(_) => tracing::warn!(
            pages = fetched,
            seconds,
            "the next pages are not all here yet; the network to the coordinator is slow"
        ),
    }
}

async fn coming(
    connection: &Connection,
    identity: &Identity,
) -> Result<Vec<(Slot, PageRow)>, Cold> {
    let asking = || async {
        let request = v1::ComingPagesRequest {
            context: Some(identity.context(0)),
        };
        match connection.cluster().coming_pages(request).await {
            Ok(response) => Ok(response.into_inner().rows),
            Err(status) => Err(client::Error::call("ComingPages", status)),
        }
    };
    let rows = connection
        .retry(
            "asking which pages come next",
            &RetryPolicy::PATIENT,
            asking,
        )
        .await?;
    let rows: Result<_, _> = rows.into_iter().map(TryInto::try_into).collect();
    Ok(rows?)
}

/// Fetches as many as the memory may hold, the first ones first.
async fn fetch(rows: Vec<(Slot, PageRow)>, pages: &PageStore, sl: u32, fetched: &mut usize) {
    let mut room = MEMORY_BYTES / MEMORY_SHARE;
    let mut fetching = JoinSet::new();
    let mut note = |page: Result<bool, tokio::task::JoinError>| {
        *fetched += usize::from(page.unwrap_or_default());
    };
    for (slot, row) in rows {
        let bytes = u64::from(row.sequences()) * u64::from(sl) * 4;
        let Some(left) = room.checked_sub(bytes) else {
            break;
        };
        room = left;
        if fetching.len() >= PAGES_AT_ONCE
            && let Some(page) = fetching.join_next().await
        {
            note(page);
        }
        let pages = pages.clone();
        fetching.spawn(async move {
            let page = pages.get(slot, &row).await;
            if let Err(error) = &page {
                tracing::debug!("a page that comes soon is not here: {error}");
            }
            page.is_ok()
        });
    }
    while let Some(page) = fetching.join_next().await {
        note(page);
    }
}
