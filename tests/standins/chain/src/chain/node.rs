//! One node: its blocks, its pool, and what happens to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use subxt::ext::codec::Decode as _;
use subxt::utils::{AccountId32, H256};

use super::faults::NodeFaults;
use super::pool::{Pool, Refused};
use super::{Block, Notice, Status};
use crate::Quota;
use crate::StartError;
use crate::runtime::{Runtime, Signed, Situation};

/// After how many blocks without finality a node stops watching for it
/// (`MAX_FINALITY_WATCHERS` of `sc-transaction-pool`).
const FINALITY_WATCHED_BLOCKS: u32 = 512;

/// What a node is set up with and does not change.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// What tells block 0 from other chains'.
    pub(crate) chain_id: u64,
    pub(crate) quota: Quota,
    /// How many blocks the finalized one is behind the best.
    pub(crate) finality_lag: u32,
    /// How many finalized blocks keep their state.
    pub(crate) state_pruning: u32,
    /// What `TransactionFeePaid` says; `None` for no such event.
    pub(crate) fee: Option<u64>,
    /// Whether unregistered hotkeys are refused at submission.
    pub(crate) asks_registration: bool,
}

/// The state of one simulated node.
pub(crate) struct Node {
    pub(super) rules: Rules,
    pub(super) blocks: HashMap<H256, Block>,
    /// The best chain.
    pub(super) numbers: BTreeMap<u32, H256>,
    pub(super) best: H256,
    pub(super) finalized: H256,
    pub(super) genesis: H256,
    pub(super) pool: Pool,
    pub(super) faults: NodeFaults,
    /// What has happened since [`Node::take_notices`].
    pub(super) notices: Vec<Notice>,
    /// Grows with every block, and makes each one's hash its own.
    pub(super) salt: u64,
    pub(super) runtimes: HashMap<u32, Arc<Runtime>>,
}

/// Why there is no state to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// The node has never seen the block, or dropped its fork.
    #[error("UnknownBlock: Header was not found in the database: {0:?}")]
    Unknown(H256),
    /// The block is too old.
    #[error("UnknownBlock: State already discarded for {0:?}")]
    Discarded(H256),
}

impl Node {
    pub(crate) fn best(&self) -> &Block {
        &self.blocks[&self.best]
    }

    pub(crate) fn finalized(&self) -> &Block {
        &self.blocks[&self.finalized]
    }

    pub(crate) fn genesis(&self) -> H256 {
        self.genesis
    }

    pub(crate) fn block(&self, hash: &H256) -> Option<&Block> {
        self.blocks.get(hash)
    }

    /// The hash of a block of the best chain.
    pub(crate) fn hash_at(&self, number: u32) -> Option<H256> {
        self.numbers.get(&number).copied()
    }

    /// The best chain's blocks, from the oldest.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Block> {
        self.numbers.values().map(|hash| &self.blocks[hash])
    }

    /// A block with its state; the best one if none is named.
    pub(crate) fn at(&self, hash: Option<H256>) -> Result<&Block, StateError> {
        let hash = hash.unwrap_or(self.best);
        let block = self.blocks.get(&hash).ok_or(StateError::Unknown(hash))?;
        match block.state {
            Some(_) => Ok(block),
            None => Err(StateError::Discarded(hash)),
        }
    }

    /// What has happened since this was last called, in order.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The hash of an ancestor, or of the block itself.
    pub(super) fn ancestor(&self, from: H256, number: u32) -> Option<H256> {
        let mut block = self.blocks.get(&from)?;
        loop {
            if block.header.number == number {
                return Some(block.hash);
            }
            if number > block.header.number {
                return None;
            }
            if self.hash_at(block.header.number) == Some(block.hash) {
                return self.hash_at(number);
            }
            block = self.blocks.get(&block.header.parent)?;
        }
    }

    /// Calls `work` with what the validity of extrinsics after `parent` depends on.
    pub(crate) fn in_situation<T>(
        &self,
        parent: &Block,
        work: impl FnOnce(Situation<'_>) -> T,
    ) -> T {
        let known = parent.runtime.block_hash_count();
        let next_block = parent.header.number + 1;
        let hash_of = |number: u64| {
            let number = u32::try_from(number).ok()?;
            let recent = next_block.saturating_sub(number) <= known;
            (recent || number == 0)
                .then(|| self.ancestor(parent.hash, number))
                .flatten()
        };
        work(Situation {
            next_block,
            genesis: self.genesis,
            hash_of: &hash_of,
            asks_registration: self.rules.asks_registration,
        })
    }

    /// Offers an extrinsic to the pool. Its hash when the pool has it.
    pub(crate) fn submit(&mut self, bytes: &[u8]) -> Result<H256, Refused> {
        if let Some(refused) = self.faults.rejections.pop_front() {
            return Err(refused);
        }
        let mut cursor = bytes;
        if Vec::<u8>::decode(&mut cursor).is_err() || !cursor.is_empty() {
            return Err(Refused::BadFormat);
        }
        let hash = H256(sp_crypto_hashing::blake2_256(bytes));
        let number = self.best().header.number;
        if self.pool.is_banned(&hash, number) {
            return Err(Refused::TemporarilyBanned);
        }
        if self.pool.contains(&hash) {
            return Err(Refused::AlreadyImported(hash));
        }
        let best = self.best();
        let runtime = Arc::clone(&best.runtime);
        let signed = runtime.decode_signed(bytes).ok_or(Refused::Undecodable)?;
        let state = best.state.clone().unwrap_or_default();
        let verdict = self.in_situation(best, |situation| {
            runtime.validate(&state, &signed, &situation)
        });
        let valid = match verdict {
            Ok(valid) => valid,
            Err(invalid) => {
                self.pool.ban(hash, number);
                return Err(Refused::Invalid(invalid));
            }
        };
        if let Some(rival) = self.pool.rival(&signed.signer, signed.nonce) {
            if rival.valid.priority >= valid.priority {
                return Err(Refused::TooLowPriority {
                    old: rival.valid.priority,
                    new: valid.priority,
                });
            }
            let usurped = rival.signed.hash;
            self.pool.remove(&usurped);
            self.tell(usurped, Status::Usurped(hash));
        }
        if self.faults.lose_submissions > 0 {
            self.faults.lose_submissions -= 1;
            self.tell(hash, Status::Ready);
            return Ok(hash);
        }
        self.pool.insert(signed, valid);
        self.promote();
        if self.pool.is_ready(&hash) {
            self.tell(hash, Status::Broadcast);
        } else {
            self.tell(hash, Status::Future);
        }
        Ok(hash)
    }

    /// The nonce that the account's next extrinsic should have, counting the pool's.
    pub(crate) fn next_nonce(&self, account: &AccountId32) -> u32 {
        let best = self.best();
        let mut nonce = best
            .state
            .as_ref()
            .map_or(0, |state| best.runtime.nonce(state, account));
        while self
            .pool
            .rival(account, nonce)
            .is_some_and(|entry| entry.ready)
        {
            nonce += 1;
        }
        nonce
    }

    /// The extrinsics that wait to be included.
    pub(crate) fn pending(&self) -> Vec<Vec<u8>> {
        let ready = self.pool.ready();
        ready.into_iter().map(|signed| signed.bytes).collect()
    }

    pub(super) fn tell(&mut self, extrinsic: H256, status: Status) {
        self.notices.push(Notice::Extrinsic { extrinsic, status });
    }

    fn promote(&mut self) {
        let best = &self.blocks[&self.best];
        let state = best.state.clone().unwrap_or_default();
        let runtime = Arc::clone(&best.runtime);
        let promoted = self.pool.promote(|account| runtime.nonce(&state, account));
        for extrinsic in promoted {
            self.tell(extrinsic, Status::Ready);
        }
    }

    /// Puts the pool in order after the best block changed: what is included leaves
    /// it, what can never be included is told to be invalid.
    pub(super) fn maintain_pool(&mut self, retracted: &[Signed]) {
        let best = &self.blocks[&self.best];
        for hash in &best.extrinsic_hashes {
            self.pool.remove(hash);
        }
        let state = best.state.clone().unwrap_or_default();
        let runtime = Arc::clone(&best.runtime);
        let number = best.header.number;
        let mut gone = Vec::new();
        let mut returned = Vec::new();
        self.in_situation(best, |situation| {
            for entry in self.pool.iter() {
                let expired = entry.valid.death <= u64::from(situation.next_block);
                if expired || runtime.validate(&state, &entry.signed, &situation).is_err() {
                    gone.push(entry.signed.hash);
                }
            }
            for signed in retracted {
                if let Ok(valid) = runtime.validate(&state, signed, &situation) {
                    returned.push((signed.clone(), valid));
                }
            }
        });
        for hash in gone {
            self.pool.remove(&hash);
            self.pool.ban(hash, number);
            self.tell(hash, Status::Invalid);
        }
        for (signed, valid) in returned {
            self.pool.insert(signed, valid);
        }
        self.promote();
    }

    /// Finalizes the best chain up to the block that the lag allows.
    pub(super) fn advance_finality(&mut self) {
        let best = self.best().header.number;
        self.time_out_finality(best);
        if self.faults.finality_stalled {
            return;
        }
        let target = best.saturating_sub(self.rules.finality_lag);
        let from = self.finalized().header.number + 1;
        if target < from {
            return;
        }
        let hashes: Vec<H256> = self
            .numbers
            .range(from..=target)
            .map(|(_, hash)| *hash)
            .collect();
        let Some(&last) = hashes.last() else {
            return;
        };
        self.finalized = last;
        let pruned = self.drop_forks();
        self.discard_states();
        let statuses: Vec<(H256, Status)> = hashes
            .iter()
            .flat_map(|hash| {
                let block = &self.blocks[hash];
                block
                    .extrinsic_hashes
                    .iter()
                    .enumerate()
                    .map(|(index, extrinsic)| {
                        let status = Status::Finalized {
                            block: *hash,
                            index,
                        };
                        (*extrinsic, status)
                    })
            })
            .collect();
        self.notices.push(Notice::Finalized { hashes, pruned });
        for (extrinsic, status) in statuses {
            self.tell(extrinsic, status);
        }
    }

    /// Tells those who watch an extrinsic that its block is not going to be final soon.
    fn time_out_finality(&mut self, best: u32) {
        let Some(number) = best.checked_sub(FINALITY_WATCHED_BLOCKS) else {
            return;
        };
        if number <= self.finalized().header.number {
            return;
        }
        let Some(block) = self.hash_at(number) else {
            return;
        };
        for extrinsic in self.blocks[&block].extrinsic_hashes.clone() {
            self.tell(extrinsic, Status::FinalityTimeout { block });
        }
    }

    /// Forgets the blocks that finality has decided against, and names them.
    fn drop_forks(&mut self) -> Vec<H256> {
        let finalized = self.finalized().header.number;
        let lost: Vec<H256> = self
            .blocks
            .values()
            .filter(|block| {
                let number = block.header.number;
                if number <= finalized {
                    self.hash_at(number) != Some(block.hash)
                } else {
                    self.ancestor(block.hash, finalized) != Some(self.finalized)
                }
            })
            .map(|block| block.hash)
            .collect();
        for hash in &lost {
            self.blocks.remove(hash);
        }
        lost
    }

    fn discard_states(&mut self) {
        let finalized = self.finalized().header.number;
        let oldest = finalized.saturating_sub(self.rules.state_pruning);
        let old: Vec<H256> = self
            .numbers
            .range(..oldest)
            .rev()
            .map(|(_, hash)| *hash)
            .take_while(|hash| self.blocks[hash].state.is_some())
            .collect();
        for hash in old {
            if let Some(block) = self.blocks.get_mut(&hash) {
                block.state = None;
            }
        }
    }

    /// The runtime with this version, built once.
    pub(super) fn runtime(&mut self, spec_version: u32) -> Result<Arc<Runtime>, StartError> {
        if let Some(runtime) = self.runtimes.get(&spec_version) {
            return Ok(Arc::clone(runtime));
        }
        let runtime = Arc::new(Runtime::new(self.rules.quota, Some(spec_version))?);
        self.runtimes.insert(spec_version, Arc::clone(&runtime));
        Ok(runtime)
    }
}
