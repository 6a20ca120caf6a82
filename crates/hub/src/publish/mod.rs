//! Bringing a repository into a state, in one commit.

mod commit;
mod staged;

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use subnet::{CommitId, RepoId};

pub use staged::{LocalFile, is_kept};

use crate::answers::{LfsBatch, UploadModes};
use crate::publish::commit::Commit;
use crate::publish::staged::Staged;
use crate::repository::{BRANCH, Repository};
use crate::retry::Attempts;
use crate::storage::{Transfer, TransferCache};
use crate::{Class, Event, Events, Hub, HubError, TransferKind};

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to.
    pub repo: &'a RepoId,
    /// The folder with the files, which nobody may write to meanwhile.
    pub dir: &'a Path,
    /// The files: all that the repository is to hold, but for those that
    /// [`is_kept`] names.
    pub files: &'a [LocalFile],
    /// The commit's message.
    pub message: &'a str,
    /// The only commit that this one may follow. With `None` it follows
    /// whatever the head is, and replaces what others committed meanwhile.
    pub parent: Option<CommitId>,
}

/// A commit that holds exactly what was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The commit.
    pub commit: CommitId,
    /// Whether it was found rather than acknowledged: made by an earlier
    /// attempt whose answer was lost, or by an earlier process.
    pub adopted: bool,
}

/// How many files one publication may have: a model of 15 GiB in shards of
/// 100 MB has about 160.
const MAX_FILES: usize = 500;

impl Hub {
    /// Brings the repository into the state that `publish` describes, in at
    /// most one commit: the files there are replaced and added, and everything
    /// else is deleted ([`Event::Deleting`]) but for what [`is_kept`] names.
    ///
    /// The head is read before each attempt to commit, and named as the parent
    /// in it. So a lost acknowledgement, a crash of an earlier process and a
    /// commit by somebody else all look alike: if the head holds exactly these
    /// files, it is adopted, and otherwise the commit follows it (or is refused,
    /// with [`Publish::parent`]). `hf-hub` would send the same commit again, and
    /// fail on its own success.
    ///
    /// Returns when the Hub has begun to serve each large file, which it does
    /// not when a transfer relied on a cache that claims too much.
    ///
    /// # Errors
    /// See [`HubError`]; when its class is [`Class::Ambiguous`], calling again
    /// finds out what became of the commit.
    pub async fn publish(
        &self,
        publish: &Publish<'_>,
        events: Events<'_>,
    ) -> Result<Published, HubError> {
        events(Event::Preparing);
        let staged = Staged::read(publish, &self.config.limits).await?;
        let mut publication = Publication {
            hub: self,
            publish,
            staged: &staged,
            cache: TransferCache::of(&self.config, publish.files),
            renewed: false,
            events,
        };
        let published = publication.run().await?;
        // It has served its purpose, and a folder left over does no harm.
        let _ = publication.cache.clear().await;
        Ok(published)
    }
}

struct Publication<'a> {
    hub: &'a Hub,
    publish: &'a Publish<'a>,
    staged: &'a Staged,
    cache: TransferCache,
    /// Whether the contents were sent once more with an empty cache.
    renewed: bool,
    events: Events<'a>,
}

impl Publication<'_> {
    async fn run(&mut self) -> Result<Published, HubError> {
        let mut attempts = Attempts::new(&self.hub.config.waits);
        let mut large = None;
        loop {
            let repository = self.read_head().await?;
            let parent = repository.head;
            if self.staged.is_held_by(&repository) {
                self.make_readable(parent).await?;
                return Ok(Published {
                    commit: parent,
                    adopted: true,
                });
            }
            self.check_parent(parent)?;
            let sent = match large.take() {
                Some(sent) => sent,
                None => self.send_contents().await?,
            };
            let deleted: Vec<String> = self
                .staged
                .superfluous(&repository)
                .map(str::to_owned)
                .collect();
            if !deleted.is_empty() {
                (self.events)(Event::Deleting { files: deleted });
            }
            (self.events)(Event::Committing { parent });
            let commit = Commit::new(self.publish.message, self.staged, &repository, &sent);
            let error = match commit.send(self.hub, self.publish.repo).await {
                Ok(commit) => {
                    self.make_readable(commit).await?;
                    return Ok(Published {
                        commit,
                        adopted: false,
                    });
                }
                Err(error) => error,
            };
            match error.class() {
                // The Hub may say so of contents that an earlier transfer left
                // out because the cache claimed that they are there.
                Class::Fatal if matches!(error.status(), Some(400 | 422)) && !self.renewed => {
                    self.renew(&error).await?;
                }
                Class::Fatal | Class::Wait(_) => {
                    attempts.wait_after(error, self.events).await?;
                    large = Some(sent);
                }
                Class::Retry | Class::Ambiguous => {
                    match attempts.wait_after(error, self.events).await {
                        Ok(()) => large = Some(sent),
                        Err(error) if error.status() == Some(500) && self.may_blame_cache() => {
                            self.renew(&error).await?;
                            attempts = Attempts::new(&self.hub.config.waits);
                        }
                        Err(error) => {
                            return Err(HubError::Unconfirmed {
                                repo: self.publish.repo.clone(),
                                source: Box::new(error),
                            });
                        }
                    }
                }
            }
        }
    }

    async fn read_head(&self) -> Result<Repository, HubError> {
        let repo = self.publish.repo;
        let repository = self.hub.head(repo, self.events).await?;
        let repository = repository.ok_or_else(|| HubError::NoRepository { repo: repo.clone() })?;
        match &repository.name {
            Some(name) if name.contains('/') && *name != repo.to_string() => {
                Err(HubError::Renamed {
                    repo: repo.clone(),
                    name: name.clone(),
                })
            }
            _ => Ok(repository),
        }
    }

    fn check_parent(&self, head: CommitId) -> Result<(), HubError> {
        match self.publish.parent {
            Some(expected) if expected != head => Err(HubError::Moved {
                repo: self.publish.repo.clone(),
                expected,
                head,
            }),
            _ => Ok(()),
        }
    }

    /// Brings the contents of large files into the Hub's storage, and says
    /// which files those are. Patient; starts once more with an empty cache
    /// after a contradiction, and when the storage keeps failing over what an
    /// earlier process began.
    async fn send_contents(&mut self) -> Result<Vec<String>, HubError> {
        let mut attempts = Attempts::new(&self.hub.config.waits);
        loop {
            let error = match self.try_to_send().await {
                Ok(large) => return Ok(large),
                Err(error) => error,
            };
            let kind = transfer_kind(&error);
            if kind == Some(TransferKind::Inconsistent) && !self.renewed {
                self.renew(&error).await?;
                continue;
            }
            if let Err(error) = attempts.wait_after(error, self.events).await {
                if kind != Some(TransferKind::Failing) || !self.may_blame_cache() {
                    return Err(error);
                }
                self.renew(&error).await?;
            }
        }
    }

    /// Whether a server that fails over one request (500) in all attempts may do so
    /// because a cache that an earlier call left claims too much. An outage or a
    /// refusal is not the cache's fault: emptying it then would cost all that was
    /// sent, once more at every call until it is over.
    fn may_blame_cache(&self) -> bool {
        self.cache.is_leftover() && !self.renewed
    }

    /// Empties the cache, so that everything is sent once more, whatever the
    /// storage says that it has.
    async fn renew(&mut self, why: &HubError) -> Result<(), HubError> {
        tracing::warn!("sending all contents again: {why}");
        self.renewed = true;
        self.cache.clear().await
    }

    async fn try_to_send(&self) -> Result<Vec<String>, HubError> {
        let large = self.large_files().await?;
        if large.is_empty() {
            return Ok(Vec::new());
        }
        let address = self.model_url(&["xet-write-token", BRANCH]);
        let transfer = Transfer {
            config: &self.hub.config,
            entrance: self.hub.enter_storage(address).await?,
            cache: &self.cache,
            deduplicate: !self.renewed,
            dir: self.publish.dir,
            files: large.clone(),
        };
        transfer.run(self.events).await?;
        Ok(large.iter().map(|file| file.name.clone()).collect())
    }

    /// The files that go by Xet: those that the Hub wants as large files, if it
    /// offers Xet. What remains travels in the commit, within bounds.
    async fn large_files(&self) -> Result<Vec<&LocalFile>, HubError> {
        let modes = self.upload_modes().await?;
        let mut large: Vec<&LocalFile> = Vec::new();
        for file in self.staged.files() {
            let wanted_large = modes.is_large(&file.name).unwrap_or(false);
            // Git has no empty large files.
            if wanted_large && file.bytes > 0 {
                large.push(file);
            }
        }
        if !large.is_empty() && !self.offers_xet(&large).await? {
            large.clear();
        }
        let limit = self.hub.config.limits.inline_bytes;
        let mut inline_bytes = 0_u64;
        for file in self.staged.files() {
            if large.iter().any(|large| large.name == file.name) {
                continue;
            }
            inline_bytes = inline_bytes.saturating_add(file.bytes);
            if inline_bytes > limit {
                return Err(HubError::NoXet {
                    file: file.name.clone(),
                    bytes: file.bytes,
                    limit,
                });
            }
        }
        Ok(large)
    }

    async fn upload_modes(&self) -> Result<UploadModes, HubError> {
        const CALL: &str = "asking how the files are to travel";
        let url = self.model_url(&["preupload", BRANCH]);
        let body = json!({ "files": self.staged.samples() });
        let answer = self
            .hub
            .call(CALL, self.hub.http.request(Method::POST, url).json(&body))
            .await?;
        UploadModes::parse(&answer.body).map_err(|error| HubError::answer(CALL, error.to_string()))
    }

    async fn offers_xet(&self, large: &[&LocalFile]) -> Result<bool, HubError> {
        const CALL: &str = "agreeing on how large files travel";
        const LFS_JSON: &str = "application/vnd.git-lfs+json";
        let objects: Vec<_> = large
            .iter()
            .map(|file| json!({ "oid": hex::encode(file.sha256), "size": file.bytes }))
            .collect();
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart", "xet"],
            "hash_algo": "sha256",
            "ref": { "name": BRANCH },
            "objects": objects,
        });
        let repo = self.publish.repo;
        let git_name = format!("{}.git", repo.name());
        let http = &self.hub.http;
        let url = http.url([
            repo.namespace(),
            &git_name,
            "info",
            "lfs",
            "objects",
            "batch",
        ]);
        let request = http
            .request(Method::POST, url)
            .json(&body)
            .header(reqwest::header::ACCEPT, LFS_JSON)
            .header(reqwest::header::CONTENT_TYPE, LFS_JSON);
        let answer = self.hub.call(CALL, request).await?;
        let batch = LfsBatch::parse(&answer.body)
            .map_err(|error| HubError::answer(CALL, error.to_string()))?;
        match batch.refusal {
            Some(reason) => Err(HubError::Unpublishable {
                file: "a large file".to_owned(),
                reason: format!("the Hub refuses it: {reason}"),
            }),
            None => Ok(batch.xet),
        }
    }

    /// Sees to it that the Hub serves the contents of large files, sending them
    /// once more if they are missing. Of other failures nothing can be concluded
    /// about the contents; the next call adopts the commit and looks again.
    async fn make_readable(&mut self, commit: CommitId) -> Result<(), HubError> {
        loop {
            let error = match self
                .hub
                .probe(self.publish.repo, commit, self.publish.files)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.renewed || !says_missing(&error) {
                return Err(error);
            }
            self.renew(&error).await?;
            self.send_contents().await?;
        }
    }

    fn model_url(&self, rest: &[&str]) -> reqwest::Url {
        let repo = self.publish.repo;
        let parts = ["api", "models", repo.namespace(), repo.name()];
        self.hub
            .http
            .url(parts.into_iter().chain(rest.iter().copied()))
    }
}

fn transfer_kind(error: &HubError) -> Option<TransferKind> {
    match error {
        HubError::Transfer { kind, .. } => Some(*kind),
        _ => None,
    }
}

/// Whether a failure to read a listed file says that its contents are missing. A
/// refusal with one of the Hub's codes is about something else: the repository,
/// the commit or the token.
fn says_missing(error: &HubError) -> bool {
    match error {
        HubError::Refused { refusal, .. } => {
            matches!(refusal.status, 404 | 410 | 416) && refusal.code.is_none()
        }
        other => transfer_kind(other) == Some(TransferKind::Inconsistent),
    }
}
