//! Comparing what the Hub serves with what was published.

use reqwest::Method;
use sha2::{Digest as _, Sha256};
use subnet::{CommitId, RepoId};

use crate::answers::RemoteFile;
use crate::repository::quiet;
use crate::retry::patiently;
use crate::{Hub, HubError, LocalFile, is_kept};

/// What the Hub serves at a commit, found to be what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Whether only its owner can see it. Validators cannot.
    pub private: bool,
    /// Whether readers must ask for access. Validators do not.
    pub gated: bool,
    /// Whether the Hub has switched the repository off.
    pub disabled: bool,
    /// The size of all its files, in bytes: what the subnet's limit counts.
    pub bytes: u64,
}

/// How often a small file is read before its bytes are believed to be wrong: an
/// answer may hold an error's text under a good status.
const READINGS: usize = 3;

impl Served {
    /// Whether validators can download it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        !self.private && !self.gated && !self.disabled
    }
}

impl Hub {
    /// Compares what the Hub serves at a commit with the files that were
    /// published: the same names and digests, nothing else but what
    /// [`is_kept`] names, and at most `limit_bytes` in all.
    ///
    /// Of large files the Hub's own SHA-256 is compared, and the first byte is
    /// read; small ones, of which it knows no SHA-256, are downloaded and
    /// hashed.
    ///
    /// # Errors
    /// [`HubError::NotServed`], [`HubError::TooLarge`], or why it cannot be
    /// told.
    pub async fn verify(
        &self,
        repo: &RepoId,
        commit: CommitId,
        files: &[LocalFile],
        limit_bytes: u64,
    ) -> Result<Served, HubError> {
        let repository = self.at(repo, commit, &quiet).await?;
        let differs = |reason: String| HubError::NotServed {
            repo: repo.clone(),
            commit,
            reason,
        };
        for file in files {
            let remote = repository
                .files
                .iter()
                .find(|remote| remote.path == file.name);
            let remote = remote.ok_or_else(|| differs(format!("{} is missing", file.name)))?;
            if let Some(difference) = self.difference(repo, commit, file, remote).await? {
                return Err(differs(format!("{} {difference}", file.name)));
            }
        }
        let is_ours = |path: &str| files.iter().any(|file| file.name == path);
        if let Some(other) = repository
            .files
            .iter()
            .find(|remote| !is_kept(&remote.path) && !is_ours(&remote.path))
        {
            return Err(differs(format!("there is {} as well", other.path)));
        }
        if repository.bytes > limit_bytes {
            return Err(HubError::TooLarge {
                repo: repo.clone(),
                commit,
                bytes: repository.bytes,
                limit: limit_bytes,
            });
        }
        self.probe(repo, commit, files).await?;
        Ok(Served {
            private: repository.private,
            gated: repository.gated,
            disabled: repository.disabled,
            bytes: repository.bytes,
        })
    }

    /// In what the Hub's file differs from ours, if it does.
    async fn difference(
        &self,
        repo: &RepoId,
        commit: CommitId,
        file: &LocalFile,
        remote: &RemoteFile,
    ) -> Result<Option<String>, HubError> {
        if remote.bytes != file.bytes {
            let reason = format!("has {} bytes instead of {}", remote.bytes, file.bytes);
            return Ok(Some(reason));
        }
        let sha256 = match remote.sha256 {
            Some(sha256) => sha256,
            None if remote.bytes > self.config.limits.inline_bytes => {
                return Ok(Some("is stored as a small file".to_owned()));
            }
            None => self.sha256_of_small(repo, commit, file).await?,
        };
        Ok((sha256 != file.sha256).then(|| {
            format!(
                "has the SHA-256 {} instead of {}",
                hex::encode(sha256),
                hex::encode(file.sha256)
            )
        }))
    }

    async fn sha256_of_small(
        &self,
        repo: &RepoId,
        commit: CommitId,
        file: &LocalFile,
    ) -> Result<[u8; 32], HubError> {
        const CALL: &str = "reading back a file";
        let url = self.resolve_url(repo, commit, &file.name);
        // One byte more than it should have shows that it has too many.
        let limit = usize::try_from(file.bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let mut sha256 = [0; 32];
        for _ in 0..READINGS {
            let answer = patiently(&self.config.waits, &quiet, || async {
                let request = self.http.request(Method::GET, url.clone());
                self.http.call(CALL, request, limit).await
            })
            .await?;
            sha256 = Sha256::digest(&answer.body).into();
            if sha256 == file.sha256 {
                break;
            }
        }
        Ok(sha256)
    }
}
