//! A file on its way in: `NAME.partial` until it is whole and verified.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proto::v1::ReadChunk;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// What a file must turn out to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its name in the manifest.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    /// Where it goes.
    pub(crate) path: PathBuf,
}

impl Wanted {
    fn partial_path(&self) -> PathBuf {
        let mut path = OsString::from(self.path.as_os_str());
        path.push(".partial");
        PathBuf::from(path)
    }

    /// Bytes that are not on the disk yet, before anything there is verified.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let there = length(&self.path).max(length(&self.partial_path()));
        self.size.saturating_sub(there)
    }

    /// Looks for what earlier attempts left. `None`: the file is there whole,
    /// with the right bytes.
    pub(crate) fn open(self) -> Result<Option<PartialFile>, Error> {
        if self.is_complete()? {
            return Ok(None);
        }
        PartialFile::open(self).map(Some)
    }

    fn is_complete(&self) -> Result<bool, Error> {
        match File::open(&self.path) {
            Ok(mut file) => {
                let (sha256, length) =
                    hash_to_end(&mut file).map_err(|source| Error::file(&self.path, source))?;
                Ok(length == self.size && <[u8; 32]>::from(sha256.finalize()) == self.sha256)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::file(&self.path, source)),
        }
    }
}

/// The open partial file. What it holds is a prefix of what was received, and
/// is hashed again when it is found, so that a torn write cannot survive.
#[derive(Debug)]
pub(crate) struct PartialFile {
    wanted: Wanted,
    path: PathBuf,
    file: File,
    sha256: Sha256,
    received: u64,
}

/// Bytes that are not those of the manifest.
#[derive(Debug)]
pub(crate) struct WrongBytes(pub(crate) String);

impl PartialFile {
    fn open(wanted: Wanted) -> Result<PartialFile, Error> {
        let path = wanted.partial_path();
        let at_path = |source| Error::file(&path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at_path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(at_path(busy())),
            Err(TryLockError::Error(source)) => return Err(at_path(source)),
        }
        // Whoever held the lock before may have given the file its name meanwhile.
        if !is_at(&file, &path).map_err(at_path)? {
            return Err(at_path(busy()));
        }
        let (sha256, received) = hash_to_end(&mut file).map_err(at_path)?;
        let mut partial = PartialFile {
            wanted,
            path,
            file,
            sha256,
            received,
        };
        if partial.received > partial.wanted.size {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Bytes held so far: the offset to read on from.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(crate) fn is_full(&self) -> bool {
        self.received == self.wanted.size
    }

    /// Appends a chunk whose hash agrees with its data, and refuses any other.
    pub(crate) fn append(&mut self, chunk: &ReadChunk) -> Result<Result<(), WrongBytes>, Error> {
        if Sha256::digest(&chunk.data).as_slice() != &chunk.sha256[..] {
            return Ok(Err(WrongBytes(format!(
                "the chunk at byte {} has not the hash that came with it",
                self.received
            ))));
        }
        let received = self.received + chunk.data.len() as u64;
        if received > self.wanted.size {
            return Ok(Err(WrongBytes(format!(
                "more than the {} bytes of the manifest came",
                self.wanted.size
            ))));
        }
        self.file
            .write_all(&chunk.data)
            .map_err(|source| Error::file(&self.path, source))?;
        self.sha256.update(&chunk.data);
        self.received = received;
        Ok(Ok(()))
    }

    /// Throws away what was received.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|source| Error::file(&self.path, source))?;
        self.sha256 = Sha256::new();
        self.received = 0;
        Ok(())
    }

    /// Compares the whole file with the manifest.
    pub(crate) fn verify(&self) -> Result<(), WrongBytes> {
        let found: [u8; 32] = self.sha256.clone().finalize().into();
        if self.is_full() && found == self.wanted.sha256 {
            return Ok(());
        }
        Err(WrongBytes(format!(
            "sha256 {} instead of {}",
            hex::encode(found),
            hex::encode(self.wanted.sha256)
        )))
    }

    /// Makes the verified file durable and gives it its name.
    pub(crate) fn keep(self) -> Result<(), Error> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.wanted.path))
            .map_err(|source| Error::file(&self.path, source))?;
        sync_parent(&self.wanted.path)
    }
}

fn busy() -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        "another download is writing this file",
    )
}

/// Whether `path` is the name of this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a rename in `path`'s folder durable.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| Error::file(dir, source))
}

/// Hashes a file from where it stands, and counts its bytes.
fn hash_to_end(file: &mut File) -> io::Result<(Sha256, u64)> {
    let mut sha256 = Sha256::new();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((sha256, length)),
            Ok(count) => {
                sha256.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
