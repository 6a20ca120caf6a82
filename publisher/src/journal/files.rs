//! Records as files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, OLDEST_FORMAT, Publication};
use crate::Error;
use crate::state_dir::StateDir;

/// Every record, oldest first.
pub(crate) fn read_all(state: &StateDir) -> Result<Vec<Publication>, Error> {
    let mut publications = Vec::new();
    for path in json_files(&state.records())? {
        publications.push(read(&path)?);
    }
    publications.sort_by(|a, b| {
        (a.staged_unix_ms, &a.checkpoint_id).cmp(&(b.staged_unix_ms, &b.checkpoint_id))
    });
    Ok(publications)
}

/// The record of one checkpoint, if there is one.
pub(crate) fn find(state: &StateDir, checkpoint_id: &str) -> Result<Option<Publication>, Error> {
    let path = state.record(checkpoint_id);
    if path.exists() {
        read(&path).map(Some)
    } else {
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Publication, Error> {
    let mut publication: Publication = read_json(path)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&publication.format) {
        return Err(Error::Record {
            path: path.to_owned(),
            reason: format!(
                "its format is {}, and this publisher knows those up to {FORMAT}",
                publication.format
            ),
        });
    }
    publication.format = FORMAT;
    Ok(publication)
}

pub(super) fn write_json(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    layout::replace_file(path, |out| {
        serde_json::to_writer_pretty(&mut *out, record).map_err(io::Error::from)?;
        out.write_all(b"\n")
    })?;
    Ok(())
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).map_err(|source| Error::file(path, source))?;
    serde_json::from_slice(&text).map_err(|error| Error::Record {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The records in a folder, which may not exist.
pub(super) fn json_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file(dir, source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::file(dir, source))?.path();
        // Others are records whose writing was interrupted.
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    Ok(paths)
}
