//! Packed pages and checkpoints: files that are never changed, only replaced, so
//! that a hard link is a copy.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::Serialize;

use super::BackupError;
use crate::records::Checkpoint;

/// How the name of a file ends that is not whole yet.
const PARTIAL: &str = "partial";

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that share their bytes with the original.
    pub linked: u64,
}

/// Links every whole file of a folder into another, or copies it where that is on
/// another disk. What is there already stays. A folder that is not there is empty.
///
/// # Errors
/// If something cannot be read, linked or written.
pub fn link_tree(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    let mut copied = Copied::default();
    if from.is_dir() {
        link_folder(from, to, &mut copied)?;
    }
    Ok(copied)
}

/// Links the folders of checkpoints that are on record.
///
/// # Errors
/// [`BackupError::NoCheckpoint`] if one is not there; otherwise as [`link_tree`].
pub fn link_checkpoints(
    from: &Path,
    to: &Path,
    checkpoints: &[Checkpoint],
) -> Result<Copied, BackupError> {
    let mut copied = Copied::default();
    for checkpoint in checkpoints {
        let name = &checkpoint.id.0;
        let linked = link_folder(&from.join(name), &to.join(name), &mut copied);
        match linked {
            Err(BackupError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(BackupError::NoCheckpoint {
                    id: name.clone(),
                    folder: from.to_owned(),
                });
            }
            other => other?,
        }
    }
    Ok(copied)
}

fn link_folder(from: &Path, to: &Path, copied: &mut Copied) -> Result<(), BackupError> {
    let entries = fs::read_dir(from).map_err(|source| BackupError::io(from, source))?;
    fs::create_dir_all(to).map_err(|source| BackupError::io(to, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| BackupError::io(from, source))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if is_hidden
            || path
                .extension()
                .is_some_and(|extension| extension == PARTIAL)
        {
            continue;
        }
        let metadata = entry
            .metadata()
            .map_err(|source| BackupError::io(&path, source))?;
        if metadata.is_dir() {
            link_folder(&path, &target, copied)?;
            continue;
        }
        let is_linked =
            link_file(&path, &target).map_err(|source| BackupError::io(&path, source))?;
        copied.files += 1;
        copied.bytes += metadata.len();
        copied.linked += u64::from(is_linked);
    }
    let synced = fs::File::open(to).and_then(|folder| folder.sync_all());
    synced.map_err(|source| BackupError::io(to, source))
}

/// Whether a link could be made; if not, there is a copy.
fn link_file(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        // Another disk, or one that knows no links.
        Err(_) => {
            let mut partial = to.as_os_str().to_owned();
            partial.push(format!(".{PARTIAL}"));
            fs::copy(from, &partial)?;
            fs::File::open(&partial)?.sync_all()?;
            fs::rename(&partial, to)?;
            Ok(false)
        }
    }
}
