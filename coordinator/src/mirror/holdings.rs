//! What lies in a state directory, and whose directory it is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cli::Refused;

use crate::packed::PackedPages;
use crate::records::FileKind;
use crate::state_dir::{StateDir, StoreKind};

/// The name of the directory, in it.
const ID_FILE: &str = "directory-id";

/// The bulk in a state directory, as other coordinators may have it.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    id: String,
    directory: PathBuf,
    packed: PackedPages,
    checkpoints: PathBuf,
}

impl Holdings {
    /// What is in a directory that other coordinators may share; it gets its
    /// name if it has none.
    pub(crate) fn open(directory: &Path) -> Result<Holdings, Refused> {
        let id = name(directory).map_err(|error| {
            Refused::new(format!(
                "--state-dir {}: {error}",
                directory.join(ID_FILE).display()
            ))
        })?;
        Ok(Holdings {
            id,
            ..Holdings::alone(directory)
        })
    }

    /// What is in a directory that one coordinator has for itself.
    pub(crate) fn alone(directory: &Path) -> Holdings {
        let state_dir = StateDir(directory);
        Holdings {
            id: String::new(),
            directory: directory.to_owned(),
            packed: PackedPages::at(&state_dir.packed()),
            checkpoints: state_dir.checkpoints(),
        }
    }

    /// Makes the directory the run's, if it is nobody's.
    ///
    /// # Errors
    /// Refused if it is another run's.
    pub(crate) fn belong_to(&self, run_id: &str) -> Result<(), Refused> {
        let state_dir = StateDir(&self.directory);
        state_dir.check_owner(run_id, StoreKind::Etcd)?;
        state_dir.set_owner(run_id, StoreKind::Etcd)
    }

    /// The directory's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn packed(&self) -> &PackedPages {
        &self.packed
    }

    /// The folder of checkpoints.
    pub(crate) fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }

    /// A file of a complete checkpoint, if it is here.
    pub(crate) fn checkpoint_file(&self, checkpoint_id: &str, name: &str) -> Option<PathBuf> {
        if !is_plain(checkpoint_id) || !is_plain(name) {
            return None;
        }
        let folder = self.checkpoints.join(checkpoint_id);
        [FileKind::Model, FileKind::State]
            .map(|kind| folder.join(kind.folder()).join(name))
            .into_iter()
            .find(|path| path.is_file())
    }
}

/// Whether a text names a file here, and nothing above or hidden.
fn is_plain(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !text.is_empty() && !text.starts_with('.') && text.chars().all(plain)
}

/// The name of a directory: the same for all that see its files, drawn by the
/// first of them.
fn name(directory: &Path) -> io::Result<String> {
    let path = directory.join(ID_FILE);
    if !path.exists() {
        let mut drawn = tempfile::NamedTempFile::new_in(directory)?;
        write!(drawn, "{:032x}", rand::random::<u128>())?;
        drawn.as_file().sync_all()?;
        match drawn.persist_noclobber(&path) {
            Ok(_) => fs::File::open(directory)?.sync_all()?,
            // Another was quicker.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_name_and_no_two_have_the_same() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Holdings::open(one.path()).unwrap();
        assert_eq!(Holdings::open(one.path()).unwrap().id(), first.id());
        assert_ne!(Holdings::open(other.path()).unwrap().id(), first.id());
    }

    #[test]
    fn nothing_outside_of_a_complete_checkpoint_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let holdings = Holdings::open(folder.path()).unwrap();
        let model = holdings.checkpoints().join("step-1/model");
        fs::create_dir_all(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        let hidden = holdings.checkpoints().join(".partial-step-2/model");
        fs::create_dir_all(&hidden).unwrap();
        fs::write(hidden.join("config.json"), "{}").unwrap();
        assert!(holdings.checkpoint_file("step-1", "config.json").is_some());
        for (id, name) in [
            (".partial-step-2", "config.json"),
            ("step-1", "../../../directory-id"),
            ("..", "config.json"),
            ("step-1", "absent"),
            ("", ""),
        ] {
            assert!(holdings.checkpoint_file(id, name).is_none(), "{id} {name}");
        }
    }
}
