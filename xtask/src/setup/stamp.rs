//! The stamp in an installed folder: which wheels it holds, whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pins::Wheel;

const FILE: &str = ".peregrine-setup.json";

/// What an installed folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// `name==version` of each wheel.
    wheels: BTreeSet<String>,
}

impl Stamp {
    /// The stamp of a folder; an empty one when there is none to be understood.
    pub(crate) fn read(folder: &Path) -> Self {
        fs::read_to_string(folder.join(FILE))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Whether all of these are there.
    pub(crate) fn has(&self, wheels: &[Wheel]) -> bool {
        wheels
            .iter()
            .all(|wheel| self.wheels.contains(&wheel.requirement()))
    }

    /// Adds wheels that are whole.
    pub(crate) fn add(&mut self, wheels: &[Wheel]) {
        self.wheels
            .extend(wheels.iter().map(|wheel| wheel.requirement()));
    }

    /// Writes it, at once or not at all.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let partial = folder.join(format!("{FILE}.partial"));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&partial, text)?;
        fs::rename(partial, folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pins;
    use super::*;

    #[test]
    fn a_stamp_says_what_was_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Stamp::read(folder.path()).has(pins::CPU));
        let mut stamp = Stamp::default();
        stamp.add(pins::CPU);
        stamp.write(folder.path()).unwrap();
        let read = Stamp::read(folder.path());
        assert!(read.has(pins::CPU));
        assert!(!read.has(pins::CUDA));
    }

    #[test]
    fn another_version_is_not_there() {
        let mut stamp = Stamp::default();
        stamp.add(&[Wheel {
            name: "torch",
            version: "2.10.0",
        }]);
        assert!(!stamp.has(&pins::CPU[..1]));
    }
}
