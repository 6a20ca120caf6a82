//! What the Hub remembers: repositories, their commits, and small files.
//!
//! Everything is in memory and on disk alike. A change is made to a copy of the
//! repository, the copy is written to disk whole, and only then do readers see
//! it: a commit is visible entirely or not at all, also to a Hub that was killed
//! and started again.
//!
//! ```text
//! STATE/repositories/NAMESPACE/NAME.json   settings and commits, oldest first
//! STATE/objects/ID                         contents of files kept in git
//! STATE/lfs/SHA256                         large files kept outside the CAS
//! STATE/cas/                               the CAS server's own storage
//! ```
//!
//! Architecture invariant: nothing here knows HTTP, tokens or faults.

mod git;
mod repository;
mod time;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub(crate) use git::{blob_id, lfs_pointer, tree_ids};
pub(crate) use repository::Repository;
pub use repository::{CommitInfo, FileEntry, Gate, LfsObject};
pub(crate) use time::{now_ms, rfc3339};

/// All repositories, by `namespace/name`.
pub(crate) struct Store {
    dir: PathBuf,
    repositories: Mutex<BTreeMap<String, Repository>>,
}

impl Store {
    /// Opens the store in `dir`, which may be empty.
    pub(crate) fn open(dir: &Path) -> io::Result<Store> {
        for folder in ["repositories", "objects", "lfs"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let mut repositories = BTreeMap::new();
        for namespace in fs::read_dir(dir.join("repositories"))? {
            let namespace = namespace?;
            for file in fs::read_dir(namespace.path())? {
                let path = file?.path();
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let repository = serde_json::from_slice(&fs::read(&path)?).map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{} is damaged: {error}", path.display()),
                    )
                })?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                repositories.insert(
                    format!("{}/{name}", namespace.file_name().to_string_lossy()),
                    repository,
                );
            }
        }
        Ok(Store {
            dir: dir.to_owned(),
            repositories: Mutex::new(repositories),
        })
    }

    /// A copy of a repository as it is now.
    pub(crate) fn get(&self, id: &str) -> Option<Repository> {
        self.lock().get(id).cloned()
    }

    /// Whether a repository lies under this namespace.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.lock().keys().any(|id| {
            id.split_once('/')
                .is_some_and(|(other, _)| other == namespace)
        })
    }

    /// Adds a repository; false if there is one of this name already.
    pub(crate) fn create(&self, id: &str, repository: Repository) -> io::Result<bool> {
        let mut repositories = self.lock();
        if repositories.contains_key(id) {
            return Ok(false);
        }
        self.write(id, &repository)?;
        repositories.insert(id.to_owned(), repository);
        Ok(true)
    }

    /// Changes a repository, for readers at once and durably. Nothing changes if
    /// `change` fails. None if there is no such repository.
    pub(crate) fn update<T, E: From<io::Error>>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Repository) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let mut repositories = self.lock();
        let current = repositories.get_mut(id)?;
        let mut changed = current.clone();
        Some(change(&mut changed).and_then(|value| {
            self.write(id, &changed)?;
            *current = changed;
            Ok(value)
        }))
    }

    /// Keeps the content of a small file and says how a commit names it.
    pub(crate) fn put_blob(&self, content: &[u8]) -> io::Result<FileEntry> {
        let oid = blob_id(content);
        write_once(&self.dir.join("objects").join(&oid), content)?;
        Ok(FileEntry {
            oid,
            bytes: content.len() as u64,
            lfs: None,
        })
    }

    /// Keeps a large file outside the CAS, as the Hub did before Xet.
    pub(crate) fn put_lfs(&self, sha256: &str, content: &[u8]) -> io::Result<FileEntry> {
        write_once(&self.dir.join("lfs").join(sha256), content)?;
        Ok(lfs_entry(sha256, content.len() as u64, None))
    }

    /// The length of a large file that is kept outside the CAS.
    pub(crate) fn lfs_bytes(&self, sha256: &str) -> Option<u64> {
        fs::metadata(self.dir.join("lfs").join(sha256))
            .ok()
            .map(|data| data.len())
    }

    /// The content of an entry that is not in the CAS.
    pub(crate) fn read(&self, entry: &FileEntry) -> io::Result<Bytes> {
        let path = match &entry.lfs {
            Some(lfs) => self.dir.join("lfs").join(&lfs.sha256),
            None => self.dir.join("objects").join(&entry.oid),
        };
        fs::read(path).map(Bytes::from)
    }

    fn write(&self, id: &str, repository: &Repository) -> io::Result<()> {
        let path = self.dir.join("repositories").join(format!("{id}.json"));
        replace(&path, &serde_json::to_vec_pretty(repository)?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Repository>> {
        // A repository is replaced whole, so a panic elsewhere leaves nothing half done.
        self.repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a large file.
pub(crate) fn lfs_entry(sha256: &str, bytes: u64, xet_hash: Option<String>) -> FileEntry {
    FileEntry {
        oid: blob_id(lfs_pointer(sha256, bytes).as_bytes()),
        bytes,
        lfs: Some(LfsObject {
            sha256: sha256.to_owned(),
            xet_hash,
        }),
    }
}

/// Writes a file whose name says what it holds.
fn write_once(path: &Path, content: &[u8]) -> io::Result<()> {
    if path.exists() {
        Ok(())
    } else {
        replace(path, content)
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_opened_again_has_all_commits() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let entry = store.put_blob(b"one").unwrap();
        let files = BTreeMap::from([("a".to_owned(), entry.clone())]);
        assert!(
            store
                .create("ns/model", Repository::new(true, "ns", BTreeMap::new()))
                .unwrap()
        );
        assert!(
            !store
                .create("ns/model", Repository::new(true, "ns", BTreeMap::new()))
                .unwrap()
        );
        let made = store
            .update("ns/model", |repository| {
                Ok::<_, io::Error>(repository.commit("ns", "two", "", files))
            })
            .unwrap()
            .unwrap();

        let again = Store::open(dir.path()).unwrap();
        let repository = again.get("ns/model").unwrap();
        assert!(repository.private);
        assert_eq!(repository.commits.len(), 2);
        assert_eq!(repository.head(), Some(&made));
        assert_eq!(
            made.parent.as_deref(),
            Some(repository.commits[0].id.as_str())
        );
        assert_eq!(again.read(&entry).unwrap(), "one");
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .create("ns/model", Repository::new(false, "ns", BTreeMap::new()))
            .unwrap();
        let failed = store.update("ns/model", |repository| {
            repository.commit("ns", "never", "", BTreeMap::new());
            Err::<(), _>(io::Error::other("refused"))
        });
        assert!(failed.unwrap().is_err());
        assert_eq!(store.get("ns/model").unwrap().commits.len(), 1);
    }
}
