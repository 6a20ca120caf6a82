//! Packed pages on disk, so that none is fetched twice by one machine.
//!
//! An entry's path names the manifest it was packed under (as a digest) and its page; its bytes
//! are a packed page's own encoding, which carries a digest of its content. So an entry is either
//! right or found out, and several processes may share a folder: entries appear whole, by rename.
//!
//! Architecture invariant: nothing depends on the cache but speed. Whatever goes wrong with it
//! after it was opened is a miss.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use ledger::{PackedPage, PageId};

use crate::metrics::Counter;

/// Entries in one folder, so that no folder grows past what file systems like.
const PAGES_PER_FOLDER: u64 = 4096;

const ENTRY_EXTENSION: &str = "page";

/// Where packed pages are kept, and how many bytes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder; made if it does not exist.
    pub folder: PathBuf,
    /// The most that the folder may hold. Beyond it the oldest entries go.
    pub max_bytes: u64,
}

/// The cache of one manifest's packed pages.
#[derive(Debug)]
pub(crate) struct PageCache {
    config: CacheConfig,
    /// The manifest's folder below the cache's.
    folder: PathBuf,
    sl: u32,
    /// Bytes in the cache's folder, as far as this process knows.
    bytes: Mutex<u64>,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) damaged: Counter,
    pub(crate) evictions: Counter,
    pub(crate) write_failures: Counter,
}

impl PageCache {
    /// Opens the cache of the manifest whose digest is `key`; writes a file to see that it can.
    pub(crate) fn open(config: CacheConfig, key: &str, sl: u32) -> io::Result<Self> {
        let folder = config.folder.join(key);
        fs::create_dir_all(&folder)?;
        tempfile::tempfile_in(&folder)?.write_all(b"writable")?;
        let cache = Self {
            bytes: Mutex::new(0),
            config,
            folder,
            sl,
            hits: Counter::default(),
            misses: Counter::default(),
            damaged: Counter::default(),
            evictions: Counter::default(),
            write_failures: Counter::default(),
        };
        cache.evict()?;
        Ok(cache)
    }

    /// A page, if it is here and whole. A damaged entry is removed.
    pub(crate) fn get(&self, page: PageId) -> Option<PackedPage> {
        let found = self.read(page);
        match &found {
            Some(_) => self.hits.add(1),
            None => self.misses.add(1),
        }
        found
    }

    fn read(&self, page: PageId) -> Option<PackedPage> {
        let path = self.path(page);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a cached page");
                return None;
            }
        };
        let problem = match PackedPage::decode(&bytes) {
            Ok(packed) if packed.page() == page && packed.sl() == self.sl => return Some(packed),
            Ok(packed) => format!("it holds {} packed to {}", packed.page(), packed.sl()),
            Err(error) => error.to_string(),
        };
        self.damaged.add(1);
        tracing::warn!(path = %path.display(), problem, "removing a damaged cache entry");
        // If it cannot be removed it will be replaced, or found out again.
        let _ = fs::remove_file(&path);
        None
    }

    /// Keeps a page. A failure is logged and counted, no more: the page is in memory anyway.
    pub(crate) fn put(&self, packed: &PackedPage) {
        if let Err(error) = self.write(packed) {
            self.write_failures.add(1);
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "cannot keep a packed page; is the disk full?");
        }
    }

    fn write(&self, packed: &PackedPage) -> io::Result<()> {
        let path = self.path(packed.page());
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let bytes = packed.encode();
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        // Not synced to disk: after a power cut, the digest tells what was lost.
        file.persist(&path).map_err(|error| error.error)?;
        let over_limit = {
            let mut held = self
                .bytes
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *held += bytes.len() as u64;
            *held > self.config.max_bytes
        };
        if over_limit { self.evict() } else { Ok(()) }
    }

    /// Counts what the folder holds and, if that is too much, removes the oldest entries until a
    /// tenth of the limit is free. Training reads the order forwards, so the oldest are spent.
    fn evict(&self) -> io::Result<()> {
        let mut held = self
            .bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut entries = Vec::new();
        list(&self.config.folder, &mut entries)?;
        *held = entries.iter().map(|entry| entry.bytes).sum();
        if *held <= self.config.max_bytes {
            return Ok(());
        }
        entries.sort_by(|one, other| (one.modified, &one.path).cmp(&(other.modified, &other.path)));
        let target = self.config.max_bytes - self.config.max_bytes / 10;
        for entry in entries {
            if *held <= target {
                break;
            }
            match fs::remove_file(&entry.path) {
                Ok(()) => self.evictions.add(1),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            *held = held.saturating_sub(entry.bytes);
        }
        Ok(())
    }

    fn path(&self, page: PageId) -> PathBuf {
        let folder = format!("{:06x}", page.0 / PAGES_PER_FOLDER);
        self.folder
            .join(folder)
            .join(format!("{}.{ENTRY_EXTENSION}", page.0))
    }
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

/// Every file below a folder that is a cache entry or was to become one.
fn list(folder: &Path, entries: &mut Vec<Entry>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed or renamed meanwhile by another process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let path = entry.path();
        if metadata.is_dir() {
            list(&path, entries)?;
        } else if is_ours(&path) {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(Entry {
                path,
                bytes: metadata.len(),
                modified,
            });
        }
    }
    Ok(())
}

/// A folder named by mistake may hold other people's files: those are never removed.
fn is_ours(path: &Path) -> bool {
    let is_entry = path
        .extension()
        .is_some_and(|extension| extension == ENTRY_EXTENSION);
    let is_unfinished = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(".tmp"));
    is_entry || is_unfinished
}
