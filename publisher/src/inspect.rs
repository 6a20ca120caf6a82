//! Looking at what was downloaded before vouching for it.

use std::path::Path;

use layout::{LayoutError, ModelDir, first_non_finite};
use subnet::{Criteria, HashError, ModelFacts, ModelHash, hash_directory};

use crate::journal::PublishedFile;
use crate::{Candidate, Error, Refusal};

/// What was found in a model directory that may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The directory hash.
    pub hash: ModelHash,
    /// How many parameters the weights hold.
    pub parameters: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Reads a directory, every byte of it, and compares it with what the
/// candidate's manifest promises, with its own configuration, and with what
/// validators demand.
pub(crate) fn inspect(
    dir: &Path,
    candidate: &Candidate,
    criteria: &Criteria,
) -> Result<Result<Inspected, Refusal>, Error> {
    let unusable = |reason: String| Ok(Err(Refusal::Unusable(reason)));

    let hashed = match hash_directory(dir) {
        Ok(hashed) => hashed,
        Err(HashError::Io { path, source }) => return Err(Error::File { path, source }),
        Err(HashError::Layout(error)) => return refuse_or_fail(error),
        Err(error) => return unusable(error.to_string()),
    };
    let found: Vec<PublishedFile> = hashed.files.iter().map(PublishedFile::from).collect();
    if let Some(difference) = first_difference(&candidate.files, &found) {
        return unusable(difference);
    }

    let model = match ModelDir::open(dir) {
        Ok(model) => model,
        Err(error) => return refuse_or_fail(error),
    };
    if let Err(error) = model.check(model.config()) {
        return refuse_or_fail(error);
    }
    let facts = ModelFacts::of(&model).map_err(|source| Error::file(dir, source))?;
    let violations = criteria.check(&facts);
    if !violations.is_empty() {
        return Ok(Err(Refusal::Criteria(violations)));
    }
    match first_non_finite(&model, model.config()) {
        Ok(None) => {}
        Ok(Some(tensor)) => {
            return unusable(format!(
                "{tensor} has values that are infinite or not numbers"
            ));
        }
        Err(error) => return refuse_or_fail(error),
    }
    Ok(Ok(Inspected {
        hash: hashed.hash,
        parameters: facts.parameters,
        bytes: facts.repository_bytes,
    }))
}

/// A directory that is no proper model is the checkpoint's fault; a disk that
/// cannot be read is this machine's.
fn refuse_or_fail(error: LayoutError) -> Result<Result<Inspected, Refusal>, Error> {
    match error {
        LayoutError::Io { path, source } => Err(Error::File { path, source }),
        error => Ok(Err(Refusal::Unusable(error.to_string()))),
    }
}

/// Both in name order.
fn first_difference(promised: &[PublishedFile], found: &[PublishedFile]) -> Option<String> {
    let find =
        |files: &[PublishedFile], name: &str| files.iter().find(|file| file.name == name).cloned();
    for file in promised {
        match find(found, &file.name) {
            None => {
                return Some(format!(
                    "{} does not belong to a model directory and is among the model's files",
                    file.name
                ));
            }
            Some(other) if other != *file => {
                return Some(format!("{} has not the bytes of the manifest", file.name));
            }
            Some(_) => {}
        }
    }
    found
        .iter()
        .find(|file| find(promised, &file.name).is_none())
        .map(|file| format!("{} is not in the manifest", file.name))
}
