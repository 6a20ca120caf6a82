//! The files to be published, as they lie on disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{MAX_FILES, Publish};
use crate::answers::{RemoteFile, is_plain_path};
use crate::repository::Repository;
use crate::{BlobId, HubError, Limits, blocking};

/// A file to be published, or to be found published: name, size and SHA-256.
pub type LocalFile = subnet::FileDigest;

/// How much of a file's beginning the Hub wants to see before it says how the
/// file is to travel.
const SAMPLE_BYTES: usize = 512;

/// What a model directory must never hold: transformers would load an adapter,
/// and the model itself from the repository that it names.
const FORBIDDEN_FILE: &str = "adapter_config.json";

/// Whether a publication leaves a file of the repository alone: git's
/// attributes, which say what is stored as a large file, and what people wrote
/// for people, `README` and `LICENSE` with any extension or none. Neither counts
/// towards the directory hash.
///
/// Only in the repository's topmost folder and only in capitals, which is how
/// the Hub looks for its model card and its license: a `readme.md` is deleted.
#[must_use]
pub fn is_kept(path: &str) -> bool {
    let stem = path.split_once('.').map_or(path, |(stem, _)| stem);
    path == ".gitattributes" || (matches!(stem, "README" | "LICENSE") && !path.contains('/'))
}

/// The files, checked, and the contents of those that may travel in a commit.
pub(crate) struct Staged {
    files: Vec<StagedFile>,
}

pub(crate) struct StagedFile {
    local: LocalFile,
    /// Its first bytes.
    sample: Vec<u8>,
    /// The whole of a small file.
    small: Option<Small>,
}

struct Small {
    contents: Vec<u8>,
    blob: BlobId,
}

impl Staged {
    /// Looks at the files: at all of a small one, at the beginning of a large
    /// one (whose digest is taken while it is sent).
    pub(crate) async fn read(publish: &Publish<'_>, limits: &Limits) -> Result<Self, HubError> {
        check_names(publish.files)?;
        let files = publish.files.to_vec();
        let dir = publish.dir.to_owned();
        let inline_bytes = limits.inline_bytes;
        blocking::run(move || {
            let mut small_bytes = 0;
            let mut staged = Vec::new();
            for file in files {
                small_bytes += file.bytes;
                let is_small = small_bytes <= inline_bytes;
                if !is_small {
                    small_bytes -= file.bytes;
                }
                staged.push(StagedFile::read(&dir, file, is_small)?);
            }
            Ok(Self { files: staged })
        })
        .await
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &LocalFile> {
        self.files.iter().map(|file| &file.local)
    }

    /// What the Hub wants to know before it says how files are to travel.
    pub(crate) fn samples(&self) -> Vec<Value> {
        let sample = |file: &StagedFile| {
            json!({
                "path": file.local.name,
                "size": file.local.bytes,
                "sample": STANDARD.encode(&file.sample),
            })
        };
        self.files.iter().map(sample).collect()
    }

    /// The contents of a file that travels in the commit.
    pub(crate) fn contents(&self, name: &str) -> Option<&[u8]> {
        let file = self.files.iter().find(|file| file.local.name == name)?;
        Some(&file.small.as_ref()?.contents)
    }

    /// Whether a repository holds exactly these files, by digest, and nothing
    /// else but what is kept.
    pub(crate) fn is_held_by(&self, repository: &Repository) -> bool {
        let find = |path: &str| repository.files.iter().find(|file| file.path == path);
        self.files
            .iter()
            .all(|file| find(&file.local.name).is_some_and(|remote| file.is(remote)))
            && self.superfluous(repository).next().is_none()
    }

    /// What a repository holds beside these files and what is kept.
    pub(crate) fn superfluous<'r>(
        &'r self,
        repository: &'r Repository,
    ) -> impl Iterator<Item = &'r str> {
        repository
            .files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| !is_kept(path) && self.files.iter().all(|file| file.local.name != *path))
    }
}

impl StagedFile {
    fn read(dir: &Path, local: LocalFile, is_small: bool) -> Result<Self, HubError> {
        let path = dir.join(&local.name);
        let io = |source| HubError::file(&path, source);
        let changed = |reason: String| HubError::Changed {
            path: path.clone(),
            reason,
        };
        let mut file = File::open(&path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        if bytes != local.bytes {
            return Err(changed(format!(
                "it has {bytes} bytes instead of {}",
                local.bytes
            )));
        }
        let wanted = if is_small {
            local.bytes
        } else {
            SAMPLE_BYTES as u64
        };
        let mut contents = Vec::new();
        file.by_ref()
            .take(wanted)
            .read_to_end(&mut contents)
            .map_err(io)?;
        let sample = contents[..contents.len().min(SAMPLE_BYTES)].to_vec();
        let small = match is_small {
            true => {
                if <[u8; 32]>::from(Sha256::digest(&contents)) != local.sha256 {
                    return Err(changed("its SHA-256 is another".to_owned()));
                }
                let blob = BlobId::of(&contents);
                Some(Small { contents, blob })
            }
            false => None,
        };
        Ok(Self {
            local,
            sample,
            small,
        })
    }

    /// Whether the repository's file is this one.
    fn is(&self, remote: &RemoteFile) -> bool {
        if remote.bytes != self.local.bytes {
            return false;
        }
        match (remote.sha256, &self.small) {
            (Some(sha256), _) => sha256 == self.local.sha256,
            (None, Some(small)) => small.blob == remote.oid,
            // A large file that the repository stores as a small one was not
            // put there by us.
            (None, None) => false,
        }
    }
}

fn check_names(files: &[LocalFile]) -> Result<(), HubError> {
    let refuse = |file: &str, reason: &str| HubError::Unpublishable {
        file: file.to_owned(),
        reason: reason.to_owned(),
    };
    if files.is_empty() || files.len() > MAX_FILES {
        let reason = format!(
            "a publication has 1 to {MAX_FILES} files, not {}",
            files.len()
        );
        return Err(refuse("the folder", &reason));
    }
    let mut names = BTreeSet::new();
    for file in files {
        let name = file.name.as_str();
        if !is_plain_path(name) || name.contains('/') {
            return Err(refuse(
                name,
                "it is not the name of a file within the folder",
            ));
        }
        if name == FORBIDDEN_FILE {
            return Err(refuse(name, "it makes transformers load another model"));
        }
        if is_kept(name) {
            return Err(refuse(name, "it is no file of the model's"));
        }
        if !names.insert(name) {
            return Err(refuse(name, "it is listed twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_for_people_is_kept_and_nothing_else() {
        for kept in [
            ".gitattributes",
            "README",
            "README.md",
            "README.zh.md",
            "LICENSE",
            "LICENSE.txt",
        ] {
            assert!(is_kept(kept), "{kept}");
        }
        for other in [
            "readme.md",
            "License",
            "LICENSES",
            "README-old.md",
            "README.d/model.safetensors",
            "docs/README.md",
            ".gitattributes.bak",
            "tokenizer.json",
        ] {
            assert!(!is_kept(other), "{other}");
        }
    }
}
