//! A file on its way in: `NAME.part` until it is whole and its digest right.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::git::BlobHasher;
use crate::{BlobId, HubError};

/// How much of a file is in memory while it is hashed, in bytes.
const CHUNK: usize = 1 << 20;

/// What the Hub lists for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256([u8; 32]),
    Blob(BlobId),
}

/// What a file must turn out to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its path in the repository.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
    /// Where it goes.
    pub(crate) path: PathBuf,
}

/// What there is of a file.
pub(crate) enum Found {
    /// All of it; with its SHA-256.
    Whole([u8; 32]),
    /// Some or nothing.
    Part(Box<PartialFile>),
}

/// The digests of bytes in the order they come.
#[derive(Clone, Debug)]
struct Hashers {
    sha256: Sha256,
    blob: Option<BlobHasher>,
}

impl Hashers {
    fn new(wanted: &Wanted) -> Self {
        let blob = match wanted.digest {
            Digest::Sha256(_) => None,
            Digest::Blob(_) => Some(BlobHasher::new(wanted.bytes)),
        };
        Self {
            sha256: Sha256::new(),
            blob,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(blob) = &mut self.blob {
            blob.update(bytes);
        }
    }

    /// Hashes a file from where it stands, and counts its bytes.
    fn read_to_end(&mut self, file: &mut File) -> io::Result<u64> {
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(count) => {
                    self.update(&buffer[..count]);
                    bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The SHA-256, if the digest is the one wanted; else what differs.
    fn finish(self, wanted: Digest) -> Result<[u8; 32], String> {
        let sha256: [u8; 32] = self.sha256.finalize().into();
        let blob = self.blob.map(BlobHasher::finish);
        match (wanted, blob) {
            (Digest::Sha256(wanted), _) if wanted == sha256 => Ok(sha256),
            (Digest::Blob(wanted), Some(blob)) if wanted == blob => Ok(sha256),
            (Digest::Sha256(wanted), _) => Err(format!(
                "SHA-256 {} instead of {}",
                hex::encode(sha256),
                hex::encode(wanted)
            )),
            (Digest::Blob(wanted), blob) => Err(format!(
                "git object {} instead of {wanted}",
                blob.map_or_else(String::new, |blob| blob.to_string())
            )),
        }
    }
}

impl Wanted {
    fn part_path(&self) -> PathBuf {
        let mut path = OsString::from(self.path.as_os_str());
        path.push(".part");
        PathBuf::from(path)
    }

    /// Bytes that are not on the disk yet, before anything there is verified.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let there = length(&self.path).max(length(&self.part_path()));
        self.bytes.saturating_sub(there)
    }

    /// Looks for what earlier attempts left.
    pub(crate) fn find(self) -> Result<Found, HubError> {
        match File::open(&self.path) {
            Ok(mut file) => {
                let mut hashers = Hashers::new(&self);
                let bytes = hashers
                    .read_to_end(&mut file)
                    .map_err(|source| HubError::file(&self.path, source))?;
                if let Ok(sha256) = hashers.finish(self.digest)
                    && bytes == self.bytes
                {
                    return Ok(Found::Whole(sha256));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(HubError::file(&self.path, source)),
        }
        let part = PartialFile::open(self)?;
        Ok(Found::Part(Box::new(part)))
    }
}

/// The open partial file. What it holds is hashed again when it is found, so
/// that a torn write cannot survive.
#[derive(Debug)]
pub(crate) struct PartialFile {
    wanted: Wanted,
    path: PathBuf,
    file: File,
    hashers: Hashers,
    received: u64,
}

impl PartialFile {
    fn open(wanted: Wanted) -> Result<Self, HubError> {
        let path = wanted.part_path();
        let io = |source| HubError::file(&path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another download is writing this file",
                )));
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut hashers = Hashers::new(&wanted);
        let received = hashers.read_to_end(&mut file).map_err(io)?;
        let partial = Self {
            wanted,
            path,
            file,
            hashers,
            received,
        };
        match partial.received > partial.wanted.bytes {
            true => partial.restart(),
            false => Ok(partial),
        }
    }

    /// Its path in the repository.
    pub(crate) fn name(&self) -> &str {
        &self.wanted.name
    }

    /// Bytes it will have.
    pub(crate) fn bytes(&self) -> u64 {
        self.wanted.bytes
    }

    /// Bytes it has: the offset to read on from.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn is_full(&self) -> bool {
        self.received == self.wanted.bytes
    }

    pub(crate) fn append(mut self, bytes: &[u8]) -> Result<Self, HubError> {
        self.file
            .write_all(bytes)
            .map_err(|source| HubError::file(&self.path, source))?;
        self.hashers.update(bytes);
        self.received += bytes.len() as u64;
        Ok(self)
    }

    /// Throws away what was received.
    pub(crate) fn restart(mut self) -> Result<Self, HubError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|source| HubError::file(&self.path, source))?;
        self.hashers = Hashers::new(&self.wanted);
        self.received = 0;
        Ok(self)
    }

    /// Makes the full file durable and gives it its name, if its digest is
    /// right; returns the SHA-256. Otherwise says what differs.
    pub(crate) fn keep(self) -> Result<(Self, Result<[u8; 32], String>), HubError> {
        let sha256 = match self.hashers.clone().finish(self.wanted.digest) {
            Ok(sha256) => sha256,
            Err(reason) => return Ok((self, Err(reason))),
        };
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.wanted.path))
            .map_err(|source| HubError::file(&self.path, source))?;
        sync_parent(&self.wanted.path)?;
        Ok((self, Ok(sha256)))
    }
}

/// Makes a rename in `path`'s folder durable.
fn sync_parent(path: &Path) -> Result<(), HubError> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| HubError::file(dir, source))
}
