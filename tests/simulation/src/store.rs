//! What survives: a keyspace in memory with fenced commits, and the election.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coordinator::records::Record;
use coordinator::store::{Batch, Keyspace, Pair, RunStore, StoreError};

/// The map and who may write it, shared by everyone who has it open.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The fencing token of the present leader.
    fence: u64,
    /// Tokens of the writers, in the order of their writes, without repeats.
    pub(crate) writers: Vec<u64>,
}

/// A keyspace as one leader sees it: its commits count only while it leads.
pub(crate) struct Fenced {
    cells: Arc<Mutex<Cells>>,
    token: u64,
    /// Whether commits compare the token, as they must.
    compares: bool,
}

fn lock(cells: &Mutex<Cells>) -> MutexGuard<'_, Cells> {
    // Nothing panics half-way through a change.
    cells.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyspace for Fenced {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.cells).map.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        let cells = lock(&self.cells);
        let found = cells.map.range(from.to_vec()..to.to_vec());
        Ok(found.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut cells = lock(&self.cells);
        if self.compares && cells.fence != self.token {
            return Err(StoreError::Deposed {
                why: "another coordinator leads".to_owned(),
            });
        }
        if cells.writers.last() != Some(&self.token) {
            cells.writers.push(self.token);
        }
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => cells.map.insert(key, value),
                None => cells.map.remove(&key),
            };
        }
        Ok(())
    }
}

/// A batch on its way to the store.
pub(crate) struct InFlight {
    pub(crate) coordinator: usize,
    pub(crate) life: u64,
    pub(crate) store: RunStore,
    pub(crate) records: Vec<Record>,
}

/// The store of a run, as its coordinators share it.
pub(crate) struct Store {
    cells: Arc<Mutex<Cells>>,
    /// Whether commits are fenced, as they must be.
    pub(crate) fences: bool,
    /// Whether it cannot be reached at all.
    pub(crate) is_down: bool,
    /// How much longer a commit takes than usual, in milliseconds.
    pub(crate) slowness: u64,
    /// Who leads: coordinator, its life, and until when unless it renews.
    pub(crate) leader: Option<(usize, u64)>,
    pub(crate) lease_until: u64,
    pub(crate) in_flight: BTreeMap<u64, InFlight>,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            cells: Arc::default(),
            fences: true,
            is_down: false,
            slowness: 0,
            leader: None,
            lease_until: 0,
            in_flight: BTreeMap::new(),
        }
    }

    /// Makes someone the leader; the store as that one sees it.
    pub(crate) fn elect(&mut self, coordinator: usize, life: u64, until: u64) -> (u64, RunStore) {
        self.leader = Some((coordinator, life));
        self.lease_until = until;
        let token = {
            let mut cells = lock(&self.cells);
            cells.fence += 1;
            cells.fence
        };
        (token, self.opened(token))
    }

    fn opened(&self, token: u64) -> RunStore {
        RunStore::new(Fenced {
            cells: self.cells.clone(),
            token,
            compares: self.fences,
        })
    }

    /// Whether every leader's writes came before those of the next.
    pub(crate) fn has_one_writer_at_a_time(&self) -> bool {
        lock(&self.cells).writers.is_sorted()
    }

    /// The store as a reader sees it, without leave to write.
    pub(crate) fn reader(&self) -> RunStore {
        self.opened(0)
    }
}
