//! Making blocks: the first ones, the next one, and forks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use subxt::ext::scale_value::Value;
use subxt::utils::H256;

use super::block::SLOT_MS;
use super::faults::{NodeFaults, Returning};
use super::node::{Node, Rules};
use super::pool::Pool;
use super::{Block, Header, Notice, State, Status};
use crate::StartError;
use crate::runtime::{Runtime, Signed};

impl Node {
    /// A chain whose newest block has number `first` and is final. Besides it there is
    /// block 0; what would lie between them has been pruned.
    pub(crate) fn start(
        rules: Rules,
        first: u32,
        timestamp_ms: u64,
        set_up: impl FnOnce(&Runtime, &mut State),
    ) -> Result<Self, StartError> {
        let runtime = Arc::new(Runtime::new(rules.quota, None)?);
        let mut state = State::default();
        set_up(&runtime, &mut state);
        let spec_version = runtime.version().spec_version;

        let age = u64::from(first) * SLOT_MS;
        let genesis_ms = timestamp_ms.saturating_sub(age);
        let header = Header::new(H256::zero(), 0, &[], genesis_ms, rules.chain_id);
        let genesis = header.hash();
        let mut node = Self {
            rules,
            blocks: HashMap::new(),
            numbers: BTreeMap::new(),
            best: genesis,
            finalized: genesis,
            genesis,
            pool: Pool::default(),
            faults: NodeFaults::default(),
            notices: Vec::new(),
            salt: 0,
            runtimes: HashMap::from([(spec_version, Arc::clone(&runtime))]),
        };
        node.adopt(header, Vec::new(), state.clone(), &runtime, genesis_ms);
        if first > 0 {
            let pruned = Header::new(genesis, first - 1, &[], timestamp_ms, 0);
            let header = Header::new(pruned.hash(), first, &[], timestamp_ms, 0);
            node.best = header.hash();
            node.finalized = node.best;
            node.adopt(header, Vec::new(), state, &runtime, timestamp_ms);
        }
        Ok(node)
    }

    /// Takes a block without extrinsics as the newest of the best chain.
    fn adopt(
        &mut self,
        header: Header,
        extrinsics: Vec<Vec<u8>>,
        mut state: State,
        runtime: &Arc<Runtime>,
        timestamp_ms: u64,
    ) {
        write_system(runtime, &mut state, &header, Vec::new(), timestamp_ms);
        let hash = header.hash();
        self.numbers.insert(header.number, hash);
        let block = Block {
            hash,
            header,
            extrinsics,
            extrinsic_hashes: Vec::new(),
            results: Vec::new(),
            state: Some(state),
            runtime: Arc::clone(runtime),
            timestamp_ms,
        };
        self.blocks.insert(hash, block);
    }

    /// Makes the next block of the best chain from what the pool has ready.
    pub(crate) fn author(&mut self, timestamp_ms: u64) {
        let candidates = if self.faults.inclusion_withheld {
            Vec::new()
        } else {
            self.pool.ready()
        };
        let block = self.build(self.best, timestamp_ms, &candidates);
        self.make_best(block, &[]);
        self.advance_finality();
    }

    /// Builds a block on `parent` and imports it, but not as the best.
    fn build(&mut self, parent: H256, timestamp_ms: u64, candidates: &[Signed]) -> H256 {
        let parent_block = &self.blocks[&parent];
        let runtime = Arc::clone(&parent_block.runtime);
        let number = parent_block.header.number + 1;
        let timestamp_ms = timestamp_ms.max(parent_block.timestamp_ms + 1);
        let mut state = parent_block
            .state
            .as_ref()
            .map(State::following)
            .unwrap_or_default();

        let mut extrinsics = vec![runtime.timestamp_extrinsic(timestamp_ms)];
        let mut results = vec![Ok(())];
        let mut records = runtime.inherent_records(0);
        for signed in candidates {
            let parent_block = &self.blocks[&parent];
            let verdict = self.in_situation(parent_block, |situation| {
                runtime.validate(&state, signed, &situation)
            });
            if !verdict.is_ok_and(|valid| valid.missing_nonces == 0) {
                continue;
            }
            let index = u32::try_from(extrinsics.len()).unwrap_or(u32::MAX);
            let failure = self.faults.failures.pop_front();
            let fee = self.rules.fee;
            let executed =
                runtime.execute(&mut state, number, index, signed, fee, failure.as_ref());
            extrinsics.push(signed.bytes.clone());
            let result = executed.result;
            results.push(result.map_err(|error| format!("{}.{}", error.pallet, error.error)));
            records.extend(executed.records);
        }

        self.salt += 1;
        let header = Header::new(parent, number, &extrinsics, timestamp_ms, self.salt);
        write_system(&runtime, &mut state, &header, records, timestamp_ms);
        let next_runtime = self.faults.upgrade.take().unwrap_or(Arc::clone(&runtime));
        let changes_runtime = !Arc::ptr_eq(&next_runtime, &runtime);
        let hash = header.hash();
        let extrinsic_hashes = extrinsics
            .iter()
            .map(|bytes| H256(sp_crypto_hashing::blake2_256(bytes)))
            .collect();
        let block = Block {
            hash,
            header,
            extrinsics,
            extrinsic_hashes,
            results,
            state: Some(state),
            runtime: next_runtime,
            timestamp_ms,
        };
        self.blocks.insert(hash, block);
        self.notices.push(Notice::NewBlock {
            hash,
            parent,
            changes_runtime,
        });
        hash
    }

    /// Makes a block the best one, which may turn away from others.
    fn make_best(&mut self, hash: H256, returned: &[Signed]) {
        let mut enacted = Vec::new();
        let mut cursor = hash;
        while self.hash_at(self.blocks[&cursor].header.number) != Some(cursor) {
            enacted.push(cursor);
            cursor = self.blocks[&cursor].header.parent;
        }
        enacted.reverse();
        let fork = self.blocks[&cursor].header.number;
        let retracted: Vec<H256> = self.numbers.split_off(&(fork + 1)).into_values().collect();
        for hash in &enacted {
            self.numbers.insert(self.blocks[hash].header.number, *hash);
        }
        self.best = hash;
        self.notices.push(Notice::Best { hash });
        for block in retracted {
            for extrinsic in self.blocks[&block].extrinsic_hashes.clone() {
                self.tell(extrinsic, Status::Retracted { block });
            }
        }
        for block in enacted {
            let extrinsics = self.blocks[&block].extrinsic_hashes.clone();
            for (index, extrinsic) in extrinsics.into_iter().enumerate() {
                self.tell(extrinsic, Status::InBlock { block, index });
            }
        }
        self.maintain_pool(returned);
    }

    /// Replaces the newest `depth` blocks by one more of a fork. `None` if so many are
    /// not open any more.
    pub(crate) fn reorganise(&mut self, depth: u32, returning: Returning) -> Option<()> {
        let best = self.best().header.number;
        let open = best - self.finalized().header.number;
        if depth == 0 || depth > open {
            return None;
        }
        let retracted: Vec<Signed> = self
            .numbers
            .range(best - depth + 1..)
            .flat_map(|(_, hash)| {
                let block = &self.blocks[hash];
                block
                    .extrinsics
                    .iter()
                    .filter_map(|bytes| block.runtime.decode_signed(bytes))
            })
            .collect();
        let candidates: &[Signed] = match returning {
            Returning::AtOnce => &retracted,
            Returning::NextBlock | Returning::Never => &[],
        };
        let timestamp_ms = self.best().timestamp_ms;
        let mut parent = self.hash_at(best - depth)?;
        for place in 0..=depth {
            let candidates = if place == 0 { candidates } else { &[] };
            parent = self.build(parent, timestamp_ms, candidates);
        }
        let returned: &[Signed] = match returning {
            Returning::NextBlock => &retracted,
            Returning::AtOnce | Returning::Never => &[],
        };
        self.make_best(parent, returned);
        self.advance_finality();
        Some(())
    }

    /// Rewrites the state of the newest final block and of those after it, as if it
    /// had been so when they were made.
    pub(crate) fn edit<T>(&mut self, mut work: impl FnMut(&Runtime, &mut State) -> T) -> Vec<T> {
        let finalized = self.finalized().header.number;
        self.blocks
            .values_mut()
            .filter(|block| block.header.number >= finalized)
            .filter_map(|block| {
                let state = block.state.as_mut()?;
                Some(work(&block.runtime, state))
            })
            .collect()
    }
}

/// Writes what pallets System and Timestamp write in every block.
fn write_system(
    runtime: &Runtime,
    state: &mut State,
    header: &Header,
    records: Vec<Value>,
    timestamp_ms: u64,
) {
    let count = Value::u128(records.len() as u128);
    let entries = [
        ("System", "Number", Value::u128(header.number.into())),
        ("System", "ParentHash", Value::from_bytes(header.parent.0)),
        ("System", "EventCount", count),
        ("System", "Events", Value::unnamed_composite(records)),
        ("Timestamp", "Now", Value::u128(timestamp_ms.into())),
    ];
    for (pallet, entry, value) in entries {
        runtime.write_for_block(state, pallet, entry, &value);
    }
}
