//! Bringing a stranger's model here, by commit.

mod partial;
mod select;

use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use subnet::{CommitId, FileDigest, RepoId};
use tokio::time::Instant;

use crate::answers::{ContentRange, RemoteFile, shard_names};
use crate::download::partial::{Digest, Found, PartialFile, Wanted};
use crate::download::select::Selection;
use crate::http::interrupted;
use crate::retry::Attempts;
use crate::{Event, Events, Hub, HubError, blocking};

/// How often one file may arrive with wrong bytes before the download fails.
const WRONG_BYTES_ALLOWED: u32 = 3;

/// How much is collected before it is written.
const CHUNK: usize = 1 << 20;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

const CALL: &str = "downloading a file";

impl Hub {
    /// Downloads the model at a commit into a folder, which is made if need be:
    /// config.json, generation_config.json if there is one, and
    /// model.safetensors or an index with its shards. Nothing else is brought
    /// here, and no file from below a folder.
    ///
    /// The repository's size, all files counted, is compared with `limit_bytes`
    /// before the first byte. A file is called `NAME.part` until its size and
    /// its digest are those that the Hub lists for it: a GET may fail after a
    /// good HEAD, and what it brings then is not the file. An earlier attempt's
    /// part is hashed again and read on from its end. Nothing is cached.
    ///
    /// Dropping the future stops it; what has arrived stays for the next
    /// attempt.
    ///
    /// # Errors
    /// Before the first byte: [`HubError::NoRepository`],
    /// [`HubError::TooLarge`], [`HubError::NoModel`], [`HubError::NoSpace`].
    /// Later: [`HubError::Corrupt`], [`HubError::File`], or the last failure
    /// when the policy gives up.
    pub async fn download(
        &self,
        repo: &RepoId,
        commit: CommitId,
        into: &Path,
        limit_bytes: u64,
        events: Events<'_>,
    ) -> Result<Vec<FileDigest>, HubError> {
        events(Event::Preparing);
        let repository = self.at(repo, commit, events).await?;
        if repository.bytes > limit_bytes {
            return Err(HubError::TooLarge {
                repo: repo.clone(),
                commit,
                bytes: repository.bytes,
                limit: limit_bytes,
            });
        }
        let no_model = |reason: String| HubError::NoModel {
            repo: repo.clone(),
            commit,
            reason,
        };
        let limit = self.config.limits.answer_bytes as u64;
        let selection = Selection::of(&repository.files, limit).map_err(no_model)?;
        let mut files = selection.files;
        let mut download = Download {
            hub: self,
            repo,
            commit,
            into,
            events,
            done: 0,
            total: total(&files),
            told: None,
        };
        download.check_space(&files).await?;
        let mut digests = Vec::new();
        if let Some(index) = selection.index {
            let digest = download.fetch(index).await?;
            digests.push(digest);
            let shards = self.shards(into, index).await.map_err(no_model)?;
            let shards = select::named(&repository.files, &shards).map_err(no_model)?;
            download.total += total(&shards);
            download.check_space(&shards).await?;
            files.retain(|file| file.path != index.path);
            files.extend(shards);
        }
        for file in files {
            let digest = download.fetch(file).await?;
            digests.push(digest);
        }
        digests.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(digests)
    }

    /// The shards that the downloaded index names.
    async fn shards(
        &self,
        into: &Path,
        index: &RemoteFile,
    ) -> Result<std::collections::BTreeSet<String>, String> {
        let path = into.join(&index.path);
        let body = tokio::fs::read(&path).await;
        let body = body.map_err(|error| format!("{}: {error}", path.display()))?;
        shard_names(&body).map_err(|error| format!("its {} is unusable: {error}", index.path))
    }
}

fn total(files: &[&RemoteFile]) -> u64 {
    files
        .iter()
        .fold(0, |sum, file| sum.saturating_add(file.bytes))
}

struct Download<'a> {
    hub: &'a Hub,
    repo: &'a RepoId,
    commit: CommitId,
    into: &'a Path,
    events: Events<'a>,
    /// Bytes of files that are whole.
    done: u64,
    total: u64,
    told: Option<Instant>,
}

impl Download<'_> {
    /// Makes the folder, and compares its free space with what is to come.
    async fn check_space(&self, files: &[&RemoteFile]) -> Result<(), HubError> {
        let wanted: Vec<Wanted> = files.iter().map(|file| self.wanted(file)).collect();
        let dir = self.into.to_owned();
        blocking::run(move || {
            std::fs::create_dir_all(&dir).map_err(|source| HubError::file(&dir, source))?;
            let missing = wanted.iter().map(Wanted::missing_bytes);
            let needed = missing.fold(0, u64::saturating_add);
            let available =
                fs4::available_space(&dir).map_err(|source| HubError::file(&dir, source))?;
            if needed > available {
                return Err(HubError::NoSpace {
                    dir,
                    needed,
                    available,
                });
            }
            Ok(())
        })
        .await
    }

    fn wanted(&self, file: &RemoteFile) -> Wanted {
        Wanted {
            name: file.path.clone(),
            bytes: file.bytes,
            digest: match file.sha256 {
                Some(sha256) => Digest::Sha256(sha256),
                None => Digest::Blob(file.oid),
            },
            path: self.into.join(&file.path),
        }
    }

    /// Brings one file, however many requests that takes.
    async fn fetch(&mut self, file: &RemoteFile) -> Result<FileDigest, HubError> {
        let wanted = self.wanted(file);
        let mut partial = match blocking::run(move || wanted.find()).await? {
            Found::Whole(sha256) => return Ok(self.finished(file, sha256)),
            Found::Part(partial) => *partial,
        };
        let mut attempts = Attempts::new(&self.hub.config.waits);
        let mut wrong_bytes_left = WRONG_BYTES_ALLOWED;
        // Why the file is being read from Xet's storage, if it is.
        let mut refused: Option<HubError> = None;
        loop {
            let before = partial.received();
            let outcome;
            (partial, outcome) = match refused {
                None => self.read_on(partial).await?,
                Some(_) => self.read_on_by_xet(partial, file).await?,
            };
            let progressed = partial.received() > before;
            let error = match outcome {
                Err(error) => error,
                Ok(()) => {
                    let (again, kept) = blocking::run(move || partial.keep()).await?;
                    match kept {
                        Ok(sha256) => return Ok(self.finished(file, sha256)),
                        Err(reason) => {
                            // The wrong byte may be anywhere in what is held.
                            partial = blocking::run(move || again.restart()).await?;
                            wrong_bytes_left -= 1;
                            if wrong_bytes_left == 0 {
                                return Err(HubError::Corrupt {
                                    file: file.path.clone(),
                                    reason,
                                });
                            }
                            HubError::answer(CALL, format!("{}: {reason}", file.path))
                        }
                    }
                }
            };
            if progressed {
                attempts = Attempts::new(&self.hub.config.waits);
            }
            let Err(error) = attempts.wait_after(error, self.events).await else {
                continue;
            };
            let is_refused = matches!(error, HubError::Refused { .. });
            match refused {
                None if is_refused && file.xet_hash.is_some() => {
                    tracing::info!("reading {} by Xet: {error}", file.path);
                    refused = Some(error);
                    attempts = Attempts::new(&self.hub.config.waits);
                }
                // What was wrong in the first place says more.
                Some(first) => return Err(first),
                None => return Err(error),
            }
        }
    }

    /// Reads on from Xet's storage, as `read_on` does by HTTP.
    async fn read_on_by_xet(
        &mut self,
        mut partial: PartialFile,
        file: &RemoteFile,
    ) -> Result<(PartialFile, Result<(), HubError>), HubError> {
        if partial.is_full() {
            return Ok((partial, Ok(())));
        }
        let part = partial.received()..partial.bytes();
        let reader = self
            .hub
            .read_by_xet(self.repo, self.commit, file, part)
            .await;
        let mut reader = match reader {
            Ok(Some(reader)) => reader,
            Ok(None) => {
                return Ok((
                    partial,
                    Err(HubError::answer(CALL, "it is not in Xet's storage")),
                ));
            }
            Err(error) => return Ok((partial, Err(error))),
        };
        loop {
            match reader.next().await {
                Ok(Some(piece)) if partial.received() + piece.len() as u64 <= partial.bytes() => {
                    partial = blocking::run(move || partial.append(&piece)).await?;
                    self.tell(partial.received());
                }
                Ok(None) if partial.is_full() => return Ok((partial, Ok(()))),
                Ok(_) => {
                    let reason = format!("{} has not {} bytes", partial.name(), partial.bytes());
                    return Ok((partial, Err(HubError::answer(CALL, reason))));
                }
                Err(error) => return Ok((partial, Err(error))),
            }
        }
    }

    /// Reads from where the partial file ends until it is full. An error of
    /// this machine ends the download; the network's is given back beside the
    /// file.
    async fn read_on(
        &mut self,
        partial: PartialFile,
    ) -> Result<(PartialFile, Result<(), HubError>), HubError> {
        if partial.is_full() {
            return Ok((partial, Ok(())));
        }
        match self.open(&partial).await {
            Ok((response, false)) => self.receive(partial, response).await,
            Ok((response, true)) => {
                let partial = blocking::run(move || partial.restart()).await?;
                self.receive(partial, response).await
            }
            // The server holds the range for impossible: it is not this file
            // that the part is of.
            Err(error) if error.status() == Some(416) && partial.received() > 0 => {
                let partial = blocking::run(move || partial.restart()).await?;
                let again = HubError::Interrupted {
                    call: CALL,
                    reason: "the server does not resume, so the file is begun again".to_owned(),
                };
                Ok((partial, Err(again)))
            }
            Err(error) => Ok((partial, Err(error))),
        }
    }

    /// Asks for the rest of the file. With `true`, the server sends the whole
    /// of it instead.
    async fn open(&self, partial: &PartialFile) -> Result<(Response, bool), HubError> {
        let offset = partial.received();
        let url = self.hub.resolve_url(self.repo, self.commit, partial.name());
        let mut request = self.hub.http.request(Method::GET, url);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let response = self.hub.http.open(CALL, request).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok((response, offset > 0));
        }
        let range = response.headers().get(CONTENT_RANGE);
        let range = range.and_then(|range| ContentRange::parse(range.to_str().ok()?));
        match range {
            Some(range) if range.first == offset => Ok((response, false)),
            _ => Err(HubError::answer(
                CALL,
                format!("it is not the part of the file from byte {offset}"),
            )),
        }
    }

    async fn receive(
        &mut self,
        mut partial: PartialFile,
        mut response: Response,
    ) -> Result<(PartialFile, Result<(), HubError>), HubError> {
        let mut pending = Vec::with_capacity(CHUNK);
        loop {
            let chunk = response.chunk().await;
            let ended = !matches!(chunk, Ok(Some(_)));
            let outcome = match chunk {
                Ok(Some(bytes)) => {
                    pending.extend_from_slice(&bytes);
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => Err(interrupted(CALL, error)),
            };
            let held = partial.received() + pending.len() as u64;
            if held > partial.bytes() {
                // What is more than the file is certainly not the file.
                let reason = format!("{} has more than {} bytes", partial.name(), partial.bytes());
                let partial = blocking::run(move || partial.restart()).await?;
                return Ok((partial, Err(HubError::answer(CALL, reason))));
            }
            if ended || pending.len() >= CHUNK {
                let write = std::mem::replace(&mut pending, Vec::with_capacity(CHUNK));
                partial = blocking::run(move || partial.append(&write)).await?;
                self.tell(partial.received());
            }
            if ended {
                let outcome = outcome.and_then(|()| match partial.is_full() {
                    true => Ok(()),
                    false => Err(HubError::Interrupted {
                        call: CALL,
                        reason: format!(
                            "{} ended at byte {} of {}",
                            partial.name(),
                            partial.received(),
                            partial.bytes()
                        ),
                    }),
                });
                return Ok((partial, outcome));
            }
        }
    }

    fn finished(&mut self, file: &RemoteFile, sha256: [u8; 32]) -> FileDigest {
        self.done += file.bytes;
        self.told = None;
        self.tell(0);
        FileDigest {
            name: file.path.clone(),
            bytes: file.bytes,
            sha256,
        }
    }

    /// Reports progress, unless it did so a moment ago.
    fn tell(&mut self, of_this_file: u64) {
        if self.told.is_some_and(|told| told.elapsed() < TICK) {
            return;
        }
        self.told = Some(Instant::now());
        (self.events)(Event::Transferred {
            done: self.done + of_this_file,
            total: self.total,
        });
    }
}
