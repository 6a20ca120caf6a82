//! Checks of the folders that a flag names, made before work starts.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::Refused;

/// Makes sure that `directory` exists and that files can be written in it, by
/// creating it if need be and writing a small file there, which is removed.
/// (Permission bits would not show a full disk or a read-only mount.)
///
/// `flag` is the flag that named the directory, as people type it.
///
/// # Errors
/// Refused if it cannot be created or written to, saying why and what to do.
pub fn writable_directory(flag: &str, directory: &Path) -> Result<(), Refused> {
    let refuse = |what: &str, error: &io::Error| {
        Refused::new(format!(
            "{flag} {}: {what}: {error}; name a folder that this user can write to, or change \
             its owner or permissions",
            directory.display()
        ))
    };
    fs::create_dir_all(directory)
        .map_err(|error| refuse("the folder cannot be created", &error))?;
    write_probe(directory).map_err(|error| refuse("the folder cannot be written to", &error))
}

fn write_probe(directory: &Path) -> io::Result<()> {
    let mut probe = tempfile::Builder::new()
        .prefix(".write-probe-")
        .tempfile_in(directory)?;
    probe.write_all(b"probe")?;
    probe.flush()?;
    probe.close()
}

/// Makes sure that the disk that holds `path`, or would if `path` existed, has
/// `needed` bytes free. `purpose` completes "... are needed for".
///
/// # Errors
/// Refused if there is less, or if the disk cannot be asked.
pub fn free_space(flag: &str, path: &Path, needed: u64, purpose: &str) -> Result<(), Refused> {
    let available = available_at(path).map_err(|error| {
        Refused::new(format!(
            "{flag} {}: cannot tell how much space is free: {error}; name a folder on a local disk",
            path.display()
        ))
    })?;
    if available >= needed {
        return Ok(());
    }
    Err(Refused::new(format!(
        "{flag} {}: {} are free and {} are needed for {purpose}; free some space or name a folder \
         on a larger disk",
        path.display(),
        human_bytes(available),
        human_bytes(needed)
    )))
}

fn available_at(path: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(path)?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists());
    fs4::available_space(existing.unwrap_or(Path::new("/")))
}

/// Bytes in decimal units with one decimal, as disks are sold: `489.1 MB`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_created_and_left_empty() {
        let parent = tempfile::tempdir().unwrap();
        let wanted = parent.path().join("a/b");
        writable_directory("--state-dir", &wanted).unwrap();
        assert_eq!(fs::read_dir(&wanted).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_a_directory_is_refused_with_flag_path_and_remedy() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        for path in [file.clone(), file.join("below")] {
            let refused = writable_directory("--state-dir", &path).unwrap_err();
            let text = refused.to_string();
            assert!(text.starts_with("--state-dir "), "{text}");
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert!(text.contains("name a folder"), "{text}");
        }
    }

    #[test]
    fn a_directory_that_takes_no_files_is_refused() {
        // Not even root can create files in procfs, so this also tests there.
        let refused = writable_directory("--cache-dir", Path::new("/proc/self")).unwrap_err();
        assert!(refused.to_string().contains("cannot be written to"));
    }

    #[test]
    fn space_is_asked_of_the_nearest_existing_ancestor() {
        let parent = tempfile::tempdir().unwrap();
        let future = parent.path().join("not/yet/there");
        free_space("--state-dir", &future, 1, "a test").unwrap();
        assert!(!future.exists());
    }

    #[test]
    fn too_little_space_is_refused_with_both_amounts_and_the_purpose() {
        let parent = tempfile::tempdir().unwrap();
        let refused = free_space("--state-dir", parent.path(), u64::MAX, "two checkpoints");
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("--state-dir "), "{text}");
        assert!(
            text.contains("18.4 EB are needed for two checkpoints"),
            "{text}"
        );
    }

    #[test]
    fn bytes_are_shown_in_decimal_units() {
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(1000), "1.0 kB");
        assert_eq!(human_bytes(489_087_136), "489.1 MB");
        assert_eq!(human_bytes(999_999_999), "1.0 GB");
    }
}
