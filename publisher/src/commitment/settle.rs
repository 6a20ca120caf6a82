//! Finding out what became of a transaction.

use std::ops::RangeInclusive;
use std::time::Duration;

use chain::{Chain, FinalizedHeads, Hash, Inclusion, PoolStatus, PoolWatch, SubmitError, View};
use subnet::Account;
use tracing::debug;

use super::{Class, CommitError, Event, Pending};

/// How long to wait after a failed request before the next.
const BREATHER: Duration = Duration::from_millis(500);

/// After how many finalized blocks without a word from the node, and without being
/// in a block, a transaction is offered again.
const QUIET_BLOCKS: u32 = 4;

/// For how many blocks nodes keep the state, and so the events, of finalized blocks:
/// by default 256, less a few for what passes while they are read.
const STATE_KEPT_BLOCKS: u64 = 256 - 12;

// Nothing counts as long past while it may still be included.
const _: () = assert!(super::transaction::MAX_ERA_BLOCKS < STATE_KEPT_BLOCKS);

/// What became of a transaction, by the finalized chain.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in a finalized block.
    Included(Inclusion),
    /// It is not, and never will be, or its time is so long over that the chain's
    /// storage alone can tell; why, in words.
    Over(String),
}

/// What can be heard of a transaction from a node.
enum Ear {
    /// The node says what happens to it.
    Open {
        watch: PoolWatch,
        /// Finalized blocks since it last said something; none are counted while the
        /// transaction is in a block.
        quiet: u32,
        in_block: bool,
    },
    /// Nothing, and nothing to do about it before the next finalized block.
    Resting,
    /// Nothing. The transaction should be offered again.
    Closed,
}

/// Follows one transaction until its fate is final.
pub(super) struct Settling<'a> {
    pub(super) chain: &'a Chain,
    pub(super) account: &'a Account,
    pub(super) events: &'a (dyn Fn(Event) + Send + Sync),
    pub(super) heads: &'a mut FinalizedHeads,
}

impl Settling<'_> {
    /// Waits for the end. `watch` is what the node says, if it can be heard; without
    /// it the transaction's own bytes are offered again, once per finalized block.
    pub(super) async fn settle(
        &mut self,
        pending: &Pending,
        watch: Option<PoolWatch>,
    ) -> Result<Fate, CommitError> {
        let Some((hash, signed)) = pending.parts() else {
            return Ok(Fate::Over("the record of it cannot be read".to_owned()));
        };
        let mut ear = watch.map_or(Ear::Closed, Ear::open);
        // A first look at once: it may have been settled long ago.
        let mut look = true;
        loop {
            if look {
                match self.look(pending, hash).await {
                    Ok(Some(fate)) => return Ok(fate),
                    Ok(None) => {}
                    Err(error) => self.bear(error).await?,
                }
            }
            if matches!(ear, Ear::Closed) {
                ear = self.offer_again(&signed).await?;
            }
            tokio::select! {
                status = ear.next() => look = self.hear(status, pending, &mut ear),
                head = self.heads.next() => {
                    look = true;
                    match head {
                        Ok(_number) => ear.block_passed(),
                        Err(error) => self.bear(error.into()).await?,
                    }
                }
            }
        }
    }

    /// Whether the finalized chain has decided.
    async fn look(&self, pending: &Pending, hash: Hash) -> Result<Option<Fate>, CommitError> {
        let over = |why: String| Ok(Some(Fate::Over(why)));
        let view = self.chain.finalized().await?;
        let (head, last) = (view.number(), pending.last_block);
        if head < pending.first_block {
            // A node that lags behind the one asked before.
            return Ok(None);
        }
        // A block is read with its parent's state, that of the first possible block with
        // the one that it was signed at.
        if head > pending.first_block + STATE_KEPT_BLOCKS {
            return over(format!("its last block, {last}, is long past"));
        }
        if view.nonce(self.account).await? > pending.nonce {
            let blocks = pending.first_block + 1..=head.min(last);
            return match find(&view, blocks, hash).await? {
                Some(inclusion) => Ok(Some(Fate::Included(inclusion))),
                None => over("another transaction has used its nonce".to_owned()),
            };
        }
        if head >= last {
            return over(format!(
                "it was in none of the blocks up to {last}, the last in which it could be"
            ));
        }
        if view.spec_version() != pending.spec_version {
            return over(format!(
                "the runtime has changed from version {} to {}, which its signature does not cover",
                pending.spec_version,
                view.spec_version()
            ));
        }
        Ok(None)
    }

    /// Takes in what the node says, and returns whether to look at the chain.
    fn hear(&self, status: Option<PoolStatus>, pending: &Pending, ear: &mut Ear) -> bool {
        let why = match status {
            Some(PoolStatus::Future | PoolStatus::Ready | PoolStatus::Broadcast(_)) => {
                ear.heard(false);
                return false;
            }
            Some(PoolStatus::InBlock(block)) => {
                ear.heard(true);
                let block = format!("{block:?}");
                (self.events)(Event::InBlock { block });
                return false;
            }
            Some(PoolStatus::Retracted(block)) => {
                ear.heard(false);
                let block = format!("{block:?}");
                (self.events)(Event::Retracted { block });
                return false;
            }
            Some(PoolStatus::Finalized(block)) => {
                debug!("the node says that block {block:?} is final");
                *ear = Ear::Resting;
                return true;
            }
            Some(PoolStatus::FinalityTimeout(_)) => "its block is not final after a long time",
            Some(PoolStatus::Usurped(_)) => "another with its nonce has taken its place",
            Some(PoolStatus::Dropped) => "the node has dropped it",
            Some(PoolStatus::Invalid) => "the node calls it invalid",
            None => "the node no longer says what becomes of it",
        };
        *ear = Ear::Closed;
        (self.events)(Event::InDoubt {
            why: why.to_owned(),
            until_block: pending.last_block,
        });
        true
    }

    /// Offers the same bytes to whichever node answers.
    async fn offer_again(&self, signed: &[u8]) -> Result<Ear, CommitError> {
        let view = match self.chain.finalized().await {
            Ok(view) => view,
            Err(error) => {
                self.bear(error.into()).await?;
                return Ok(Ear::Resting);
            }
        };
        match view.submit(signed).await {
            Ok(watch) => {
                let endpoint = view.endpoint().to_string();
                (self.events)(Event::Accepted { endpoint });
                Ok(Ear::open(watch))
            }
            // It is in the pool already, or in a block, or neither; only the chain
            // will tell.
            Err(SubmitError::Refused(refusal)) => {
                debug!("offered again: {refusal}");
                Ok(Ear::Resting)
            }
            Err(SubmitError::Unknown(error)) => {
                self.bear(error.into()).await?;
                Ok(Ear::Resting)
            }
        }
    }

    /// Lets a failure that may pass go by; another ends the settling.
    async fn bear(&self, error: CommitError) -> Result<(), CommitError> {
        if error.class() != Class::Retry {
            return Err(error);
        }
        let why = error.to_string();
        (self.events)(Event::Again { why });
        tokio::time::sleep(BREATHER).await;
        Ok(())
    }
}

impl Ear {
    fn open(watch: PoolWatch) -> Ear {
        Ear::Open {
            watch,
            quiet: 0,
            in_block: false,
        }
    }

    /// What the node says next; never, if it cannot be heard.
    async fn next(&mut self) -> Option<PoolStatus> {
        match self {
            Ear::Open { watch, .. } => watch.next().await,
            Ear::Resting | Ear::Closed => std::future::pending().await,
        }
    }

    fn heard(&mut self, now_in_block: bool) {
        if let Ear::Open {
            quiet, in_block, ..
        } = self
        {
            *quiet = 0;
            *in_block = now_in_block;
        }
    }

    fn block_passed(&mut self) {
        match self {
            Ear::Open {
                quiet,
                in_block: false,
                ..
            } if *quiet < QUIET_BLOCKS => *quiet += 1,
            Ear::Open { in_block: true, .. } => {}
            Ear::Open { .. } | Ear::Resting | Ear::Closed => *self = Ear::Closed,
        }
    }
}

/// Looks for a transaction in finalized blocks, from the first on.
async fn find(
    view: &View,
    blocks: RangeInclusive<u64>,
    hash: Hash,
) -> Result<Option<Inclusion>, CommitError> {
    for number in blocks {
        if let Some(inclusion) = view.inclusion_at(number, hash).await? {
            return Ok(Some(inclusion));
        }
    }
    Ok(None)
}
