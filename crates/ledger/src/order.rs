//! Which page lies at which place of the run.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::permutation::Permutation;
use crate::{Ordinal, PageId, Slot};

/// What an order is made from; part of a run's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrderConfig {
    /// The run's seed.
    pub seed: u64,
    /// Pages of the dataset, the last and shorter one included.
    pub total_pages: u64,
    /// Pages set aside for evaluation; may be 0.
    pub evaluation_pages: u32,
    /// Pages of the order that make an epoch.
    pub pages_per_epoch: u64,
}

/// A configuration that no order can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nothing would be left to train on, or there is no page at all.
    #[error(
        "{evaluation_pages} evaluation pages leave none of the dataset's {total_pages} pages to \
         train on: choose fewer evaluation pages or a larger dataset"
    )]
    NothingToTrainOn {
        /// As configured.
        evaluation_pages: u32,
        /// As configured.
        total_pages: u64,
    },
    /// An epoch without pages.
    #[error("pages per epoch is 0: an epoch needs at least one page")]
    EmptyEpoch,
    /// An epoch longer than a pass over the dataset.
    #[error(
        "{pages_per_epoch} pages per epoch, but only {training_pages} pages exist apart from the \
         evaluation's: choose at most {training_pages}"
    )]
    EpochLongerThanPass {
        /// As configured.
        pages_per_epoch: u64,
        /// Pages of the dataset but the evaluation's.
        training_pages: u64,
    },
}

/// One seeded permutation of the training pages per pass over the dataset,
/// and the evaluation pages, which no pass contains.
///
/// Within a pass no page comes twice. An epoch that begins in one pass and
/// ends in the next may contain a page of each: its two places are different
/// ordinals. Memory and construction time grow with the evaluation pages only.
#[derive(Clone, Debug)]
pub struct Order {
    config: OrderConfig,
    /// Sorted.
    evaluation: Arc<[PageId]>,
    training_pages: u64,
}

impl Order {
    /// The order that `config` describes.
    ///
    /// # Errors
    /// If evaluation leaves no page to train on, or an epoch would have no
    /// page or more than a pass has.
    pub fn new(config: OrderConfig) -> Result<Order, OrderError> {
        let OrderConfig {
            seed,
            total_pages,
            evaluation_pages,
            pages_per_epoch,
        } = config;
        let training_pages = total_pages.saturating_sub(u64::from(evaluation_pages));
        if training_pages == 0 {
            return Err(OrderError::NothingToTrainOn {
                evaluation_pages,
                total_pages,
            });
        }
        if pages_per_epoch == 0 {
            return Err(OrderError::EmptyEpoch);
        }
        if pages_per_epoch > training_pages {
            return Err(OrderError::EpochLongerThanPass {
                pages_per_epoch,
                training_pages,
            });
        }
        let draw = Permutation::new(total_pages, &key(seed, "evaluation", 0));
        let mut evaluation: Vec<PageId> = (0..u64::from(evaluation_pages))
            .map(|index| PageId(draw.apply(index)))
            .collect();
        evaluation.sort_unstable();
        Ok(Order {
            config,
            evaluation: evaluation.into(),
            training_pages,
        })
    }

    /// What the order was made from.
    pub fn config(&self) -> &OrderConfig {
        &self.config
    }

    /// The evaluation pages, ascending.
    pub fn evaluation(&self) -> &[PageId] {
        &self.evaluation
    }

    /// How many pages one pass trains on.
    pub fn training_pages(&self) -> u64 {
        self.training_pages
    }

    /// The page that a slot stands for; `None` for an evaluation page beyond
    /// the last.
    pub fn page(&self, slot: Slot) -> Option<PageId> {
        match slot {
            Slot::Evaluation(index) => self.evaluation.get(index as usize).copied(),
            Slot::Training(ordinal) => Some(self.page_at(ordinal)),
        }
    }

    /// The training page at a place of the order.
    pub fn page_at(&self, ordinal: Ordinal) -> PageId {
        let key = key(self.config.seed, "training", self.pass_of(ordinal));
        let rank =
            Permutation::new(self.training_pages, &key).apply(ordinal.0 % self.training_pages);
        // The rank-th page that is not an evaluation page. The i-th evaluation
        // page has (its number - i) training pages below it, a number that does
        // not fall with i, so those at or below the sought page are a prefix.
        let (mut low, mut high) = (0, self.evaluation.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.evaluation[middle].0 - middle as u64 <= rank {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        PageId(rank + low as u64)
    }

    /// Which pass over the dataset a place belongs to.
    pub fn pass_of(&self, ordinal: Ordinal) -> u64 {
        ordinal.0 / self.training_pages
    }

    /// Which epoch a place belongs to.
    pub fn epoch_of(&self, ordinal: Ordinal) -> u64 {
        ordinal.0 / self.config.pages_per_epoch
    }

    /// The places of an epoch, as the numbers inside [`Ordinal`].
    pub fn epoch_ordinals(&self, epoch: u64) -> Range<u64> {
        let begin = epoch.saturating_mul(self.config.pages_per_epoch);
        begin..begin.saturating_add(self.config.pages_per_epoch)
    }
}

/// The key of one permutation: what it is for keeps equal seeds apart.
fn key(seed: u64, purpose: &str, pass: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + purpose.len());
    key.extend_from_slice(&seed.to_le_bytes());
    key.extend_from_slice(&pass.to_le_bytes());
    key.extend_from_slice(purpose.as_bytes());
    key
}
