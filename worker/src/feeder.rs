//! Plans this rank's shares and has their sequences ready ahead of use.
//!
//! One task per generation walks the plan from the generation's base, fetches
//! the pages that its shares need, and hands whole shares to the trainer
//! through a short channel. It never looks at what the trainer does, so that
//! nothing but missing rows or pages can make the trainer wait.

use std::num::NonZeroU32;
use std::sync::Arc;

use ledger::{Cursor, PageRow, Planned, Slot, Step, TableError};
use tokio::sync::mpsc;

use crate::book::Book;
use crate::page_store::{PageStore, PageStoreError};

/// Steps whose shares may lie ready. Bounds memory: a share is at most the
/// global batch, four bytes an id.
const STEPS_AHEAD: usize = 4;

/// Consecutive sequences that go through the model at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MicroBatchIds {
    /// Position of the first sequence.
    pub(crate) first: u64,
    /// `rows` sequences of equal length, one after the other.
    pub(crate) ids: Vec<u32>,
    pub(crate) rows: u32,
}

impl MicroBatchIds {
    /// The sequences with their positions.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let length = (self.ids.len() / self.rows.max(1) as usize).max(1);
        (self.first..).zip(self.ids.chunks_exact(length))
    }

    /// As the model takes them: int64 of shape [rows, sl].
    pub(crate) fn tensor(&self, model: &model::Gpt2) -> Result<tch::Tensor, model::ModelError> {
        let sequences: Vec<&[u32]> = self.sequences().map(|(_, ids)| ids).collect();
        model.batch(&sequences)
    }
}

/// What the trainer does next.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Train on this share of the step; it may be empty.
    Step {
        step: Step,
        share: Vec<MicroBatchIds>,
    },
    /// The run's epochs are over.
    End(Cursor),
}

/// Why a generation cannot be fed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Page(#[from] PageStoreError),
    #[error("the page table lists fewer sequences at position {position} than the page has")]
    Inconsistent { position: u64 },
}

/// What a feeder needs to know.
pub(crate) struct Feeding {
    pub(crate) book: Arc<Book>,
    pub(crate) pages: PageStore,
    pub(crate) base: Cursor,
    pub(crate) rank: u32,
    pub(crate) world: NonZeroU32,
    pub(crate) bs: NonZeroU32,
    /// Epochs of the run; `None` when endless.
    pub(crate) epochs: Option<u64>,
}

/// Starts feeding; dropping the receiver ends it.
pub(crate) fn start(
    feeding: Feeding,
    cancelled: tokio_util::sync::CancellationToken,
    runtime: &tokio::runtime::Handle,
) -> mpsc::Receiver<Result<Fed, FeedError>> {
    let (ready, shares) = mpsc::channel(STEPS_AHEAD);
    runtime.spawn(async move {
        let walk = async {
            if let Err(error) = feeding.walk(&ready).await {
                let _ = ready.send(Err(error)).await;
            }
        };
        // On cancellation the channel closes, which wakes the trainer.
        cancelled.run_until_cancelled(walk).await;
    });
    shares
}

impl Feeding {
    async fn walk(&self, ready: &mpsc::Sender<Result<Fed, FeedError>>) -> Result<(), FeedError> {
        let mut changes = self.book.changes();
        let mut cursor = self.base;
        loop {
            if self.epochs.is_some_and(|epochs| cursor.epoch >= epochs) {
                let _ = ready.send(Ok(Fed::End(cursor))).await;
                return Ok(());
            }
            changes.mark_unchanged();
            match self.book.next_step(&cursor)? {
                Planned::Step(step) => {
                    let share = self.share(&step).await?;
                    if ready.send(Ok(Fed::Step { step, share })).await.is_err() {
                        return Ok(());
                    }
                    cursor = step.after();
                }
                Planned::EmptyEpoch { after, .. } => cursor = after,
                Planned::Unknown { .. } => {
                    if changes.changed().await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn share(&self, step: &Step) -> Result<Vec<MicroBatchIds>, FeedError> {
        let share = step.share(self.bs, self.rank, self.world);
        let mut micro_batches = Vec::with_capacity(share.micro_batches.len());
        for micro_batch in share.micro_batches {
            let ids = self.ids(micro_batch.first, micro_batch.len).await?;
            micro_batches.push(MicroBatchIds {
                first: micro_batch.first,
                ids,
                rows: micro_batch.len,
            });
        }
        Ok(micro_batches)
    }

    async fn ids(&self, first: u64, count: u32) -> Result<Vec<u32>, FeedError> {
        let inconsistent = || FeedError::Inconsistent { position: first };
        let pieces = self.book.pieces(first, count).ok_or_else(inconsistent)?;
        let mut ids = Vec::new();
        for (piece, row) in pieces {
            let slot = Slot::Training(piece.ordinal);
            let page = self.pages.get(slot, &row).await?;
            for index in piece.sequences {
                ids.extend_from_slice(page.sequence(index).ok_or_else(inconsistent)?);
            }
        }
        Ok(ids)
    }
}

/// Every sequence of the evaluation, in order. Waits for its rows and pages.
pub(crate) async fn evaluation(book: &Book, pages: &PageStore) -> Result<Vec<Vec<u32>>, FeedError> {
    let mut changes = book.changes();
    let rows = loop {
        changes.mark_unchanged();
        if let Some(rows) = book.evaluation() {
            break rows;
        }
        if changes.changed().await.is_err() {
            return Ok(Vec::new());
        }
    };
    let mut sequences = Vec::new();
    for (index, row) in (0..).zip(&rows) {
        if matches!(row, PageRow::Skipped { .. }) {
            continue;
        }
        let page = pages.get(Slot::Evaluation(index), row).await?;
        sequences
            .extend((0..page.sequences()).filter_map(|at| page.sequence(at).map(<[u32]>::to_vec)));
    }
    Ok(sequences)
}

#[cfg(test)]
mod tests {
    use client::{Address, ConnectOptions, Connection};
    use ledger::{Order, OrderConfig, Ordinal, PackedPage};
    use proto::v1;

    use super::*;
    use crate::identity::Identity;

    const SL: u32 = 4;
    const SEQUENCES: u32 = 6;
    const PAGES: u64 = 40;

    /// Feeds from memory alone: nobody listens where the connection leads.
    async fn feeding(epochs: Option<u64>) -> Feeding {
        let order = Order::new(OrderConfig {
            seed: 1,
            total_pages: PAGES,
            evaluation_pages: 0,
            pages_per_epoch: PAGES,
        })
        .unwrap();
        let nobody: Address = "127.0.0.1:9".parse().unwrap();
        let connection = Connection::lazy(&nobody, &ConnectOptions::default()).unwrap();
        let identity = Arc::new(Identity::new(&v1::Context::default()));
        let pages = PageStore::new(connection, identity);
        let book = Book::new(order.clone(), NonZeroU32::new(SEQUENCES).unwrap());
        for ordinal in (0..PAGES).map(Ordinal) {
            let id = order.page_at(ordinal);
            let ids = (0..SL * SEQUENCES).map(|at| at + ordinal.0 as u32);
            let page = PackedPage::new(id, SL, 0, ids.collect()).unwrap();
            book.insert(Slot::Training(ordinal), page.row()).unwrap();
            pages.keep(Arc::new(page)).await;
        }
        book.begin(Cursor::start()).unwrap();
        Feeding {
            book: Arc::new(book),
            pages,
            base: Cursor::start(),
            rank: 0,
            world: NonZeroU32::MIN,
            bs: NonZeroU32::new(2).unwrap(),
            epochs,
        }
    }

    /// Lets every task go as far as it can: on this runtime they take turns, and
    /// nothing here waits for a clock or a socket.
    async fn settle() {
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn it_runs_ahead_of_the_trainer_by_a_few_steps_and_no_further() {
        let feeding = feeding(None).await;
        let cancelled = tokio_util::sync::CancellationToken::new();
        let mut shares = start(feeding, cancelled, &tokio::runtime::Handle::current());
        settle().await;
        assert_eq!(shares.len(), STEPS_AHEAD, "an idle trainer has a few ready");
        for number in 0..PAGES / 2 {
            let Fed::Step { step, share } = shares.recv().await.unwrap().unwrap() else {
                panic!("an endless run has steps");
            };
            assert_eq!(step.number, number);
            let rows: u32 = share.iter().map(|micro_batch| micro_batch.rows).sum();
            assert_eq!(rows, SEQUENCES);
            settle().await;
            assert_eq!(shares.len(), STEPS_AHEAD, "after step {number}");
        }
    }

    #[tokio::test]
    async fn it_ends_with_the_epochs_and_with_its_generation() {
        let cancelled = tokio_util::sync::CancellationToken::new();
        let runtime = tokio::runtime::Handle::current();
        let mut shares = start(feeding(Some(1)).await, cancelled.clone(), &runtime);
        let mut steps = 0;
        let end = loop {
            match shares.recv().await.unwrap().unwrap() {
                Fed::Step { .. } => steps += 1,
                Fed::End(cursor) => break cursor,
            }
        };
        assert_eq!((steps, end.epoch), (PAGES, 1));
        assert!(shares.recv().await.is_none());

        let mut shares = start(feeding(None).await, cancelled.clone(), &runtime);
        settle().await;
        cancelled.cancel();
        settle().await;
        while shares.try_recv().is_ok() {}
        assert!(shares.is_closed(), "the trainer is woken");
    }
}
