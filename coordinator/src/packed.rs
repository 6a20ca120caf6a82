//! The packed pages on the coordinator's disk, by the digest of their content.
//!
//! Architecture invariant: a page that can be read is whole. Files are written
//! under another name, flushed and renamed, and what is read back is compared
//! with its digest.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ledger::{PackedPage, PackedPageError, PageDigest};

/// The folder of packed pages.
#[derive(Clone, Debug)]
pub struct PackedPages {
    folder: PathBuf,
}

/// Why a packed page could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum PackedPagesError {
    /// The operating system refused.
    #[error("packed page {}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is no packed page.
    #[error("packed page {}: {source}", path.display())]
    Broken {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        source: PackedPageError,
    },
    /// The file is another packed page.
    #[error("packed page {} has the content of {found}", path.display())]
    WrongContent {
        /// The file concerned.
        path: PathBuf,
        /// The digest of what it holds.
        found: PageDigest,
    },
}

impl PackedPages {
    /// The packed pages in `folder`, which is created if need be. What an
    /// earlier process left half written is removed.
    ///
    /// # Errors
    /// If the folder cannot be created or read.
    pub fn open(folder: &Path) -> Result<PackedPages, PackedPagesError> {
        let failed = |source| PackedPagesError::io(folder, source);
        fs::create_dir_all(folder).map_err(failed)?;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "partial")
            {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(PackedPages {
            folder: folder.to_owned(),
        })
    }

    /// The packed pages in `folder`, whoever may be writing there: nothing is
    /// created or removed.
    pub fn at(folder: &Path) -> PackedPages {
        PackedPages {
            folder: folder.to_owned(),
        }
    }

    /// Whether there is a file of a page; what is in it is seen when it is read.
    pub fn has(&self, digest: PageDigest) -> bool {
        self.path(digest).exists()
    }

    /// The pages that there are files of.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn digests(&self) -> Result<Vec<PageDigest>, PackedPagesError> {
        let mut digests = Vec::new();
        if !self.folder.exists() {
            return Ok(digests);
        }
        let list = |folder: &Path| -> Result<Vec<PathBuf>, PackedPagesError> {
            let failed = |source| PackedPagesError::io(folder, source);
            let entries = fs::read_dir(folder).map_err(failed)?;
            let paths = entries.map(|entry| Ok(entry.map_err(failed)?.path()));
            paths.collect()
        };
        for folder in list(&self.folder)? {
            if !folder.is_dir() {
                continue;
            }
            for path in list(&folder)? {
                let is_page = path
                    .extension()
                    .is_some_and(|extension| extension == "page");
                let name = path.file_stem().and_then(|name| name.to_str());
                let mut digest = [0; 32];
                if is_page && name.is_some_and(|n| hex::decode_to_slice(n, &mut digest).is_ok()) {
                    digests.push(PageDigest(digest));
                }
            }
        }
        Ok(digests)
    }

    /// Removes a page, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, digest: PageDigest) -> Result<(), PackedPagesError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(PackedPagesError::io(&path, source))
            }
            _ => Ok(()),
        }
    }

    /// Keeps a page: returns when it is on disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, digest: PageDigest, page: &PackedPage) -> Result<(), PackedPagesError> {
        let path = self.path(digest);
        if path.exists() && self.read(digest).is_ok() {
            return Ok(());
        }
        self.write(&path, &page.encode())
            .map_err(|source| PackedPagesError::io(&path, source))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent)?;
        let mut file = tempfile::Builder::new()
            .suffix(".partial")
            .tempfile_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs::File::open(parent)?.sync_all()?;
        fs::File::open(&self.folder)?.sync_all()
    }

    /// The bytes of a kept page, verified.
    ///
    /// # Errors
    /// If they cannot be read, or are not what was kept.
    pub fn read_bytes(&self, digest: PageDigest) -> Result<Vec<u8>, PackedPagesError> {
        let (bytes, _) = self.read_verified(digest)?;
        Ok(bytes)
    }

    /// A kept page, verified.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was kept.
    pub fn read(&self, digest: PageDigest) -> Result<PackedPage, PackedPagesError> {
        let (_, page) = self.read_verified(digest)?;
        Ok(page)
    }

    fn read_verified(&self, digest: PageDigest) -> Result<(Vec<u8>, PackedPage), PackedPagesError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|source| PackedPagesError::io(&path, source))?;
        let page = PackedPage::decode(&bytes).map_err(|source| PackedPagesError::Broken {
            path: path.clone(),
            source,
        })?;
        let found = page.digest();
        if found != digest {
            return Err(PackedPagesError::WrongContent { path, found });
        }
        Ok((bytes, page))
    }

    /// Two levels, so that no folder holds millions of files.
    fn path(&self, digest: PageDigest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(name + ".page")
    }
}

impl PackedPagesError {
    /// Whether there is no such page here, rather than a broken one.
    pub fn is_absent(&self) -> bool {
        matches!(self, PackedPagesError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn io(path: &Path, source: io::Error) -> PackedPagesError {
        PackedPagesError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::PageId;

    use super::*;

    fn page() -> PackedPage {
        PackedPage::new(PageId(7), 4, 3, (0..12).collect()).unwrap()
    }

    #[test]
    fn a_kept_page_is_read_back_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let pages = PackedPages::open(folder.path()).unwrap();
        pages.keep(page().digest(), &page()).unwrap();
        let reopened = PackedPages::open(folder.path()).unwrap();
        assert_eq!(reopened.read(page().digest()).unwrap(), page());
    }

    #[test]
    fn a_changed_file_is_noticed_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pages = PackedPages::open(folder.path()).unwrap();
        let digest = page().digest();
        pages.keep(digest, &page()).unwrap();
        let path = pages.path(digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        pages.read(digest).unwrap_err();
        pages.keep(digest, &page()).unwrap();
        assert_eq!(pages.read(digest).unwrap(), page());
    }

    #[test]
    fn pages_are_listed_and_removed_by_their_digests() {
        let folder = tempfile::tempdir().unwrap();
        let pages = PackedPages::at(&folder.path().join("packed"));
        assert_eq!(pages.digests().unwrap(), []);
        let digest = page().digest();
        assert!(pages.read(digest).unwrap_err().is_absent());
        let pages = PackedPages::open(&folder.path().join("packed")).unwrap();
        pages.keep(digest, &page()).unwrap();
        assert!(pages.has(digest));
        assert_eq!(pages.digests().unwrap(), [digest]);
        pages.remove(digest).unwrap();
        pages.remove(digest).unwrap();
        assert_eq!(pages.digests().unwrap(), []);
    }

    #[test]
    fn what_was_half_written_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let torn = folder.path().join("x.partial");
        fs::write(&torn, b"torn").unwrap();
        PackedPages::open(folder.path()).unwrap();
        assert!(!torn.exists());
    }
}
