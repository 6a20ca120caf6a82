//! Complete checkpoints that no record knows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CheckpointError, CheckpointFolder, sync_folder};
use crate::records::CheckpointId;

impl CheckpointFolder {
    /// Moves complete checkpoints of steps that the records do not know, being of
    /// more than `known`, into the folder `to`, and returns where they are now.
    ///
    /// Such a checkpoint is no leftover of a coordinator that was killed before it
    /// wrote the record or removed the folder: the steps themselves had been
    /// recorded then. It was taken after the records were saved that somebody
    /// brought back, and is the only trace of that work.
    ///
    /// # Errors
    /// If a folder cannot be read, made or moved.
    pub(crate) fn set_aside_unrecorded(
        &self,
        known: u64,
        to: &Path,
    ) -> Result<Vec<PathBuf>, CheckpointError> {
        let root = &self.root;
        let failed = |source| CheckpointError::io(root, source);
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut moved = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name else { continue };
            let id = CheckpointId(name.to_owned());
            let is_newer = id.step().is_some_and(|step| step > known);
            if is_newer && path.is_dir() {
                let target = free_name(to, name);
                let failed = |source| CheckpointError::io(&target, source);
                fs::create_dir_all(to).map_err(failed)?;
                fs::rename(&path, &target).map_err(failed)?;
                moved.push(target);
            }
        }
        if !moved.is_empty() {
            sync_folder(to)?;
            sync_folder(root)?;
        }
        Ok(moved)
    }
}

/// A path in `folder` at which there is nothing.
fn free_name(folder: &Path, name: &str) -> PathBuf {
    let numbered = (2_u64..).map(|number| folder.join(format!("{name}-{number}")));
    std::iter::once(folder.join(name))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join(name))
}

#[cfg(test)]
mod tests {
    use ledger::Cursor;

    use super::*;
    use crate::records::Checkpoint;

    fn checkpoint(step: u64) -> Checkpoint {
        Checkpoint {
            id: CheckpointId::of(step, 1),
            generation: 1,
            cursor: Cursor {
                step,
                ..Cursor::start()
            },
            evaluation: None,
            training_loss: 0.0,
            parameters: 0,
            files: Vec::new(),
            created_unix_ms: 0,
        }
    }

    fn put(root: &Path, name: &str) {
        fs::create_dir_all(root.join(name).join("model")).unwrap();
    }

    #[test]
    fn what_is_newer_than_the_records_is_set_aside_and_the_rest_removed() {
        let state_dir = tempfile::tempdir().unwrap();
        let (root, aside) = (state_dir.path().join("c"), state_dir.path().join("u"));
        let kept = [checkpoint(20), checkpoint(30)];
        let others = [
            "step-00000010-g1",
            "step-00000035-g1",
            "step-00000040-g2",
            ".partial-step-00000060-g2",
            "initial",
            "of-somebody-else",
        ];
        for name in others
            .into_iter()
            .chain(kept.iter().map(|one| one.id.0.as_str()))
        {
            put(&root, name);
        }
        let model = layout::preset("gpt2-demo").unwrap();
        let folder = CheckpointFolder::at(&root, &model);
        let moved = folder.set_aside_unrecorded(35, &aside).unwrap();
        assert_eq!(moved, [aside.join("step-00000040-g2")]);
        folder.remove_all_but(&kept).unwrap();
        let entries = fs::read_dir(&root).unwrap();
        let mut left: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected = ["of-somebody-else", "step-00000020-g1", "step-00000030-g1"];
        assert_eq!(left, expected);

        // A second one of the same name does not replace the first.
        put(&root, "step-00000040-g2");
        let moved = folder.set_aside_unrecorded(35, &aside).unwrap();
        assert_eq!(moved, [aside.join("step-00000040-g2-2")]);
    }

    #[test]
    fn a_folder_that_is_not_there_has_none() {
        let state_dir = tempfile::tempdir().unwrap();
        let model = layout::preset("gpt2-demo").unwrap();
        let folder = CheckpointFolder::at(&state_dir.path().join("c"), &model);
        let aside = state_dir.path().join("u");
        assert!(folder.set_aside_unrecorded(0, &aside).unwrap().is_empty());
        assert!(!aside.exists());
    }
}
