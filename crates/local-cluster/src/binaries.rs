//! Where the built programs are.

use std::env;
use std::path::{Path, PathBuf};

use crate::Error;

/// The three programs, as cargo built them into one folder.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The programs in `folder`, which is a `target/<profile>`; `remedy` is the
    /// command that builds them there.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] naming the first that is missing.
    pub fn in_folder(folder: &Path, remedy: &str) -> Result<Self, Error> {
        for program in ["coordinator", "worker", "publisher"] {
            let path = folder.join(program);
            if !path.is_file() {
                return Err(Error::NotBuilt {
                    path,
                    remedy: remedy.to_owned(),
                });
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// The programs that belong to the test that is running: cargo puts tests
    /// into `deps/` of the folder that holds the programs of the same profile.
    ///
    /// # Errors
    /// [`Error::NotBuilt`]; tests of one package do not build the programs of
    /// another, so `cargo build` comes first.
    pub fn beside_this_test() -> Result<Self, Error> {
        let test = env::current_exe().map_err(Error::file("the running test"))?;
        let folder = test
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("."));
        Self::in_folder(folder, "cargo build --workspace --bins")
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_command_that_builds_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("coordinator"), "").unwrap();
        let error = Binaries::in_folder(folder.path(), "cargo build").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("worker is missing"), "{text}");
        assert!(text.contains("`cargo build`"), "{text}");
    }
}
