//! Calls, and who answers them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use crate::config::{Config, Credentials, Tls};
use crate::error::{Error, in_words, is_decided, is_stale_token};
use crate::wire::auth_client::AuthClient;
use crate::wire::kv_client::KvClient;
use crate::wire::lease_client::LeaseClient;
use crate::wire::watch_client::WatchClient;
use crate::wire::{
    AuthenticateRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest,
    watch_request,
};

/// How often a silent connection is asked whether it is still there, and how long
/// it has for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Pauses between repetitions, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Values are read in pages, whose size etcd bounds by number alone.
const MAX_ANSWER_BYTES: usize = i32::MAX as usize;

/// A connection to one member that sends what every call needs.
pub type Authorized = InterceptedService<Channel, Headers>;

/// What goes with every call.
#[derive(Clone, Debug)]
pub struct Headers {
    token: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert("token", token.clone());
        }
        Ok(request)
    }
}

/// Several members of one etcd. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    members: Vec<Member>,
    /// Which member is asked; counts on, and is taken modulo their number.
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: RwLock<Option<MetadataValue<Ascii>>>,
    attempt: Duration,
    patience: Duration,
}

#[derive(Debug)]
struct Member {
    address: String,
    channel: Channel,
}

impl Client {
    /// A client; connects when it is used. Its connections live on the runtime
    /// that this is called in.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: &Config) -> Result<Client, Error> {
        let members: Result<Vec<Member>, Error> = config
            .endpoints
            .iter()
            .map(|address| member(address, config))
            .collect();
        let members = members?;
        if members.is_empty() {
            return Err(Error::Config {
                what: "etcd".to_owned(),
                reason: "no endpoint is named".to_owned(),
            });
        }
        Ok(Client {
            shared: Arc::new(Shared {
                members,
                current: AtomicUsize::new(0),
                credentials: config.credentials.clone(),
                token: RwLock::default(),
                attempt: config.attempt,
                patience: config.patience,
            }),
        })
    }

    /// The members, for messages.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let addresses: Vec<&str> = self
            .shared
            .members
            .iter()
            .map(|member| member.address.as_str())
            .collect();
        addresses.join(",")
    }

    /// How long calls that can be repeated are.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.shared.patience
    }

    /// How long one member may take to answer one call.
    #[must_use]
    pub fn attempt_limit(&self) -> Duration {
        self.shared.attempt
    }

    /// A connection to the member that is asked at the moment, for calls that
    /// have no method here.
    ///
    /// # Errors
    /// If the credentials are refused, or nobody answers.
    pub async fn service(&self) -> Result<Authorized, Error> {
        self.attempt(self.shared.attempt, |service| async move {
            Ok(Response::new(service))
        })
        .await
    }

    /// Reads keys, up to date with every write that was answered before.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unanswered`] when patience is at its end.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.patiently(|service| {
            let request = request.clone();
            async move { kv(service).range(request).await }
        })
        .await
    }

    /// Carries out a transaction until somebody answers: for one that only reads,
    /// or whose second time does no harm.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unanswered`] when patience is at its end.
    pub async fn repeat(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.patiently(|service| {
            let request = request.clone();
            async move { kv(service).txn(request).await }
        })
        .await
    }

    /// Carries out a transaction, once.
    ///
    /// # Errors
    /// [`Error::Refused`], then nothing was done; [`Error::Unanswered`], then it
    /// may have been done, or may yet be.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let request = &request;
        self.attempt(self.shared.attempt, |service| {
            let request = request.clone();
            async move { kv(service).txn(request).await }
        })
        .await
    }

    /// Makes a lease of at least `ttl`, and returns its number and how long it
    /// really is. One whose answer was lost ends by itself.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unanswered`] when patience is at its end.
    pub async fn grant(&self, ttl: Duration) -> Result<(i64, Duration), Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let request = LeaseGrantRequest {
            ttl: i64::try_from(seconds.max(1)).unwrap_or(i64::MAX),
            id: 0,
        };
        let granted = self
            .patiently(
                |service| async move { LeaseClient::new(service).lease_grant(request).await },
            )
            .await?;
        Ok((granted.id, seconds_of(granted.ttl)))
    }

    /// Ends a lease and deletes its keys. That there is no such lease is fine.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unanswered`] when patience is at its end.
    pub async fn revoke(&self, lease: i64) -> Result<(), Error> {
        let revoked = self
            .patiently(|service| async move {
                let request = LeaseRevokeRequest { id: lease };
                LeaseClient::new(service).lease_revoke(request).await
            })
            .await;
        match revoked {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_lease() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Renews a lease, once, and returns how long it has from then on; `None` if
    /// there is no such lease.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unanswered`] after `limit`.
    pub async fn keep_alive(&self, lease: i64, limit: Duration) -> Result<Option<Duration>, Error> {
        let renewed = self
            .attempt(limit, |service| async move {
                let request = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
                let mut answers = LeaseClient::new(service)
                    .lease_keep_alive(request)
                    .await?
                    .into_inner();
                match answers.message().await? {
                    Some(answer) => Ok(Response::new(answer)),
                    None => Err(Status::unavailable("the stream ended")),
                }
            })
            .await?;
        Ok((renewed.ttl > 0).then(|| seconds_of(renewed.ttl)))
    }

    /// Waits for a change of a key from a revision on, no longer than `limit`.
    /// Also returns when the watch breaks: what it is about must be read then.
    pub async fn watch(&self, key: &[u8], from_revision: i64, limit: Duration) {
        let request = &WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(
                WatchCreateRequest {
                    key: key.to_vec(),
                    range_end: Vec::new(),
                    start_revision: from_revision,
                },
            )),
        };
        let watched = self.attempt(limit, |service| {
            let request = request.clone();
            async move {
                // Closing our side ends the watch, so it stays open.
                let (keep_open, requests) = tokio::sync::mpsc::channel(1);
                let _ = keep_open.send(request).await;
                let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
                let mut news = WatchClient::new(service)
                    .watch(requests)
                    .await?
                    .into_inner();
                while let Some(message) = news.message().await? {
                    if message.canceled || !message.events.is_empty() {
                        break;
                    }
                }
                drop(keep_open);
                Ok(Response::new(()))
            }
        });
        if let Err(error) = watched.await {
            tracing::trace!(%error, "a watch ended");
        }
    }

    /// Repeats a call until somebody answers or patience is at its end.
    async fn patiently<T, F, Fut>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(Authorized) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let started = Instant::now();
        let mut pause = PAUSES.0;
        let mut warned = false;
        loop {
            let left = self.shared.patience.saturating_sub(started.elapsed());
            let error = match self.attempt(self.shared.attempt.min(left), &call).await {
                Ok(answer) => {
                    if warned {
                        tracing::info!("etcd answers again");
                    }
                    return Ok(answer);
                }
                Err(error @ Error::Unanswered { .. }) => error,
                Err(error) => return Err(error),
            };
            let waited = started.elapsed();
            if waited + pause >= self.shared.patience {
                return Err(match error {
                    Error::Unanswered { reason, .. } => Error::Unanswered {
                        endpoints: self.endpoints(),
                        waited,
                        reason,
                    },
                    error => error,
                });
            }
            // A single lost answer is nobody's business.
            if !warned && waited >= self.shared.attempt / 2 {
                warned = true;
                let left = self.shared.patience.saturating_sub(waited);
                tracing::warn!("{error}; trying for another {left:.1?}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Asks one member, once. One that does not answer is not asked next time.
    async fn attempt<T, F, Fut>(&self, limit: Duration, call: F) -> Result<T, Error>
    where
        F: Fn(Authorized) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let turn = self.shared.current.load(Ordering::Relaxed);
        let member = &self.shared.members[turn % self.shared.members.len()];
        let started = Instant::now();
        let answered = tokio::time::timeout(limit, self.authorized(member, call)).await;
        let reason = match answered {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if is_decided(&status) => {
                return Err(Error::Refused {
                    code: status.code(),
                    message: in_words(&status),
                });
            }
            Ok(Err(status)) => in_words(&status),
            Err(_) => "no answer".to_owned(),
        };
        // Unless another call has moved on already.
        let _ = self.shared.current.compare_exchange(
            turn,
            turn.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        Err(Error::Unanswered {
            endpoints: member.address.clone(),
            waited: started.elapsed(),
            reason,
        })
    }

    /// Makes a call with a token that is valid, if one is needed.
    async fn authorized<T, F, Fut>(&self, member: &Member, call: F) -> Result<Response<T>, Status>
    where
        F: Fn(Authorized) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut is_first = true;
        loop {
            let token = self.token(member).await?;
            let headers = Headers {
                token: token.clone(),
            };
            let service = InterceptedService::new(member.channel.clone(), headers);
            match call(service).await {
                // Refused before anything was done, so it can be said again.
                Err(status) if is_first && token.is_some() && is_stale_token(&status) => {
                    is_first = false;
                    let mut kept = self.shared.token.write().await;
                    if *kept == token {
                        *kept = None;
                    }
                }
                answer => return answer,
            }
        }
    }

    async fn token(&self, member: &Member) -> Result<Option<MetadataValue<Ascii>>, Status> {
        let Some(credentials) = &self.shared.credentials else {
            return Ok(None);
        };
        if let Some(token) = self.shared.token.read().await.clone() {
            return Ok(Some(token));
        }
        let mut kept = self.shared.token.write().await;
        if let Some(token) = kept.clone() {
            return Ok(Some(token));
        }
        let headers = Headers { token: None };
        let service = InterceptedService::new(member.channel.clone(), headers);
        let request = AuthenticateRequest {
            name: credentials.user.clone(),
            password: credentials.password.expose().to_owned(),
        };
        let answer = AuthClient::new(service).authenticate(request).await?;
        let mut token = MetadataValue::try_from(answer.into_inner().token)
            .map_err(|_| Status::internal("etcd's token is no text"))?;
        token.set_sensitive(true);
        *kept = Some(token.clone());
        Ok(Some(token))
    }
}

fn member(address: &str, config: &Config) -> Result<Member, Error> {
    let failed = |error: tonic::transport::Error| {
        let mut reason = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            reason = format!("{reason}: {cause}");
        }
        Error::Config {
            what: format!("etcd at {address}"),
            reason,
        }
    };
    let scheme = match config.tls {
        Some(_) => "https",
        None => "http",
    };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(failed)?
        .connect_timeout(config.attempt)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if let Some(tls) = &config.tls {
        endpoint = endpoint.tls_config(tls_config(tls)).map_err(failed)?;
    }
    Ok(Member {
        address: address.to_owned(),
        channel: endpoint.connect_lazy(),
    })
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new();
    config = match &tls.authorities {
        Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    config
}

fn kv(service: Authorized) -> KvClient<Authorized> {
    KvClient::new(service).max_decoding_message_size(MAX_ANSWER_BYTES)
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
