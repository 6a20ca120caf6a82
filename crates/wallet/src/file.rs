//! Reading small files that may hold secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::Warning;

/// A file's contents, and what is questionable about it.
pub(crate) struct SmallFile {
    pub(crate) contents: Zeroizing<Vec<u8>>,
    pub(crate) warnings: Vec<Warning>,
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    Io(io::Error),
    /// It is a folder, a device or a pipe.
    NotAFile,
    /// It has more bytes than were asked for.
    TooLarge,
}

/// Reads a regular file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: usize) -> Result<SmallFile, Unread> {
    // Without this, opening a pipe would wait for somebody to write to it.
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(without_waiting as i32);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Unread::NotAFile);
    }
    finish(path, file, most)
}

/// Reads a file of at most `most` bytes that may be a pipe or a device as well, such
/// as /dev/stdin or what a shell puts in the place of `<(command)`.
pub(crate) fn read_any(path: &Path, most: usize) -> Result<SmallFile, Unread> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Unread::NotAFile);
    }
    finish(path, file, most)
}

fn finish(path: &Path, mut file: File, most: usize) -> Result<SmallFile, Unread> {
    // As long as it will ever be: a buffer that grows leaves its contents behind.
    let mut contents = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    while length < contents.len() {
        match file.read(&mut contents[length..]) {
            Ok(0) => break,
            Ok(bytes) => length += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Unread::Io(error)),
        }
    }
    if length > most {
        return Err(Unread::TooLarge);
    }
    contents.truncate(length);
    let warnings = permission_warnings(path, &file.metadata()?);
    Ok(SmallFile { contents, warnings })
}

/// What others than the owner can do with the file. Mode bits of pipes and devices
/// say nothing about who can read what was in them.
fn permission_warnings(path: &Path, metadata: &fs::Metadata) -> Vec<Warning> {
    const OTHERS: u32 = 0o077;
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if !metadata.is_file() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let path = path.to_owned();
        warnings.push(Warning::FilePermissions { path, mode });
    }
    let Some(folder) = path.parent() else {
        return warnings;
    };
    let Ok(of_folder) = fs::metadata(folder) else {
        return warnings;
    };
    if of_folder.mode() & OTHERS_WRITE != 0 && of_folder.mode() & STICKY == 0 {
        warnings.push(Warning::FolderPermissions {
            path: folder.to_owned(),
            mode: of_folder.mode() & 0o777,
        });
    }
    warnings
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
