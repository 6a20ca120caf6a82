//! A local Hub for tests, in front of a real Xet CAS server.
//!
//! A [`StandinHub`] behaves towards its clients as the Hugging Face Hub does, by
//! the Hub's documented protocol and by what its two official clients rely on:
//! repositories of real git objects, commits that take effect whole, large files
//! through Xet, tokens with roles. What it adds is what a test needs: it can be
//! made to fail at any point in any known way ([`Faults`]), to hold a request
//! exactly before or after its effect, and to tell what it was asked and what it
//! keeps.
//!
//! ```text
//!            Hub's address                      CAS's address
//!   client ──► front ─► fault? ─► api     client ──► proxy ─► fault? ─► CAS server
//!                                  │                                (xet-client's own)
//!                          store ◄─┴─► cas: SHA-256 of what the CAS holds
//! ```
//!
//! It runs on a runtime of its own, so that a test that stops time or blocks
//! does not stop the Hub. It keeps its state in a folder: started again on it, it
//! has the same repositories, commits and contents. Faults, added tokens and the
//! request log end with it.
//!
//! Where each behaviour comes from, and what is left out, is said at the head of
//! the module that has it. The program `standin-hub` is the same with a command
//! line; its faults are set over HTTP (`src/api/control.rs`).
//!
//! Architecture invariant: none of Peregrine's own Hub code is used here, so that
//! the two cannot agree on the same mistake.
//!
//! ```
//! # use standin_hub::{Action, Fault, Moment, Options, Route, StandinHub};
//! # async fn example(state: std::path::PathBuf) -> Result<(), standin_hub::StartError> {
//! let hub = StandinHub::start(Options::new(state)).await?;
//! let lost = hub.faults().add(Fault::new(Route::Commit, Action::Cut(Moment::After)));
//! // … a client commits to hub.endpoint() with hub.token() …
//! lost.applied(1).await;
//! assert_eq!(hub.commits("standin/model").len(), 2);
//! # Ok(())
//! # }
//! ```

mod accounts;
mod api;
mod attributes;
mod background;
mod cas;
mod connection;
mod cut_body;
mod faults;
mod front;
mod hub;
mod log;
mod options;
mod route;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use accounts::Accounts;
use background::Background;
use cas::Cas;
use front::{CasFront, Front};
use hub::Hub;
use log::Log;
use store::{Repository, Store};

pub use accounts::{Role, Scope, Token};
pub use cas::CasError;
pub use faults::{Action, Answer, Fault, Faults, Injected, Moment};
pub use log::Request;
pub use options::{Options, StartError};
pub use route::Route;
pub use store::{CommitInfo, FileEntry, Gate, LfsObject};

/// A running Hub; it ends when dropped, as if killed.
pub struct StandinHub {
    hub: Arc<Hub>,
    address: SocketAddr,
    token: String,
    // Last, so that it ends after its handles above.
    runtime: Background,
}

impl StandinHub {
    /// Starts a Hub. It accepts requests when this returns.
    ///
    /// # Errors
    /// If the address or the state folder cannot be used.
    pub async fn start(options: Options) -> Result<StandinHub, StartError> {
        let runtime = Background::start().map_err(StartError::Runtime)?;
        let token = options.token.clone();
        let (started, outcome) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            // Whoever waited may be gone; the Hub ends with its runtime then.
            let _ = started.send(begin(options).await);
        });
        let interrupted = |error| StartError::Runtime(io::Error::other(error));
        let (hub, address) = outcome.await.map_err(interrupted)??;
        Ok(StandinHub {
            hub,
            address,
            token,
            runtime,
        })
    }

    /// The Hub's address, as clients take it in `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        // Clients connect to one interface, not to all of them.
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// A token with the role `write`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The account's name, under which its repositories are.
    pub fn namespace(&self) -> &str {
        self.hub.accounts.name()
    }

    /// Adds a token for as long as the Hub runs.
    pub fn add_token(&self, token: Token) {
        self.hub.accounts.add(token);
    }

    /// What goes wrong on purpose.
    pub fn faults(&self) -> &Faults {
        &self.hub.faults
    }

    /// All requests since the start, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.hub.log.all()
    }

    /// How many requests of a class have arrived.
    pub fn count(&self, route: Route) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.route == route)
            .count()
    }

    /// Returns once `count` requests of a class have arrived.
    pub async fn requested(&self, route: Route, count: usize) {
        self.hub
            .log
            .reached(count, |request| request.route == route)
            .await;
    }

    /// Returns once `count` requests of a class have an answer, whether or not
    /// their clients were still there to receive it.
    pub async fn answered(&self, route: Route, count: usize) {
        self.hub
            .log
            .reached(count, |request| {
                request.route == route && request.status.is_some()
            })
            .await;
    }

    /// A repository's commits, oldest first: each is there once, whoever asked for
    /// it how often. Empty if there is no such repository.
    pub fn commits(&self, repository: &str) -> Vec<CommitInfo> {
        self.hub
            .store
            .get(repository)
            .map(|found| found.commits)
            .unwrap_or_default()
    }

    /// The id of a repository's newest commit.
    pub fn head(&self, repository: &str) -> Option<String> {
        self.commits(repository).pop().map(|commit| commit.id)
    }

    /// The files of a commit (`main`, or its id) with their contents.
    ///
    /// # Errors
    /// If there is no such repository or commit, or a content is not in storage.
    pub async fn files(
        &self,
        repository: &str,
        revision: &str,
    ) -> io::Result<BTreeMap<String, Bytes>> {
        let found = self.hub.store.get(repository);
        let commit = found
            .as_ref()
            .and_then(|found| found.at(revision))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("no {repository} at {revision}"),
                )
            })?;
        let mut files = BTreeMap::new();
        for (path, entry) in &commit.files {
            let content = match entry.lfs.as_ref().and_then(|lfs| lfs.xet_hash.as_ref()) {
                Some(hash) => self.rebuild(hash, entry.bytes).await?,
                None => self.hub.store.read(entry)?,
            };
            files.insert(path.clone(), content);
        }
        Ok(files)
    }

    async fn rebuild(&self, hash: &str, bytes: u64) -> io::Result<Bytes> {
        let mut pieces = {
            let _its_runtime = self.runtime.enter();
            self.hub.cas.read(hash, 0, bytes)
        };
        let mut content = Vec::new();
        while let Some(piece) = pieces.recv().await {
            content.extend_from_slice(&piece.map_err(io::Error::other)?);
        }
        Ok(Bytes::from(content))
    }

    /// Adds a commit of exactly these files on top of a repository's head, and the
    /// repository if it is not there, under any namespace: another's model, for
    /// instance. Large files are kept without Xet, as they are in repositories
    /// older than it. Returns the commit's id.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn seed(&self, repository: &str, files: &[(&str, &[u8])]) -> io::Result<String> {
        let store = &self.hub.store;
        let mut entries = BTreeMap::new();
        for (path, content) in files {
            let entry =
                if attributes::is_large(attributes::DEFAULT, path, content.len() as u64, content) {
                    store.put_lfs(&hex::encode(Sha256::digest(content)), content)?
                } else {
                    store.put_blob(content)?
                };
            entries.insert((*path).to_owned(), entry);
        }
        let author = repository
            .split_once('/')
            .map_or(repository, |(namespace, _)| namespace);
        let attributes = store.put_blob(attributes::DEFAULT.as_bytes())?;
        entries
            .entry(".gitattributes".to_owned())
            .or_insert(attributes);
        store.create(repository, Repository::new(false, author, BTreeMap::new()))?;
        let commit =
            |found: &mut Repository| Ok::<_, io::Error>(found.commit(author, "Seed", "", entries));
        let made = store
            .update(repository, commit)
            .ok_or_else(|| io::Error::other("the repository is gone"))??;
        Ok(made.id)
    }

    /// Makes a repository private or public.
    ///
    /// # Errors
    /// If there is no such repository, or the state cannot be written.
    pub fn set_private(&self, repository: &str, private: bool) -> io::Result<()> {
        self.set(repository, |found| found.private = private)
    }

    /// Puts a gate before a repository's files, or takes it away.
    ///
    /// # Errors
    /// If there is no such repository, or the state cannot be written.
    pub fn set_gate(&self, repository: &str, gate: Option<Gate>) -> io::Result<()> {
        self.set(repository, |found| found.gate = gate)
    }

    fn set(&self, repository: &str, change: impl FnOnce(&mut Repository)) -> io::Result<()> {
        let changed = self.hub.store.update(repository, |found| {
            change(found);
            Ok::<_, io::Error>(())
        });
        changed.unwrap_or_else(|| {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no repository {repository}"),
            ))
        })
    }

    /// Ends the Hub: connections are cut, held requests are dropped. A Hub that is
    /// then started on the same folder has it for itself.
    pub async fn stop(self) {
        self.runtime.stop().await;
    }
}

/// Opens the state and begins to serve, on the Hub's own runtime.
async fn begin(options: Options) -> Result<(Arc<Hub>, SocketAddr), StartError> {
    let in_state = |source| StartError::State {
        dir: options.state_dir.clone(),
        source,
    };
    let store = Store::open(&options.state_dir).map_err(in_state)?;
    let not_listening = |source| StartError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(not_listening)?;
    let address = listener.local_addr().map_err(not_listening)?;
    let cas = Cas::start(&options.state_dir.join("cas")).await?;
    let (cas_listener, proxy) = cas.open_proxy(address.ip()).await?;
    let cas_port = cas_listener.local_addr().map_err(not_listening)?.port();
    let token = Token {
        secret: options.token,
        role: Role::Write,
    };
    let hub = Arc::new(Hub {
        accounts: Accounts::new(options.namespace, options.organizations, token),
        store,
        cas,
        cas_port,
        faults: Faults::default(),
        log: Log::new(),
    });
    let front = Front::new(hub.clone());
    tokio::spawn(connection::serve(listener, move |request| {
        front.clone().handle(request)
    }));
    let cas_front = CasFront::new(hub.clone(), proxy);
    tokio::spawn(connection::serve(cas_listener, move |request| {
        cas_front.clone().handle(request)
    }));
    Ok((hub, address))
}
