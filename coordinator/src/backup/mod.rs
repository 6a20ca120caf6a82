//! A run's records in a file, from any store into any.
//!
//! The mental model is a photograph: every pair of a keyspace as of one moment,
//! with a line on where and when. Restoring puts the pairs into a store in one
//! batch, so an interrupted restore has changed nothing; a store of the other kind
//! will do, which is how a run moves.
//!
//! ```text
//! peregrine-backup\n
//! {"format":1,"run_id":…,…}\n       what it is, for people and for checks
//! for each pair, in key order:      key and value, each after its length (u32 LE)
//! 32 bytes                          SHA-256 of everything before
//! ```
//!
//! Packed pages and checkpoints go with them as files ([`Placing`]). A restore gives
//! them their places before it writes records, so that whoever finds the records
//! finds what they name; and takes them back if the records cannot be written.
//!
//! Architecture invariant: the records are copied as they are stored. What they
//! mean is the business of those who open the store.

mod files;
mod placing;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use layout::LayoutError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub use files::Tree;
pub use placing::{Copied, Placing, Purpose};

use crate::store::{Batch, Frozen, Keyspace, RunStore, StoreError};

/// The first line.
const MAGIC: &[u8] = b"peregrine-backup\n";
/// Raised with every change that an older version would misunderstand.
const FORMAT: u32 = 1;
/// Bytes of the checksum.
const CHECKSUM: usize = 32;

/// Records as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What they are.
    pub about: About,
    /// The records.
    pub records: Frozen,
}

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The file's format.
    format: u32,
    /// The software that wrote it.
    pub created_by: String,
    /// When, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The run.
    pub run_id: String,
    /// Pairs in it.
    pub records: u64,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to back up.
    #[error("there is no run in the store")]
    NoRun,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backup cannot be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The file is no backup, or not the one that was written.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store has something in it.
    #[error(
        "the store holds {records} records{} already: restore into an empty one, or replace them \
         with --force", of_run(run_id.as_deref())
    )]
    NotEmpty {
        /// Pairs in it.
        records: usize,
        /// The run that they are of.
        run_id: Option<String>,
    },
    /// A checkpoint that the records name is not on disk.
    #[error(
        "checkpoint {id} is in the records and not in {}: if the coordinator is running, it was \
         replaced meanwhile, so make the backup again", folder.display()
    )]
    NoCheckpoint {
        /// The checkpoint.
        id: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A checkpoint that the records name is not in the backup.
    #[error(
        "checkpoint {id} is in the backup's records and not whole in {}: use another copy of the \
         backup, or restore the records alone with --from {}", folder.display(), records.display()
    )]
    Incomplete {
        /// The checkpoint.
        id: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// The records.
        records: PathBuf,
    },
    /// Where a file belongs is another.
    #[error("{} is there already with other content: {advice}", path.display())]
    InTheWay {
        /// The file that is there.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// The records may be there or not, and the files that they name are.
    #[error("the files are in place, and {source}; then restore again with --force")]
    Uncertain {
        /// What is known of the records.
        source: StoreError,
    },
    /// Somebody asked to stop.
    #[error("interrupted before it was done")]
    Interrupted,
}

fn of_run(run_id: Option<&str>) -> String {
    run_id.map_or_else(String::new, |run_id| format!(" of {run_id}"))
}

impl BackupError {
    fn io(path: &Path, source: io::Error) -> BackupError {
        BackupError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether a file or folder is not there.
    fn is_absence(&self) -> bool {
        matches!(self, BackupError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Backup {
    /// Everything in a keyspace, as of one moment.
    ///
    /// # Errors
    /// If it cannot be read, or there is no run in it.
    pub fn of(keyspace: &impl Keyspace) -> Result<Backup, BackupError> {
        let records = Frozen::of(keyspace)?;
        let run = RunStore::new(records.clone()).run()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Backup {
            about: About {
                format: FORMAT,
                created_by: env!("CARGO_PKG_VERSION").to_owned(),
                created_unix_ms: u64::try_from(now.unwrap_or_default().as_millis())
                    .unwrap_or(u64::MAX),
                run_id: run.ok_or(BackupError::NoRun)?.config.run_id,
                records: records.pairs().len() as u64,
            },
            records,
        })
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BackupError> {
        layout::replace_file(path, |file| {
            let mut file = Hashing::new(file);
            file.write_all(MAGIC)?;
            serde_json::to_writer(&mut file, &self.about)?;
            file.write_all(b"\n")?;
            for (key, value) in self.records.pairs() {
                for piece in [key, value] {
                    let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
                    file.write_all(&length.to_le_bytes())?;
                    file.write_all(piece)?;
                }
            }
            let Hashing { inner, hasher } = file;
            inner.write_all(&hasher.finalize())
        })?;
        Ok(())
    }

    /// Reads a file, and makes sure that it is what was written.
    ///
    /// # Errors
    /// If it cannot be read, is no backup, is damaged, or was written by a later
    /// version.
    pub fn read(path: &Path) -> Result<Backup, BackupError> {
        let bytes = fs::read(path).map_err(|source| BackupError::io(path, source))?;
        decode(&bytes).map_err(|reason| BackupError::Broken {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// What a store holds that the records are to replace, which nobody else may
    /// write until then.
    ///
    /// # Errors
    /// If it holds something and `force` is not set; if it cannot be read.
    pub fn room_in(&self, store: &impl Keyspace, force: bool) -> Result<Frozen, BackupError> {
        let there = Frozen::of(store)?;
        let records = there.pairs().len();
        if records > 0 && !force {
            // Whatever is there may be no run that this version understands.
            let run = RunStore::new(there).run().unwrap_or_default();
            return Err(BackupError::NotEmpty {
                records,
                run_id: run.map(|run| run.config.run_id),
            });
        }
        Ok(there)
    }

    /// Puts the records into a store instead of what there is, in one batch.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn replace(&self, there: &Frozen, store: &impl Keyspace) -> Result<(), BackupError> {
        let mut batch = Batch::default();
        for (key, _) in there.pairs() {
            batch.delete(key.clone());
        }
        for (key, value) in self.records.pairs() {
            batch.put(key.clone(), value.clone());
        }
        match store.commit(batch) {
            Err(source @ StoreError::Uncertain { .. }) => Err(BackupError::Uncertain { source }),
            committed => Ok(committed?),
        }
    }

    /// Restores everything: gives files their places, and then puts the records
    /// into a store that nobody else may write. Returns what there is now of each
    /// tree, and how many records were replaced.
    ///
    /// # Errors
    /// As [`Backup::room_in`], [`Placing::prepare`] and [`Backup::replace`]. Store
    /// and folders are as they were then, but for [`BackupError::Uncertain`].
    pub fn restore(
        &self,
        trees: &[Tree],
        store: &impl Keyspace,
        force: bool,
        stop: &CancellationToken,
    ) -> Result<(Vec<Copied>, usize), BackupError> {
        let there = self.room_in(store, force)?;
        let (mut placing, copied) = Placing::prepare(trees, Purpose::Restore { force }, stop)?;
        placing.place()?;
        // From here on it takes no longer than a commit, and a commit that was
        // begun cannot be called back.
        files::go_on(stop)?;
        match self.replace(&there, store) {
            Err(error @ BackupError::Uncertain { .. }) => {
                placing.keep();
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => {
                placing.keep();
                Ok((copied, there.pairs().len()))
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Backup, &'static str> {
    const DAMAGED: &str = "the backup is damaged: its checksum is another; use another copy";
    let rest = bytes.strip_prefix(MAGIC).ok_or("this is no backup")?;
    let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(DAMAGED)?;
    let is_whole = Sha256::digest(covered).as_slice() == checksum.as_slice();
    let line = rest.iter().position(|byte| *byte == b'\n').ok_or(DAMAGED)?;
    let (line, rest) = rest.split_at(line);
    // Before the checksum, whose place a later version may have moved.
    let about = serde_json::from_slice::<Format>(line).map_err(|_| DAMAGED)?;
    if about.format > FORMAT {
        return Err("the backup was written by a newer version: restore it with that one");
    }
    if !is_whole {
        return Err(DAMAGED);
    }
    let about: About = serde_json::from_slice(line).map_err(|_| DAMAGED)?;
    let end = rest.len() - CHECKSUM;
    let mut rest = rest.get(1..end).ok_or(DAMAGED)?;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let key = take(&mut rest).ok_or(DAMAGED)?;
        let value = take(&mut rest).ok_or(DAMAGED)?;
        pairs.push((key, value));
    }
    if pairs.len() as u64 != about.records {
        return Err(DAMAGED);
    }
    Ok(Backup {
        about,
        records: Frozen::from(pairs),
    })
}

/// What every version's second line says.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, after) = rest.split_first_chunk()?;
    let (piece, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(piece.to_vec())
}

/// Hashes what passes through.
struct Hashing<'a> {
    inner: &'a mut dyn Write,
    hasher: Sha256,
}

impl<'a> Hashing<'a> {
    fn new(inner: &'a mut dyn Write) -> Hashing<'a> {
        Hashing {
            inner,
            hasher: Sha256::new(),
        }
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
