//! Where libtorch is installed: in this clone, or in a folder that several
//! clones share.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::Refused;
use crate::workspace::Workspace;

/// Names the shared folder.
const SHARED: &str = "PEREGRINE_LIBTORCH";

/// Where libtorch is, and how this clone reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The folder that holds (or will hold) the installed wheels.
    pub(crate) folder: PathBuf,
    /// A folder on the same disk for what is not complete yet, and for the lock.
    pub(crate) workshop: PathBuf,
    /// `libtorch` in this clone, if it must be a link to `folder`.
    link: Option<PathBuf>,
}

impl Place {
    /// The place for this clone, by the environment and by what is there.
    pub(crate) fn of(workspace: &Workspace) -> anyhow::Result<Self> {
        let shared = env::var_os(SHARED).filter(|value| !value.is_empty());
        Self::choose(
            &workspace.libtorch(),
            &workspace.scratch(),
            shared.map(PathBuf::from),
        )
    }

    /// A folder that no link leads to.
    pub(crate) fn at(folder: PathBuf, workshop: PathBuf) -> Self {
        Self {
            folder,
            workshop,
            link: None,
        }
    }

    fn choose(local: &Path, scratch: &Path, shared: Option<PathBuf>) -> anyhow::Result<Self> {
        let linked = match fs::read_link(local) {
            Ok(target) => Some(local.parent().unwrap_or(Path::new("/")).join(target)),
            Err(_) => None,
        };
        // A link that was made by hand, or by a set-up with the variable, goes
        // on meaning what it says without it.
        let Some(folder) = shared.or(linked) else {
            return Ok(Self::at(local.to_path_buf(), scratch.to_path_buf()));
        };
        if !folder.is_absolute() {
            return Err(Refused(format!(
                "{SHARED}={}: give an absolute path, for it is used from several folders",
                folder.display()
            ))
            .into());
        }
        let workshop = folder
            .parent()
            .with_context(|| {
                format!(
                    "{SHARED} is {}, a folder without a parent",
                    folder.display()
                )
            })?
            .to_path_buf();
        Ok(Self {
            folder,
            workshop,
            link: Some(local.to_path_buf()),
        })
    }

    /// Where the lock, and what is not complete yet, are kept: named after the
    /// folder, for neighbours may share the disk.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        self.workshop
            .join(format!(".{}.{suffix}", name.to_string_lossy()))
    }

    /// Makes `libtorch` lead to the folder.
    pub(crate) fn link(&self) -> anyhow::Result<()> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        if fs::read_link(link).is_ok_and(|target| target == self.folder) {
            return Ok(());
        }
        match fs::symlink_metadata(link) {
            Ok(metadata) if metadata.is_symlink() => fs::remove_file(link)?,
            Ok(_) => {
                return Err(Refused(format!(
                    "{} is a folder of this clone's own; remove it to share {}, or unset {SHARED}",
                    link.display(),
                    self.folder.display()
                ))
                .into());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(link.display().to_string()),
        }
        match symlink(&self.folder, link) {
            // Another set-up of this clone was quicker.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.with_context(|| format!("cannot make the link {}", link.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(clone: &Path, shared: Option<&Path>) -> anyhow::Result<Place> {
        Place::choose(
            &clone.join("libtorch"),
            &clone.join(".peregrine"),
            shared.map(Path::to_path_buf),
        )
    }

    #[test]
    fn without_the_variable_it_is_in_the_clone() {
        let clone = tempfile::tempdir().unwrap();
        let place = choose(clone.path(), None).unwrap();
        assert_eq!(place.folder, clone.path().join("libtorch"));
        assert_eq!(place.link, None);
        assert!(
            place
                .beside("lock")
                .starts_with(clone.path().join(".peregrine"))
        );
    }

    #[test]
    fn with_the_variable_the_clone_gets_a_link_once() {
        let clone = tempfile::tempdir().unwrap();
        let shared = tempfile::tempdir().unwrap();
        let folder = shared.path().join("torch-for-all");
        let place = choose(clone.path(), Some(&folder)).unwrap();
        place.link().unwrap();
        place.link().unwrap();
        assert_eq!(
            fs::read_link(clone.path().join("libtorch")).unwrap(),
            folder
        );
        // From now on the link says it.
        assert_eq!(choose(clone.path(), None).unwrap(), place);
        // And another shared folder takes its place.
        let other = shared.path().join("other");
        choose(clone.path(), Some(&other)).unwrap().link().unwrap();
        assert_eq!(fs::read_link(clone.path().join("libtorch")).unwrap(), other);
    }

    #[test]
    fn a_folder_of_the_clones_own_is_not_thrown_away() {
        let clone = tempfile::tempdir().unwrap();
        fs::create_dir(clone.path().join("libtorch")).unwrap();
        let place = choose(clone.path(), Some(Path::new("/shared/torch"))).unwrap();
        let error = place.link().unwrap_err();
        assert!(error.is::<Refused>(), "{error}");
    }

    #[test]
    fn a_relative_shared_folder_is_refused() {
        let clone = tempfile::tempdir().unwrap();
        let error = choose(clone.path(), Some(Path::new("torch"))).unwrap_err();
        assert!(error.to_string().contains(SHARED), "{error}");
    }
}
