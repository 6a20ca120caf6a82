//! Packed pages and checkpoints: files that are never changed, only replaced, so
//! that a hard link is a copy.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::BackupError;
use crate::records::{Checkpoint, CheckpointFile};

/// How the name of a file ends that is not whole yet.
const PARTIAL: &str = "partial";
/// Bytes that are compared at a time.
const CHUNK: usize = 1 << 20;
/// Bytes that are copied at a time: as long as that takes, nobody is asked
/// whether to stop.
const COPIED_AT_ONCE: u64 = 64 << 20;

/// Files of one folder that shall have a place in another.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) files: Vec<Carried>,
    /// Whether the outermost folders are checkpoints, which a coordinator that
    /// runs may remove meanwhile.
    is_of_checkpoints: bool,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// Where it is below either folder.
    pub(super) name: PathBuf,
    /// What it has to hold, where a record says so.
    pub(super) content: Option<Content>,
}

/// What a file has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    size: u64,
    sha256: [u8; 32],
}

impl From<&CheckpointFile> for Content {
    fn from(file: &CheckpointFile) -> Content {
        Content {
            size: file.size,
            sha256: file.sha256,
        }
    }
}

impl Tree {
    /// Every whole file of a folder. A folder that is not there is empty.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(from: &Path, to: &Path) -> Result<Tree, BackupError> {
        let mut names = Vec::new();
        if from.is_dir() {
            list(from, Path::new(""), &mut names)?;
        }
        let whatever = |name| Carried {
            name,
            content: None,
        };
        Ok(Tree {
            from: from.to_owned(),
            to: to.to_owned(),
            files: names.into_iter().map(whatever).collect(),
            is_of_checkpoints: false,
        })
    }

    /// The files of checkpoints that are on record.
    ///
    /// # Errors
    /// [`BackupError::NoCheckpoint`] if one is not there with all its files;
    /// otherwise as [`Tree::of`].
    pub fn of_checkpoints(
        from: &Path,
        to: &Path,
        checkpoints: &[Checkpoint],
    ) -> Result<Tree, BackupError> {
        let mut files = Vec::new();
        for checkpoint in checkpoints {
            let missing = || BackupError::NoCheckpoint {
                id: checkpoint.id.0.clone(),
                folder: from.to_owned(),
            };
            let place = PathBuf::from(&checkpoint.id.0);
            let mut names = Vec::new();
            match list(&from.join(&place), &place, &mut names) {
                Err(error) if error.is_absence() => return Err(missing()),
                listed => listed?,
            }
            let on_record = |file: &CheckpointFile| {
                let name = place.join(file.kind.folder()).join(&file.name);
                (name, Content::from(file))
            };
            let on_record: Vec<_> = checkpoint.files.iter().map(on_record).collect();
            if on_record.iter().any(|(name, _)| !names.contains(name)) {
                return Err(missing());
            }
            files.extend(names.into_iter().map(|name| {
                let found = on_record.iter().find(|(other, _)| *other == name);
                let content = found.map(|(_, content)| *content);
                Carried { name, content }
            }));
        }
        Ok(Tree {
            from: from.to_owned(),
            to: to.to_owned(),
            files,
            is_of_checkpoints: true,
        })
    }

    /// What went wrong with one of its files, in words of what it is.
    pub(super) fn failed(&self, file: &Carried, error: BackupError) -> BackupError {
        let is_gone = error.is_absence() && !self.from.join(&file.name).exists();
        match file.name.iter().next() {
            Some(id) if self.is_of_checkpoints && is_gone => BackupError::NoCheckpoint {
                id: id.to_string_lossy().into_owned(),
                folder: self.from.clone(),
            },
            _ => error,
        }
    }
}

/// Lists the whole files of a folder, each with its place below the first one.
fn list(folder: &Path, place: &Path, names: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    let failed = |source| BackupError::io(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), place.join(entry.file_name()));
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if is_hidden || path.extension().is_some_and(|end| end == PARTIAL) {
            continue;
        }
        match path.is_dir() {
            true => list(&path, &name, names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

/// Whether `there` holds already what shall be carried there from `from`. If
/// `unread`, one file under both names need not be read.
pub(super) fn is_same(
    from: &Path,
    there: &Path,
    content: Option<Content>,
    unread: bool,
    stop: &CancellationToken,
) -> Result<bool, BackupError> {
    let failed = |source| BackupError::io(there, source);
    let found = fs::metadata(there).map_err(failed)?;
    let original = fs::metadata(from).map_err(|source| BackupError::io(from, source))?;
    let size = content.map_or(original.len(), |content| content.size);
    if !found.is_file() || found.len() != size {
        return Ok(false);
    }
    if unread && (found.dev(), found.ino()) == (original.dev(), original.ino()) {
        return Ok(true);
    }
    match content {
        Some(content) => holds(there, content, stop),
        None => same_bytes(from, there, stop),
    }
}

/// Whether a file holds what it has to.
pub(super) fn holds(
    path: &Path,
    content: Content,
    stop: &CancellationToken,
) -> Result<bool, BackupError> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        let piece = piece(path, &mut file, stop)?;
        if piece.is_empty() {
            break;
        }
        size += piece.len() as u64;
        hasher.update(&piece);
    }
    let sha256 = hasher.finalize().into();
    Ok(content == Content { size, sha256 })
}

fn same_bytes(one: &Path, other: &Path, stop: &CancellationToken) -> Result<bool, BackupError> {
    let (mut first, mut second) = (open(one)?, open(other)?);
    loop {
        let pieces = (
            piece(one, &mut first, stop)?,
            piece(other, &mut second, stop)?,
        );
        if pieces.0 != pieces.1 {
            return Ok(false);
        }
        if pieces.0.is_empty() {
            return Ok(true);
        }
    }
}

fn open(path: &Path) -> Result<File, BackupError> {
    File::open(path).map_err(|source| BackupError::io(path, source))
}

/// The next bytes of a file; none at its end.
fn piece(path: &Path, file: &mut File, stop: &CancellationToken) -> Result<Vec<u8>, BackupError> {
    go_on(stop)?;
    let mut piece = Vec::with_capacity(CHUNK);
    let read = file.take(CHUNK as u64).read_to_end(&mut piece);
    read.map_err(|source| BackupError::io(path, source))?;
    Ok(piece)
}

/// Fails once somebody has asked to stop.
pub(super) fn go_on(stop: &CancellationToken) -> Result<(), BackupError> {
    match stop.is_cancelled() {
        true => Err(BackupError::Interrupted),
        false => Ok(()),
    }
}

/// Links a file to a name that is free, or copies it where that cannot be;
/// whether it is a link. What is copied is on disk.
pub(super) fn link_or_copy(
    from: &Path,
    to: &Path,
    stop: &CancellationToken,
) -> Result<bool, BackupError> {
    go_on(stop)?;
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == ErrorKind::NotFound => Err(BackupError::io(from, source)),
        // Another disk, or one that knows no links.
        Err(_) => {
            copy(from, to, stop)?;
            Ok(false)
        }
    }
}

fn copy(from: &Path, to: &Path, stop: &CancellationToken) -> Result<(), BackupError> {
    let mut original = open(from)?;
    // That one names the disk that is full.
    let failed = |source: io::Error| BackupError::io(to, source);
    let mut copy = File::create(to).map_err(failed)?;
    loop {
        go_on(stop)?;
        let copied = io::copy(&mut (&mut original).take(COPIED_AT_ONCE), &mut copy);
        if copied.map_err(failed)? == 0 {
            break;
        }
    }
    copy.sync_all().map_err(failed)
}
