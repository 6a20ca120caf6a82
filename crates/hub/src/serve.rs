//! How the Hub serves a file's contents: by HTTP, and large ones by Xet too.

use reqwest::Method;
use reqwest::header::RANGE;
use subnet::{CommitId, RepoId};
use xet::xet_session::XetFileInfo;

use crate::answers::RemoteFile;
use crate::http::interrupted;
use crate::repository::quiet;
use crate::retry::patiently;
use crate::storage::Reader;
use crate::{Hub, HubError, LocalFile, TransferKind};

impl Hub {
    /// Reads the first byte of each file, which a Hub cannot serve when the
    /// contents behind a good listing are missing.
    pub(crate) async fn probe(
        &self,
        repo: &RepoId,
        commit: CommitId,
        files: &[LocalFile],
    ) -> Result<(), HubError> {
        for file in files.iter().filter(|file| file.bytes > 0) {
            let Err(error) = self.first_byte(repo, commit, &file.name).await else {
                continue;
            };
            // Those who speak Xet may be served all the same. If not, the storage
            // knows better than the server before it whether the contents are there.
            match self.first_byte_by_xet(repo, commit, &file.name).await {
                Ok(true) => {}
                Err(
                    missing @ HubError::Transfer {
                        kind: TransferKind::Inconsistent,
                        ..
                    },
                ) => return Err(missing),
                Ok(false) | Err(_) => return Err(error),
            }
        }
        Ok(())
    }

    async fn first_byte(
        &self,
        repo: &RepoId,
        commit: CommitId,
        name: &str,
    ) -> Result<(), HubError> {
        const CALL: &str = "reading back the first byte of a file";
        let url = self.resolve_url(repo, commit, name);
        patiently(&self.config.waits, &quiet, || async {
            let request = self.http.request(Method::GET, url.clone());
            let mut response = self
                .http
                .open(CALL, request.header(RANGE, "bytes=0-0"))
                .await?;
            let chunk = response.chunk().await;
            match chunk.map_err(|error| interrupted(CALL, error))? {
                Some(bytes) if !bytes.is_empty() => Ok(()),
                _ => Err(HubError::answer(CALL, format!("{name} is empty"))),
            }
        })
        .await
    }

    async fn first_byte_by_xet(
        &self,
        repo: &RepoId,
        commit: CommitId,
        name: &str,
    ) -> Result<bool, HubError> {
        let repository = self.at(repo, commit, &quiet).await?;
        let file = repository.files.iter().find(|file| file.path == name);
        let Some(file) = file else {
            return Ok(false);
        };
        match self.read_by_xet(repo, commit, file, 0..1).await? {
            Some(mut reader) => Ok(reader.next().await?.is_some_and(|piece| !piece.is_empty())),
            None => Ok(false),
        }
    }

    /// Begins to read a part of a file from Xet's storage, if it is there.
    pub(crate) async fn read_by_xet(
        &self,
        repo: &RepoId,
        commit: CommitId,
        file: &RemoteFile,
        part: std::ops::Range<u64>,
    ) -> Result<Option<Reader>, HubError> {
        let Some(hash) = &file.xet_hash else {
            return Ok(None);
        };
        let commit = commit.to_string();
        let parts = [
            "api",
            "models",
            repo.namespace(),
            repo.name(),
            "xet-read-token",
            &commit,
        ];
        let entrance = self.enter_storage(self.http.url(parts)).await?;
        let info = XetFileInfo::new(hash.clone(), file.bytes);
        Reader::start(&self.config, entrance, info, part.start, part.end).map(Some)
    }

    /// Where a file is served at a commit.
    pub(crate) fn resolve_url(&self, repo: &RepoId, commit: CommitId, path: &str) -> reqwest::Url {
        let commit = commit.to_string();
        self.http
            .url([repo.namespace(), repo.name(), "resolve", &commit, path])
    }
}
