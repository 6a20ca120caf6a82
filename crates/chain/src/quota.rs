//! How much a hotkey may commit, and when more.
//!
//! Three rules have been in force (`pallets/commitments/src/lib.rs` of
//! `opentensor/subtensor`; the epoch's in `pallets/subtensor/src/subnets/weights.rs`
//! and `…/coinbase/run_coinbase.rs`), and the runtime's metadata says which one is:
//!
//! - until March 2025, storage `RateLimit`: a commitment may be made `RateLimit`
//!   blocks after the one before it;
//! - since then, storage `UsedSpaceOf`: within an epoch of the subnet, commitments
//!   may add up to `MaxSpace` bytes, each counting as 100 at least. Epochs are
//!   `tempo + 1` blocks long: block b lies in epoch `(b + netuid + 1) / (tempo + 1)`;
//! - with storage `SubnetEpochIndex`, the same, but epochs are counted as they
//!   happen, `tempo` blocks after `LastEpochBlock` or when the subnet's owner says so.

use std::fmt;

use subnet::Account;
use subxt::ext::scale_decode::DecodeAsType;

use crate::view::account_id;
use crate::{ChainError, View};

const PALLET: &str = "Commitments";

/// What a commitment counts as at least, in bytes.
const LEAST_SPACE: u64 = 100;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaRule {
    /// Bytes within an epoch of the subnet.
    Space,
    /// Commitments within a number of blocks: one.
    Interval,
    /// Nothing that this program knows of.
    Unlimited,
}

/// How much a hotkey may commit, and when more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is limited.
    pub rule: QuotaRule,
    /// How much of it is used up for the next block.
    pub used: u64,
    /// How much there is.
    pub limit: u64,
    /// The first block in which nothing of it is used up any more, as far as that
    /// can be told beforehand.
    pub resets_at_block: Option<u64>,
    /// The block at which this was read.
    pub block: u64,
}

impl Quota {
    /// What committing so many bytes costs.
    #[must_use]
    pub fn cost(&self, bytes: usize) -> u64 {
        match self.rule {
            QuotaRule::Space => LEAST_SPACE.max(bytes as u64),
            QuotaRule::Interval => 1,
            QuotaRule::Unlimited => 0,
        }
    }

    /// Whether so many bytes may be committed in the next block.
    #[must_use]
    pub fn allows(&self, bytes: usize) -> bool {
        self.used.saturating_add(self.cost(bytes)) <= self.limit
    }

    /// The first block in which so many bytes may be committed; `None` if that
    /// cannot be told, or never happens.
    #[must_use]
    pub fn next_allowed_block(&self, bytes: usize) -> Option<u64> {
        if self.allows(bytes) {
            return Some(self.block + 1);
        }
        if self.cost(bytes) > self.limit {
            return None;
        }
        // Not the next block, whatever was foretold: epochs can be late.
        let earliest = self.block + 2;
        self.resets_at_block.map(|block| block.max(earliest))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quota { used, limit, .. } = self;
        match self.rule {
            QuotaRule::Space => write!(f, "{used} of {limit} bytes of this epoch are used")?,
            QuotaRule::Interval if used < limit => f.write_str("a commitment may be made now")?,
            QuotaRule::Interval => f.write_str("the last commitment is too recent")?,
            QuotaRule::Unlimited => {
                f.write_str("the runtime limits commitments in no known way")?
            }
        }
        match self.resets_at_block {
            Some(block) if self.used > 0 => write!(f, "; all is free again at block {block}"),
            _ => Ok(()),
        }
    }
}

/// A hotkey's use of its epoch's space.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct UsageTracker {
    last_epoch: u64,
    used_space: u64,
}

/// Where the subnet stands in its epochs.
struct Epoch {
    index: u64,
    next_starts_at: Option<u64>,
}

impl Epoch {
    /// The epoch of a block where epochs follow from the block's number.
    fn by_number(block: u64, netuid: u16, tempo: u16) -> Epoch {
        let length = u64::from(tempo) + 1;
        let offset = u64::from(netuid) + 1;
        let index = block.saturating_add(offset) / length;
        Epoch {
            index,
            next_starts_at: Some(((index + 1) * length).saturating_sub(offset)),
        }
    }

    /// The epoch where they are counted. `pending` is a block at which the owner
    /// asked for one, or 0. A tempo of 0 stops the epochs.
    fn by_counter(index: u64, last: u64, tempo: u16, pending: u64) -> Epoch {
        let due = last.saturating_add(u64::from(tempo));
        let next = if pending > 0 { due.min(pending) } else { due };
        Epoch {
            index,
            next_starts_at: (tempo > 0).then_some(next),
        }
    }
}

impl View {
    /// How much a hotkey may commit, and when more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn quota(&self, netuid: u16, hotkey: &Account) -> Result<Quota, ChainError> {
        if self.has_storage(PALLET, "UsedSpaceOf") {
            self.space(netuid, hotkey).await
        } else if self.has_storage(PALLET, "RateLimit") {
            self.interval(netuid, hotkey).await
        } else {
            Ok(Quota {
                rule: QuotaRule::Unlimited,
                used: 0,
                limit: u64::MAX,
                resets_at_block: None,
                block: self.number(),
            })
        }
    }

    async fn space(&self, netuid: u16, hotkey: &Account) -> Result<Quota, ChainError> {
        let epoch = self.epoch(netuid).await?;
        let limit: Option<u32> = self.value(PALLET, "MaxSpace", ()).await?;
        let keys = (netuid, account_id(hotkey));
        let usage: Option<UsageTracker> = self.value(PALLET, "UsedSpaceOf", keys).await?;
        let usage = usage.filter(|usage| usage.last_epoch == epoch.index);
        Ok(Quota {
            rule: QuotaRule::Space,
            used: usage.map_or(0, |usage| usage.used_space),
            limit: u64::from(limit.unwrap_or(0)),
            resets_at_block: epoch.next_starts_at,
            block: self.number(),
        })
    }

    /// The epoch in which a transaction of the next block is executed.
    async fn epoch(&self, netuid: u16) -> Result<Epoch, ChainError> {
        const SUBNETS: &str = "SubtensorModule";
        let tempo: Option<u16> = self.value(SUBNETS, "Tempo", (netuid,)).await?;
        let tempo = tempo.unwrap_or(0);
        let next_block = self.number() + 1;
        if !self.has_storage(SUBNETS, "SubnetEpochIndex") {
            return Ok(Epoch::by_number(next_block, netuid, tempo));
        }
        let index: Option<u64> = self.value(SUBNETS, "SubnetEpochIndex", (netuid,)).await?;
        let last: Option<u64> = self.value(SUBNETS, "LastEpochBlock", (netuid,)).await?;
        let pending: Option<u64> = self.value(SUBNETS, "PendingEpochAt", (netuid,)).await?;
        Ok(Epoch::by_counter(
            index.unwrap_or(0),
            last.unwrap_or(0),
            tempo,
            pending.unwrap_or(0),
        ))
    }

    async fn interval(&self, netuid: u16, hotkey: &Account) -> Result<Quota, ChainError> {
        let every: Option<u64> = self.value(PALLET, "RateLimit", ()).await?;
        let keys = (netuid, account_id(hotkey));
        let last: Option<u64> = self.value(PALLET, "LastCommitment", keys).await?;
        Ok(interval_quota(self.number(), last, every.unwrap_or(0)))
    }
}

fn interval_quota(block: u64, last: Option<u64>, every: u64) -> Quota {
    let free_at = last.map(|last| last.saturating_add(every));
    Quota {
        rule: QuotaRule::Interval,
        used: u64::from(free_at.is_some_and(|free_at| block + 1 < free_at)),
        limit: 1,
        resets_at_block: free_at,
        block,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn space(used: u64) -> Quota {
        Quota {
            rule: QuotaRule::Space,
            used,
            limit: 3100,
            resets_at_block: Some(350),
            block: 9,
        }
    }

    #[test]
    fn a_short_commitment_counts_as_a_hundred_bytes() {
        assert_eq!(space(0).cost(12), 100);
        assert_eq!(space(0).cost(128), 128);
    }

    #[test]
    fn space_lasts_until_it_is_full_and_is_free_at_the_next_epoch() {
        assert_eq!(space(3000).next_allowed_block(100), Some(10));
        assert_eq!(space(3000).next_allowed_block(101), Some(350));
        assert_eq!(space(0).next_allowed_block(4000), None);
        let late = Quota {
            block: 400,
            ..space(3000)
        };
        assert_eq!(late.next_allowed_block(101), Some(402));
    }

    #[test]
    fn an_interval_ends_with_the_block_that_is_far_enough_from_the_last() {
        assert!(interval_quota(50, None, 100).allows(128));
        let quota = interval_quota(98, Some(0), 100);
        assert_eq!(quota.next_allowed_block(128), Some(100));
        assert!(!quota.allows(128));
        assert!(interval_quota(99, Some(0), 100).allows(128));
    }

    #[test]
    fn a_counted_epoch_begins_a_tempo_after_the_last_or_when_asked_for() {
        let next = |tempo, pending| Epoch::by_counter(7, 1000, tempo, pending).next_starts_at;
        assert_eq!(next(360, 0), Some(1360));
        assert_eq!(next(360, 1100), Some(1100));
        assert_eq!(next(0, 0), None);
    }

    proptest! {
        #[test]
        fn the_next_epoch_by_number_begins_where_the_index_rises(
            block in 0_u64..10_000_000, netuid: u16, tempo: u16,
        ) {
            let index = |block| Epoch::by_number(block, netuid, tempo).index;
            let next = Epoch::by_number(block, netuid, tempo).next_starts_at.unwrap();
            prop_assert!(next > block);
            prop_assert_eq!(index(next), index(block) + 1);
            prop_assert_eq!(index(next - 1), index(block));
        }
    }
}
