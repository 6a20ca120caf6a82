//! What survives the coordinator's process.
//!
//! The mental model: a [`Keyspace`] is a sorted map of bytes with atomic,
//! durable batches: [`Embedded`] is one in a file, and [`Etcd`] gives others, to
//! readers and to the one that leads. [`RunStore`] gives it the run's words: it writes [`Record`]s
//! and reads the [`History`](crate::machine::History) that a state machine continues from.
//!
//! Architecture invariant: a batch is durable as a whole or not at all, and
//! [`RunStore::commit`] returns only when it is.
//!
//! Architecture invariant: nothing is decided here. What is best, latest or on
//! the lineage is derived from the records by those who read them.

mod embedded;
mod error;
mod etcd;
mod events;
mod frozen;
mod history;
mod holds;
mod keys;
mod keyspace;
mod rows;
mod run_record;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use ledger::{Cursor, GenerationRecord, PageRow, Slot};
use prost::Message as _;
use proto::v1;
use serde::{Deserialize, Serialize};

pub use embedded::Embedded;
pub use error::StoreError;
pub use etcd::{
    Etcd, EtcdConfig, EtcdReader, EtcdUrl, FencedEtcd, LeaderInfo, Leadership, StoreUrl,
    StoreUrlError,
};
pub use frozen::Frozen;
pub use keyspace::{Batch, Keyspace, Pair};
pub use run_record::RunRecord;

use crate::records::{Checkpoint, CheckpointId, Evaluation, KeptGeneration, Record, Reported};
use keys::Key;

/// A run's durable facts, over any keyspace.
#[derive(Clone)]
pub struct RunStore {
    keyspace: Arc<dyn Keyspace>,
}

/// A generation as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredGeneration {
    #[serde(flatten)]
    record: GenerationRecord,
    #[serde(default)]
    instances: Vec<String>,
    #[serde(default)]
    lease_ms: u64,
    reason: String,
    ended: bool,
}

impl RunStore {
    /// The run in `keyspace`.
    pub fn new(keyspace: impl Keyspace) -> RunStore {
        RunStore {
            keyspace: Arc::new(keyspace),
        }
    }

    /// What defines the run; `None` if there is none yet.
    ///
    /// # Errors
    /// If the store cannot be read, or was written by a newer version.
    pub fn run(&self) -> Result<Option<RunRecord>, StoreError> {
        let Some(bytes) = self.keyspace.get(&Key::Run.encode())? else {
            return Ok(None);
        };
        RunRecord::decode(&bytes).map(Some)
    }

    /// Writes what defines the run, and checkpoint zero if it starts from
    /// loaded weights.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn create_run(
        &self,
        run: &RunRecord,
        initial: Option<&Checkpoint>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put(Key::Run.encode(), run.encode()?);
        if let Some(checkpoint) = initial {
            put_checkpoint(&mut batch, checkpoint);
        }
        self.keyspace.commit(batch)
    }

    /// Makes records durable, all or none.
    ///
    /// # Errors
    /// If it cannot.
    pub fn commit(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for record in records {
            write(&mut batch, record)?;
        }
        self.keyspace.commit(batch)
    }

    /// The row of a slot.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn row(&self, slot: Slot) -> Result<Option<PageRow>, StoreError> {
        let key = Key::Row(slot).encode();
        let Some(bytes) = self.keyspace.get(&key)? else {
            return Ok(None);
        };
        let (_, row) = decode_row(&bytes)?;
        Ok(Some(row))
    }

    /// Every row, the evaluation's first, then the training order's.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn rows(&self) -> Result<Vec<(Slot, PageRow)>, StoreError> {
        let (from, to) = keys::rows();
        let stored = self.keyspace.scan(&from, &to)?;
        stored.iter().map(|(_, bytes)| decode_row(bytes)).collect()
    }

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn generations(&self) -> Result<Vec<KeptGeneration>, StoreError> {
        let (from, to) = keys::generations();
        let stored = self.keyspace.scan(&from, &to)?;
        let decode = |bytes: &[u8]| {
            let stored: StoredGeneration = serde_json::from_slice(bytes)
                .map_err(|error| StoreError::corrupt("generation", error))?;
            Ok(KeptGeneration {
                record: stored.record,
                instances: stored.instances,
                lease_ms: stored.lease_ms,
                reason: stored.reason,
                ended: stored.ended,
            })
        };
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    /// The steps that a generation reported, from `first` on and before `end`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn steps(
        &self,
        generation: u64,
        first: u64,
        end: u64,
    ) -> Result<Vec<Reported>, StoreError> {
        if first >= end {
            return Ok(Vec::new());
        }
        let from = Key::Step {
            generation,
            number: first,
        };
        let to = Key::Step {
            generation,
            number: end,
        };
        let stored = self.keyspace.scan(&from.encode(), &to.encode())?;
        let decode = |bytes: &[u8]| {
            let wire: v1::StepReport = decode_wire("step", bytes)?;
            Reported::try_from(&wire).map_err(|error| StoreError::corrupt("step", error))
        };
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    /// Evaluations with the generations that made them, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn evaluations(&self) -> Result<Vec<(u64, Evaluation)>, StoreError> {
        let (from, to) = keys::evaluations();
        let stored = self.keyspace.scan(&from, &to)?;
        let decode = |(key, bytes): &(Vec<u8>, Vec<u8>)| {
            let generation = keys::evaluation_generation(key)
                .ok_or_else(|| StoreError::corrupt("evaluation", "its key is cut short"))?;
            let wire: v1::Evaluation = decode_wire("evaluation", bytes)?;
            let evaluation = Evaluation::try_from(wire)
                .map_err(|error| StoreError::corrupt("evaluation", error))?;
            Ok((generation, evaluation))
        };
        stored.iter().map(decode).collect()
    }

    /// The checkpoints that are kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let (from, to) = keys::checkpoints();
        let stored = self.keyspace.scan(&from, &to)?;
        let decode = |bytes: &[u8]| {
            let wire: v1::CheckpointManifest = decode_wire("checkpoint", bytes)?;
            Checkpoint::try_from(wire).map_err(|error| StoreError::corrupt("checkpoint", error))
        };
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    /// Takes a checkpoint out of the records: its files are gone or broken.
    ///
    /// # Errors
    /// If that cannot be made durable.
    pub fn forget_checkpoint(&self, id: &CheckpointId) -> Result<(), StoreError> {
        self.commit(&[Record::CheckpointForgotten(id.clone())])
    }

    fn term(&self) -> Result<u64, StoreError> {
        let Some(bytes) = self.keyspace.get(&Key::Term.encode())? else {
            return Ok(0);
        };
        let bytes = <[u8; 8]>::try_from(bytes.as_slice())
            .map_err(|_| StoreError::corrupt("term", "it is not 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Where the run ended, if it did.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn complete(&self) -> Result<Option<Cursor>, StoreError> {
        let Some(bytes) = self.keyspace.get(&Key::Complete.encode())? else {
            return Ok(None);
        };
        let wire: v1::Cursor = decode_wire("end of the run", &bytes)?;
        let cursor =
            Cursor::try_from(wire).map_err(|error| StoreError::corrupt("end of the run", error))?;
        Ok(Some(cursor))
    }
}

fn write(batch: &mut Batch, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Term(term) => batch.put(Key::Term.encode(), term.to_be_bytes().to_vec()),
        Record::Generation(kept) => {
            let stored = StoredGeneration {
                record: kept.record.clone(),
                instances: kept.instances.clone(),
                lease_ms: kept.lease_ms,
                reason: kept.reason.clone(),
                ended: kept.ended,
            };
            let bytes = serde_json::to_vec(&stored)
                .map_err(|error| StoreError::corrupt("generation", error))?;
            batch.put(Key::Generation(kept.record.number).encode(), bytes);
        }
        Record::Row(slot, row) => {
            let wire = v1::PageRow::from((*slot, row));
            batch.put(Key::Row(*slot).encode(), wire.encode_to_vec());
        }
        Record::Step(reported) => {
            let key = Key::Step {
                generation: reported.report.generation,
                number: reported.report.step.number,
            };
            batch.put(key.encode(), v1::StepReport::from(reported).encode_to_vec());
        }
        Record::Evaluation(generation, evaluation) => {
            let key = Key::Evaluation {
                generation: *generation,
                step: evaluation.cursor.step,
                epoch: evaluation.cursor.epoch,
            };
            batch.put(
                key.encode(),
                v1::Evaluation::from(evaluation).encode_to_vec(),
            );
        }
        Record::Checkpoint(checkpoint) => put_checkpoint(batch, checkpoint),
        Record::CheckpointForgotten(id) => batch.delete(Key::Checkpoint(id).encode()),
        Record::Complete(cursor) => {
            let wire = v1::Cursor::from(*cursor);
            batch.put(Key::Complete.encode(), wire.encode_to_vec());
        }
    }
    Ok(())
}

fn put_checkpoint(batch: &mut Batch, checkpoint: &Checkpoint) {
    // The run is the store's; manifests need not repeat its name.
    let wire = crate::wire::manifest("", checkpoint);
    batch.put(
        Key::Checkpoint(&checkpoint.id).encode(),
        wire.encode_to_vec(),
    );
}

fn decode_row(bytes: &[u8]) -> Result<(Slot, PageRow), StoreError> {
    let wire: v1::PageRow = decode_wire("page row", bytes)?;
    wire.try_into()
        .map_err(|error| StoreError::corrupt("page row", error))
}

fn decode_wire<M: prost::Message + Default>(
    what: &'static str,
    bytes: &[u8],
) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|error| StoreError::corrupt(what, error))
}
