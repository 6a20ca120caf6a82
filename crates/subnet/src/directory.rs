//! The model hash of a directory on disk.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hash::{FORBIDDEN_FILE, HashError, ModelHash};

/// How much of a file is in memory at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// A directory's model hash, and what it was computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedDirectory {
    /// The hash over all its files that count.
    pub hash: ModelHash,
    /// Those files, by name.
    pub files: Vec<FileDigest>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name within the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its contents.
    pub sha256: [u8; 32],
}

/// Hashes the files of a model's directory that validators hash: those that
/// [`layout::checkpoint_files`] lists, through symbolic links. Others (a README,
/// tokenizer files, .gitattributes) do not count.
///
/// Files are read in chunks, whatever their size.
///
/// # Errors
/// If the directory is not a model's, if a file cannot be read, or if validators
/// would not accept what is in it; see [`ModelHash::of_files`].
pub fn hash_directory(directory: &Path) -> Result<HashedDirectory, HashError> {
    if directory.join(FORBIDDEN_FILE).exists() {
        return Err(HashError::Forbidden(FORBIDDEN_FILE.to_owned()));
    }
    let mut files = Vec::new();
    for path in layout::checkpoint_files(directory)? {
        let digest = digest_file(&path);
        files.push(digest.map_err(|source| HashError::Io { path, source })?);
    }
    let pairs: Vec<(&str, [u8; 32])> = files
        .iter()
        .map(|file| (file.name.as_str(), file.sha256))
        .collect();
    let hash = ModelHash::of_files(&pairs)?;
    Ok(HashedDirectory { hash, files })
}

fn digest_file(path: &Path) -> std::io::Result<FileDigest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        bytes += read as u64;
    }
    let name = path.file_name().unwrap_or_default();
    Ok(FileDigest {
        name: name.to_string_lossy().into_owned(),
        bytes,
        sha256: hasher.finalize().into(),
    })
}
