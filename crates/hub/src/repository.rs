//! The client, and what it reads and makes of whole repositories.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::Method;
use reqwest::header::DATE;
use serde_json::json;
use subnet::{CommitId, RepoId};

use crate::answers::{Account, RemoteFile, RepositoryInfo, TreePage, next_page};
use crate::config::shown;
use crate::http::{Answer, Http};
use crate::retry::patiently;
use crate::{Events, HubConfig, HubError};

/// A client of one Hub, under one token. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    pub(crate) http: Arc<Http>,
    pub(crate) config: Arc<HubConfig>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &shown(&self.config.endpoint))
            .finish_non_exhaustive()
    }
}

/// A repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name, as the Hub spells it, where it says it.
    pub name: Option<String>,
    /// The commit.
    pub head: CommitId,
    /// Whether only its owner can see it, so that validators cannot.
    pub private: bool,
    /// Whether readers must ask for access, which validators do not.
    pub gated: bool,
    /// Whether the Hub has switched it off.
    pub disabled: bool,
    /// All its files, by path.
    pub files: Vec<RemoteFile>,
    /// What they have together, in bytes: what the subnet's limit counts.
    pub bytes: u64,
}

/// The branch that validators know nothing of, but that people look at.
pub(crate) const BRANCH: &str = "main";

/// The most pages of a listing that are read.
const MAX_PAGES: usize = 1000;

/// For calls that have nobody to tell.
pub(crate) fn quiet(_: crate::Event) {}

impl Hub {
    /// A client; sends nothing yet.
    ///
    /// # Errors
    /// [`HubError::Config`] if the endpoint is no web address or the token
    /// cannot be sent.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        Ok(Self {
            http: Arc::new(Http::new(&config)?),
            config: Arc::new(config),
        })
    }

    /// Whose token this is, and what it may do.
    ///
    /// # Errors
    /// If the Hub does not know the token, or cannot be asked.
    pub async fn whoami(&self) -> Result<Account, HubError> {
        const CALL: &str = "asking whose token this is";
        let url = self.http.url(["api", "whoami-v2"]);
        let answer = self.get(CALL, &url, &quiet).await?;
        Account::parse(&answer.body).map_err(|error| HubError::answer(CALL, error.to_string()))
    }

    /// The Hub's clock as it answers, to the second; `None` when it does not say.
    ///
    /// # Errors
    /// As [`Hub::whoami`].
    pub async fn clock(&self) -> Result<Option<SystemTime>, HubError> {
        let url = self.http.url(["api", "whoami-v2"]);
        let answer = self.get("asking for the time", &url, &quiet).await?;
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| httpdate::parse_http_date(date).ok()))
    }

    /// The repository at its head, with all its files. `None`: there is none,
    /// or the token may not see it.
    ///
    /// # Errors
    /// If the Hub refuses for another reason, or cannot be asked.
    pub async fn repository(&self, repo: &RepoId) -> Result<Option<Repository>, HubError> {
        self.head(repo, &quiet).await
    }

    /// Makes an empty model repository. One that exists already is left as it
    /// is, public or not.
    ///
    /// # Errors
    /// If the token may not, or the Hub cannot be asked.
    pub async fn create_repository(&self, repo: &RepoId, private: bool) -> Result<(), HubError> {
        let body = json!({
            "type": "model",
            "name": repo.name(),
            "organization": repo.namespace(),
            "private": private,
        });
        let url = self.http.url(["api", "repos", "create"]);
        let created = patiently(&self.config.waits, &quiet, || async {
            let request = self.http.request(Method::POST, url.clone()).json(&body);
            self.call("making the repository", request).await
        })
        .await;
        match created {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn head(
        &self,
        repo: &RepoId,
        events: Events<'_>,
    ) -> Result<Option<Repository>, HubError> {
        let url = self
            .http
            .url(["api", "models", repo.namespace(), repo.name()]);
        match self.info(url, events).await {
            Ok(info) => self.with_files(repo, info, events).await.map(Some),
            Err(error) if is_no_repository(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The repository at a commit.
    pub(crate) async fn at(
        &self,
        repo: &RepoId,
        commit: CommitId,
        events: Events<'_>,
    ) -> Result<Repository, HubError> {
        let (namespace, name) = (repo.namespace(), repo.name());
        let text = commit.to_string();
        let url = self
            .http
            .url(["api", "models", namespace, name, "revision", &text]);
        let info = match self.info(url, events).await {
            Err(error) if is_no_repository(&error) => {
                return Err(HubError::NoRepository { repo: repo.clone() });
            }
            other => other?,
        };
        if info.commit != commit {
            return Err(HubError::answer(
                READING,
                format!("it speaks of {} when asked for {commit}", info.commit),
            ));
        }
        self.with_files(repo, info, events).await
    }

    async fn info(
        &self,
        url: reqwest::Url,
        events: Events<'_>,
    ) -> Result<RepositoryInfo, HubError> {
        let answer = self.get(READING, &url, events).await?;
        RepositoryInfo::parse(&answer.body)
            .map_err(|error| HubError::answer(READING, error.to_string()))
    }

    async fn with_files(
        &self,
        repo: &RepoId,
        info: RepositoryInfo,
        events: Events<'_>,
    ) -> Result<Repository, HubError> {
        let files = self.tree(repo, info.commit, events).await?;
        Ok(Repository {
            name: info.id,
            head: info.commit,
            private: info.private,
            gated: info.gated,
            disabled: info.disabled,
            bytes: files
                .iter()
                .fold(0, |sum, file| sum.saturating_add(file.bytes)),
            files,
        })
    }

    /// All files at a commit, page after page.
    async fn tree(
        &self,
        repo: &RepoId,
        commit: CommitId,
        events: Events<'_>,
    ) -> Result<Vec<RemoteFile>, HubError> {
        const CALL: &str = "listing the repository's files";
        let refuse = |reason: String| HubError::answer(CALL, reason);
        let commit = commit.to_string();
        let (namespace, name) = (repo.namespace(), repo.name());
        let mut url = self
            .http
            .url(["api", "models", namespace, name, "tree", &commit]);
        url.set_query(Some("recursive=true"));
        let mut files: Vec<RemoteFile> = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.get(CALL, &url, events).await?;
            let page = TreePage::parse(&answer.body).map_err(|error| refuse(error.to_string()))?;
            files.extend(page.files);
            if files.len() > self.config.limits.files {
                return Err(refuse(format!(
                    "it lists more than {} files",
                    self.config.limits.files
                )));
            }
            let Some(next) = next_page(&answer.headers) else {
                files.sort_by(|one, other| one.path.cmp(&other.path));
                let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
                if paths.len() != files.len() {
                    return Err(refuse("it lists a file twice".to_owned()));
                }
                return Ok(files);
            };
            url = self
                .http
                .own_url(&next)
                .ok_or_else(|| refuse("its next page is on another server".to_owned()))?;
        }
        Err(refuse(format!("it has more than {MAX_PAGES} pages")))
    }

    /// Reads what is small, patiently.
    pub(crate) async fn get(
        &self,
        call: &'static str,
        url: &reqwest::Url,
        events: Events<'_>,
    ) -> Result<Answer, HubError> {
        patiently(&self.config.waits, events, || async {
            let request = self.http.request(Method::GET, url.clone());
            self.http
                .call(call, request, self.config.limits.answer_bytes)
                .await
        })
        .await
    }

    /// One attempt at what is small.
    pub(crate) async fn call(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, HubError> {
        self.http
            .call(call, request, self.config.limits.answer_bytes)
            .await
    }
}

const READING: &str = "reading the repository";

/// The Hub says 404 to those who could see the repository if it were there, and
/// 401 to everyone else, since it does not tell strangers which names exist.
fn is_no_repository(error: &HubError) -> bool {
    let HubError::Refused { refusal, .. } = error else {
        return false;
    };
    match (refusal.status, refusal.code.as_deref()) {
        (404, code) => code.is_none_or(|code| code == "RepoNotFound"),
        (401, code) => code == Some("RepoNotFound"),
        _ => false,
    }
}
