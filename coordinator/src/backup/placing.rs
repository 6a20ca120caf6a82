//! Giving files their places, all of them or none.
//!
//! Three stages, so that whatever goes wrong leaves the folders as they were:
//! first everything is compared, then everything that is missing is brought into a
//! hidden folder beside its place, and only then are files renamed, which needs no
//! room and can be taken back. What is replaced waits in the hidden folder until
//! [`Placing::keep`].
//!
//! The hidden folder has a name that a coordinator which starts takes for a
//! checkpoint that never became whole, and removes: so nothing is left of a process
//! that was killed, either.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::BackupError;
use super::files::{self, Carried, Tree};

/// Holds what has no place yet, or none any more.
const HIDDEN: &str = ".partial-carried";

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that were given as links, and share their bytes with the original.
    pub linked: u64,
}

/// What files are carried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be kept. What was kept before is not replaced.
    Backup,
    /// To be used again, so they are compared with their records first.
    Restore {
        /// Whether to replace files that hold something else.
        force: bool,
    },
}

/// Files on their way to their places. Dropped before [`Placing::keep`], it takes
/// everything back.
#[derive(Debug, Default)]
pub struct Placing {
    moves: Vec<Move>,
    /// Folders that were made for files, outer ones first.
    made: Vec<PathBuf>,
    /// Folders of what has no place.
    hidden: Vec<PathBuf>,
    is_kept: bool,
}

/// A file that is to be renamed.
#[derive(Debug)]
struct Move {
    waiting: PathBuf,
    place: PathBuf,
    /// Where what is there goes, if something is.
    aside: Option<PathBuf>,
    reached: Reached,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Nothing,
    SetAside,
    Placed,
}

/// A file that is not where it should be.
struct Missing<'a> {
    tree: &'a Tree,
    file: &'a Carried,
    /// Which of the trees it is of.
    index: usize,
    replaces: bool,
}

impl Placing {
    /// Brings everything as near as it can be without changing anything that is
    /// there. Returns what there will be of each tree.
    ///
    /// # Errors
    /// [`BackupError::InTheWay`] if a place is taken by other content;
    /// [`BackupError::Interrupted`] when `stop` says so; if something cannot be
    /// read or written, or is not what its record says.
    pub fn prepare(
        trees: &[Tree],
        purpose: Purpose,
        stop: &CancellationToken,
    ) -> Result<(Placing, Vec<Copied>), BackupError> {
        let mut copied = vec![Copied::default(); trees.len()];
        let mut missing = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            for file in &tree.files {
                files::go_on(stop)?;
                let failed = |error| tree.failed(file, error);
                let from = tree.from.join(&file.name);
                let found = fs::metadata(&from).map_err(|e| failed(BackupError::io(&from, e)))?;
                copied[index].files += 1;
                copied[index].bytes += found.len();
                let lacks = lacks(tree, file, purpose, stop).map_err(failed)?;
                if let Some(replaces) = lacks {
                    missing.push(Missing {
                        tree,
                        file,
                        index,
                        replaces,
                    });
                }
            }
        }
        let mut placing = Placing::default();
        for one in missing {
            let is_linked = placing.bring(&one, purpose, stop);
            let is_linked = is_linked.map_err(|error| one.tree.failed(one.file, error))?;
            copied[one.index].linked += u64::from(is_linked);
        }
        Ok((placing, copied))
    }

    /// Brings one file near; whether as a link.
    fn bring(
        &mut self,
        one: &Missing<'_>,
        purpose: Purpose,
        stop: &CancellationToken,
    ) -> Result<bool, BackupError> {
        let hidden = one.tree.to.join(HIDDEN);
        if !self.hidden.contains(&hidden) {
            match fs::remove_dir_all(&hidden) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(BackupError::io(&hidden, error));
                }
                _ => self.make(&hidden)?,
            }
            self.hidden.push(hidden.clone());
        }
        // The extensions of pages and checkpoints mean something to those who list
        // folders; numbers do not.
        let number = self.moves.len();
        let waiting = hidden.join(number.to_string());
        let from = one.tree.from.join(&one.file.name);
        let is_linked = files::link_or_copy(&from, &waiting, stop)?;
        if let (Some(content), Purpose::Restore { .. }) = (one.file.content, purpose)
            && !files::holds(&waiting, content, stop)?
        {
            return Err(BackupError::Broken {
                path: from,
                reason: "it is not what the records say: use another copy of the backup".to_owned(),
            });
        }
        self.moves.push(Move {
            waiting,
            place: one.tree.to.join(&one.file.name),
            aside: one.replaces.then(|| hidden.join(format!("{number}-old"))),
            reached: Reached::Nothing,
        });
        Ok(is_linked)
    }

    /// Gives every file its place, durably.
    ///
    /// # Errors
    /// If one cannot be renamed.
    pub fn place(&mut self) -> Result<(), BackupError> {
        let mut changed = BTreeSet::new();
        for index in 0..self.moves.len() {
            let place = self.moves[index].place.clone();
            let folder = place.parent().unwrap_or(Path::new("/")).to_owned();
            self.make(&folder)?;
            changed.insert(folder);
            let failed = |source| BackupError::io(&place, source);
            let one = &mut self.moves[index];
            if let Some(aside) = &one.aside {
                fs::rename(&place, aside).map_err(failed)?;
                one.reached = Reached::SetAside;
            }
            fs::rename(&one.waiting, &place).map_err(failed)?;
            one.reached = Reached::Placed;
        }
        let outer = self.made.iter().filter_map(|folder| folder.parent());
        changed.extend(outer.map(Path::to_owned));
        for folder in &changed {
            let folder = match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => folder.as_path(),
            };
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|source| BackupError::io(folder, source))?;
        }
        Ok(())
    }

    /// Leaves everything where it is now, and gives up what was replaced.
    pub fn keep(mut self) {
        self.is_kept = true;
        for hidden in &self.hidden {
            remove_hidden(hidden);
        }
    }

    /// Makes a folder, and remembers which were not there.
    fn make(&mut self, folder: &Path) -> Result<(), BackupError> {
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).map_err(|source| BackupError::io(folder, source))?;
            self.made.push(folder.to_owned());
        }
        Ok(())
    }

    fn take_back(&mut self) {
        let mut is_undone = true;
        for one in self.moves.iter().rev() {
            let undone = match (one.reached, &one.aside) {
                (Reached::Nothing, _) => Ok(()),
                // Renaming replaces what was placed.
                (_, Some(aside)) => fs::rename(aside, &one.place),
                (_, None) => fs::remove_file(&one.place),
            };
            if let Err(error) = undone {
                is_undone = false;
                tracing::error!(
                    "{}: it cannot be made what it was: {error}{}",
                    one.place.display(),
                    is_at(one.aside.as_deref())
                );
            }
        }
        if is_undone {
            self.hidden.iter().for_each(|hidden| remove_hidden(hidden));
        }
        for folder in self.made.iter().rev() {
            // One that somebody else uses by now stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        if !self.is_kept {
            self.take_back();
        }
    }
}

/// Whether a file's place lacks it; `Some(true)` if it is to replace something.
fn lacks(
    tree: &Tree,
    file: &Carried,
    purpose: Purpose,
    stop: &CancellationToken,
) -> Result<Option<bool>, BackupError> {
    let (from, place) = (tree.from.join(&file.name), tree.to.join(&file.name));
    match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(false)),
        Err(error) => return Err(BackupError::io(&place, error)),
        Ok(found) if found.is_dir() => {
            return Err(BackupError::InTheWay {
                path: place,
                advice: "it is a folder where a file belongs: remove it first",
            });
        }
        Ok(_) => {}
    }
    // What is kept is what there was; only what is used must be what is on record.
    let unread = purpose == Purpose::Backup;
    if files::is_same(&from, &place, file.content, unread, stop)? {
        return Ok(None);
    }
    let advice = match purpose {
        Purpose::Restore { force: true } => return Ok(Some(true)),
        Purpose::Restore { force: false } => {
            "restore into another --state-dir, or replace it with --force"
        }
        Purpose::Backup => "back up into another folder, or remove it first",
    };
    Err(BackupError::InTheWay {
        path: place,
        advice,
    })
}

fn remove_hidden(hidden: &Path) {
    match fs::remove_dir_all(hidden) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!("{}: {error}; it can be removed", hidden.display());
        }
        _ => {}
    }
}

fn is_at(aside: Option<&Path>) -> String {
    aside.map_or_else(String::new, |aside| format!("; it is {}", aside.display()))
}
