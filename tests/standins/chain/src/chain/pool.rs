//! The transaction pool of the one node that clients talk to.
//!
//! Rules and error codes are `sc-transaction-pool`'s and `sc-rpc-api`'s
//! (`author/error.rs`): what is invalid at submission is banned for half an hour, the
//! same bytes twice are already imported, another extrinsic with the same account and
//! nonce needs a higher priority, and one whose nonce is too high waits as `future`.
//!
//! Not modelled: limits of the pool's size, and gossip; there is one peer by name.

use std::collections::HashMap;

use subxt::utils::{AccountId32, H256};

use crate::runtime::{Invalid, Signed, Valid};

/// For how many blocks an invalid extrinsic is banned: 30 minutes of 12 seconds.
const BAN_BLOCKS: u32 = 150;

/// Why the pool does not take an extrinsic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not SCALE: a length and that many bytes.
    BadFormat,
    /// The runtime cannot decode it and traps.
    Undecodable,
    Invalid(Invalid),
    TemporarilyBanned,
    AlreadyImported(H256),
    TooLowPriority {
        old: u64,
        new: u64,
    },
    ImmediatelyDropped,
}

/// One extrinsic in the pool.
pub(crate) struct Entry {
    pub(crate) signed: Signed,
    pub(crate) valid: Valid,
    /// Whether all of its account's earlier nonces are executed or ready.
    pub(crate) ready: bool,
}

#[derive(Default)]
pub(crate) struct Pool {
    entries: HashMap<H256, Entry>,
    /// Until which block each extrinsic is banned.
    banned: HashMap<H256, u32>,
}

impl Pool {
    pub(crate) fn contains(&self, hash: &H256) -> bool {
        self.entries.contains_key(hash)
    }

    pub(crate) fn is_banned(&self, hash: &H256, block: u32) -> bool {
        self.banned.get(hash).is_some_and(|&until| block < until)
    }

    pub(crate) fn ban(&mut self, hash: H256, block: u32) {
        self.banned.insert(hash, block.saturating_add(BAN_BLOCKS));
    }

    pub(crate) fn lift_bans(&mut self) {
        self.banned.clear();
    }

    /// The entry with the same account and nonce.
    pub(crate) fn rival(&self, signer: &AccountId32, nonce: u32) -> Option<&Entry> {
        self.entries
            .values()
            .find(|entry| entry.signed.signer == *signer && entry.signed.nonce == nonce)
    }

    pub(crate) fn insert(&mut self, signed: Signed, valid: Valid) {
        let entry = Entry {
            signed,
            valid,
            ready: false,
        };
        self.entries.insert(entry.signed.hash, entry);
    }

    pub(crate) fn remove(&mut self, hash: &H256) -> Option<Entry> {
        self.entries.remove(hash)
    }

    /// Marks what is ready, given the nonce that each account's state expects, and
    /// returns what has become so.
    pub(crate) fn promote(&mut self, expected: impl Fn(&AccountId32) -> u32) -> Vec<H256> {
        let mut promoted = Vec::new();
        for hash in self.in_order() {
            let entry = &self.entries[&hash];
            let (signer, nonce) = (entry.signed.signer, entry.signed.nonce);
            let ready = (expected(&signer)..nonce).all(|earlier| {
                self.rival(&signer, earlier)
                    .is_some_and(|entry| entry.ready)
            });
            if let Some(entry) = self.entries.get_mut(&hash) {
                if ready && !entry.ready {
                    promoted.push(hash);
                }
                entry.ready = ready;
            }
        }
        promoted
    }

    /// All extrinsics, each account's by nonce.
    fn in_order(&self) -> Vec<H256> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by_key(|entry| (entry.signed.signer, entry.signed.nonce));
        entries.iter().map(|entry| entry.signed.hash).collect()
    }

    /// What a block may include, in order.
    pub(crate) fn ready(&self) -> Vec<Signed> {
        self.in_order()
            .iter()
            .map(|hash| &self.entries[hash])
            .filter(|entry| entry.ready)
            .map(|entry| entry.signed.clone())
            .collect()
    }

    pub(crate) fn is_ready(&self, hash: &H256) -> bool {
        self.entries.get(hash).is_some_and(|entry| entry.ready)
    }

    /// Everything in it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}
