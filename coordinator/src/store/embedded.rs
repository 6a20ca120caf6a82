//! The keyspace on this machine's disk.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase as _, TableDefinition};

use super::keyspace::Pair;
use super::{Batch, Keyspace, StoreError};

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// One file, one process: a redb database.
pub struct Embedded {
    path: PathBuf,
    database: Database,
}

impl Embedded {
    /// Opens the database at `path`, and creates it if there is none.
    ///
    /// # Errors
    /// If another process has it open, or it cannot be read or created.
    pub fn open(path: &Path) -> Result<Embedded, StoreError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
                path: path.to_owned(),
            },
            error => StoreError::Database {
                path: path.to_owned(),
                source: Box::new(error.into()),
            },
        })?;
        let embedded = Embedded {
            path: path.to_owned(),
            database,
        };
        // So that reading needs no case for a table that is not there yet.
        embedded.commit(Batch::default())?;
        Ok(embedded)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            source: Box::new(error.into()),
        }
    }
}

impl Keyspace for Embedded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = transaction
            .open_table(RECORDS)
            .map_err(|e| self.failed(e))?;
        let value = table.get(key).map_err(|e| self.failed(e))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = transaction
            .open_table(RECORDS)
            .map_err(|e| self.failed(e))?;
        let range = table.range(from..to).map_err(|e| self.failed(e))?;
        let mut pairs = Vec::new();
        for entry in range {
            let (key, value) = entry.map_err(|e| self.failed(e))?;
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        // A redb transaction is durable when `commit` returns.
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        {
            let mut table = transaction
                .open_table(RECORDS)
                .map_err(|e| self.failed(e))?;
            for (key, value) in batch.changes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()),
                    None => table.remove(key.as_slice()),
                }
                .map_err(|e| self.failed(e))?;
            }
        }
        transaction.commit().map_err(|e| self.failed(e))
    }
}
