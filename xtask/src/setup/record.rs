//! Whether an installed wheel is whole: its `RECORD` lists every file with its
//! size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::pins::Wheel;

/// One file that a wheel installed, relative to the folder it was installed to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Absent for what is made on installation: compiled Python, RECORD itself.
    pub(crate) size: Option<u64>,
}

/// The files of an installed wheel, without the scripts that lie outside.
pub(crate) fn entries(folder: &Path, wheel: Wheel) -> anyhow::Result<Vec<Entry>> {
    let record = folder.join(wheel.dist_info()).join("RECORD");
    let text = fs::read_to_string(&record)
        .with_context(|| format!("{} is not installed ({})", wheel.name, record.display()))?;
    Ok(text.lines().filter_map(entry).collect())
}

/// A line is `path,hash,size`; a path with a comma is quoted, and none of ours
/// has one.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.rsplitn(3, ',');
    let size = fields.next()?;
    let _hash = fields.next()?;
    let path = fields.next()?;
    let inside = !path.is_empty() && !path.starts_with("..") && !path.starts_with('/');
    inside.then(|| Entry {
        path: PathBuf::from(path),
        size: size.parse().ok(),
    })
}

/// Fails unless every file of every wheel is there in full length.
pub(crate) fn verify(folder: &Path, wheels: &[Wheel]) -> anyhow::Result<()> {
    for &wheel in wheels {
        for Entry { path, size } in entries(folder, wheel)? {
            let Some(size) = size else { continue };
            let path = folder.join(path);
            let found = fs::metadata(&path)
                .with_context(|| format!("{} of {} is missing", path.display(), wheel.name))?
                .len();
            if found != size {
                bail!("{} has {found} bytes instead of {size}", path.display());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: Wheel = Wheel {
        name: "some-wheel",
        version: "1.0",
    };

    fn installed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("some_wheel-1.0.dist-info");
        fs::create_dir_all(&info).unwrap();
        fs::create_dir_all(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/a.so"), "12345").unwrap();
        fs::write(
            info.join("RECORD"),
            "../../bin/tool,sha256=x,99\nlib/a.so,sha256=x,5\nlib/__pycache__/a.pyc,,\n\
             some_wheel-1.0.dist-info/RECORD,,\n",
        )
        .unwrap();
        folder
    }

    #[test]
    fn scripts_outside_and_compiled_python_do_not_count() {
        let folder = installed();
        verify(folder.path(), &[WHEEL]).unwrap();
        let listed = entries(folder.path(), WHEEL).unwrap();
        assert_eq!(listed.len(), 3);
    }

    #[test]
    fn a_short_file_a_missing_one_and_a_missing_wheel_are_found() {
        let folder = installed();
        fs::write(folder.path().join("lib/a.so"), "123").unwrap();
        let error = verify(folder.path(), &[WHEEL]).unwrap_err();
        assert!(
            error.to_string().contains("3 bytes instead of 5"),
            "{error}"
        );
        fs::remove_file(folder.path().join("lib/a.so")).unwrap();
        assert!(verify(folder.path(), &[WHEEL]).is_err());
        let newer = Wheel {
            version: "1.1",
            ..WHEEL
        };
        assert!(verify(folder.path(), &[newer]).is_err());
    }
}
