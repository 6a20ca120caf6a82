//! Installing wheels so that they are complete or absent.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::pins::{self, Wheel};
use super::place::Place;
use super::stamp::Stamp;
use super::{Parts, pip, prerequisites, record};
use crate::progress::{Progress, section};
use crate::{Refused, interrupt};

/// A file without which nothing can be linked: a stamp alone is not believed.
const HEART: &str = "torch/lib/libtorch_cpu.so";

/// How the names of folders end in which wheels are not complete yet.
const PARTIAL: &str = "partial-";

/// Whether there is nothing to install.
pub(crate) fn is_complete(place: &Place, parts: Parts) -> bool {
    let stamp = Stamp::read(&place.folder);
    stamp.has(pins::CPU)
        && (parts == Parts::Cpu || stamp.has(pins::CUDA))
        && place.folder.join(HEART).is_file()
}

/// Brings what is missing. One set-up at a time works on a folder; others wait.
pub(crate) fn install(place: &Place, parts: Parts) -> anyhow::Result<()> {
    section(&format!("set-up: libtorch into {}", place.folder.display()));
    fs::create_dir_all(&place.workshop).map_err(|error| {
        Refused(format!(
            "{}: {error}; libtorch is installed there, so it must be writable",
            place.workshop.display()
        ))
    })?;
    let _lock = lock(&place.beside("lock"))?;
    // What another set-up did while this one waited.
    if is_complete(place, parts) {
        return Ok(());
    }
    if !is_complete(place, Parts::Cpu) {
        whole_folder(place)?;
    }
    if parts == Parts::Cuda && !is_complete(place, Parts::Cuda) {
        added_wheels(place)?;
    }
    Ok(())
}

/// Installs the CPU wheels beside the folder, then puts them in its place.
fn whole_folder(place: &Place) -> anyhow::Result<()> {
    if adopt(place)? {
        return Ok(());
    }
    let partial = staged(place, pins::CPU, pins::CPU_BYTES)?;
    let mut stamp = Stamp::default();
    stamp.add(pins::CPU);
    stamp.write(&partial.join("content"))?;

    let old = place.beside("old");
    remove(&old)?;
    if place.folder.exists() {
        fs::rename(&place.folder, &old)?;
    }
    fs::rename(partial.join("content"), &place.folder)
        .with_context(|| format!("cannot move libtorch to {}", place.folder.display()))?;
    remove(&old)?;
    remove(&partial)
}

/// A folder that somebody filled by other means is taken as it is if it is
/// whole, and left alone if it is something else.
fn adopt(place: &Place) -> anyhow::Result<bool> {
    let listed = match fs::read_dir(&place.folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error).context(place.folder.display().to_string()),
    };
    if !listed {
        return Ok(false);
    }
    if record::verify(&place.folder, pins::CPU).is_ok() {
        let mut stamp = Stamp::read(&place.folder);
        stamp.add(pins::CPU);
        stamp.write(&place.folder)?;
        eprintln!(
            "{} holds the pinned versions already",
            place.folder.display()
        );
        return Ok(true);
    }
    let ours = Stamp::read(&place.folder) != Stamp::default();
    if ours || place.folder.join("torch").is_dir() {
        eprintln!(
            "{} holds other versions; replacing it",
            place.folder.display()
        );
        return Ok(false);
    }
    Err(Refused(format!(
        "{} is not empty and holds no libtorch; set-up does not replace what it did not make: \
         remove it, or name another folder in PEREGRINE_LIBTORCH",
        place.folder.display()
    ))
    .into())
}

/// Adds the CUDA wheels to a folder that is complete without them. They share
/// no file with what is there, so a build that reads the folder meanwhile is
/// not disturbed; only the stamp makes them count.
fn added_wheels(place: &Place) -> anyhow::Result<()> {
    let partial = staged(place, pins::CUDA, pins::CUDA_BYTES)?;
    let content = partial.join("content");
    for &wheel in pins::CUDA {
        for entry in record::entries(&content, wheel)? {
            let from = content.join(&entry.path);
            let to = place.folder.join(&entry.path);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::rename(&from, &to) {
                // Compiled Python, which is listed but was not asked for.
                Err(error) if error.kind() == ErrorKind::NotFound && entry.size.is_none() => {}
                other => other.with_context(|| format!("cannot move {}", from.display()))?,
            }
        }
    }
    record::verify(&place.folder, pins::CUDA)?;
    let mut stamp = Stamp::read(&place.folder);
    stamp.add(pins::CUDA);
    stamp.write(&place.folder)?;
    remove(&partial)
}

/// Installs wheels into `<partial>/content` and compares every file with what
/// the wheels list.
fn staged(place: &Place, wheels: &[Wheel], bytes: u64) -> anyhow::Result<PathBuf> {
    prerequisites::python_with_pip()?;
    prerequisites::c_library()?;
    remove_leftovers(place)?;
    // A name of its own: the pip of a set-up that was killed may go on for a
    // while, into a folder that is gone.
    let partial = place.beside(&format!("{PARTIAL}{}", std::process::id()));
    prerequisites::disk(&place.workshop, bytes)?;
    let content = partial.join("content");
    fs::create_dir_all(&content)?;
    if let Err(error) = pip::install(wheels, &content, &partial) {
        remove(&partial)?;
        return Err(error);
    }
    let progress = Progress::start("comparing every file with the wheels' lists");
    record::verify(&content, wheels).context("what pip installed is not whole")?;
    progress.finish("every file is there");
    interrupt::check()?;
    Ok(partial)
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => {
            return Err(error).context(format!("cannot lock {}", path.display()));
        }
    }
    let mut progress = Progress::start("another set-up is at work on this folder; waiting for it");
    loop {
        interrupt::check()?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(std::time::Duration::from_millis(200));
                progress.show("another set-up is at work on this folder; waiting for it".into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", path.display()));
            }
        }
    }
}

/// Removes what killed set-ups left; the lock says that none is at work.
fn remove_leftovers(place: &Place) -> anyhow::Result<()> {
    let prefix = place.beside(PARTIAL);
    for entry in fs::read_dir(&place.workshop)? {
        let path = entry?.path();
        let is_leftover = path
            .as_os_str()
            .as_encoded_bytes()
            .starts_with(prefix.as_os_str().as_encoded_bytes());
        if is_leftover {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_setup_left_goes_and_the_neighbours_stay() {
        let disk = tempfile::tempdir().unwrap();
        let place = Place::at(disk.path().join("libtorch"), disk.path().to_path_buf());
        let neighbour = disk.path().join(".libtorch-2.partial-1");
        for folder in [
            &place.beside("partial-1"),
            &place.beside("partial-2"),
            &neighbour,
        ] {
            fs::create_dir_all(folder.join("content")).unwrap();
        }
        remove_leftovers(&place).unwrap();
        let left: Vec<_> = fs::read_dir(disk.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, [neighbour]);
    }

    #[test]
    fn a_folder_that_setup_did_not_make_is_left_alone() {
        let disk = tempfile::tempdir().unwrap();
        let folder = disk.path().join("photos");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cat.jpg"), "meow").unwrap();
        let place = Place::at(folder.clone(), disk.path().to_path_buf());
        let error = whole_folder(&place).unwrap_err();
        assert!(error.is::<Refused>(), "{error}");
        assert!(folder.join("cat.jpg").is_file());
    }

    #[test]
    fn a_stamp_without_libtorch_is_not_believed() {
        let disk = tempfile::tempdir().unwrap();
        let place = Place::at(disk.path().to_path_buf(), disk.path().to_path_buf());
        let mut stamp = Stamp::default();
        stamp.add(pins::CPU);
        stamp.write(&place.folder).unwrap();
        assert!(!is_complete(&place, Parts::Cpu));
    }
}
