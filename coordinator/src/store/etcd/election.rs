//! Who leads.
//!
//! One key, which is there exactly as long as somebody leads: it goes with the
//! leader's lease. Whoever creates it leads, and the revision that did is the
//! token that all of this leader's writes carry.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::Moment;
use etcd::txn::{created_by, found, get, put_with_lease};
use etcd::wire::{KeyValue, RangeRequest, TxnRequest};
use etcd::{Client, Error};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::fence::Fence;
use super::io::Io;
use super::write::Writing;
use super::{Etcd, FencedEtcd};
use crate::store::StoreError;

/// How often a candidate looks who leads, besides being told.
const LOOK: Duration = Duration::from_secs(1);
/// A candidate's pause after something failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Renewals that may fail in a row before a lease is lost.
const RENEWALS: u32 = 5;

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// The address that it advertises.
    pub address: String,
    /// Since when, by its own clock: milliseconds since 1970.
    pub since_unix_ms: u64,
    /// What its writes are compared with: grows from leader to leader.
    #[serde(skip)]
    pub token: i64,
}

impl LeaderInfo {
    pub(super) fn decode(pair: &KeyValue) -> Result<LeaderInfo, StoreError> {
        let info: LeaderInfo = serde_json::from_slice(&pair.value)
            .map_err(|error| StoreError::corrupt("leader", error))?;
        Ok(LeaderInfo {
            token: pair.create_revision,
            ..info
        })
    }
}

impl Etcd {
    /// Who leads now, or did until its lease runs out.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn leader(&self) -> Result<Option<LeaderInfo>, StoreError> {
        let (leader, _) = self.leader_key().await?;
        leader.as_ref().map(LeaderInfo::decode).transpose()
    }

    async fn leader_key(&self) -> Result<(Option<KeyValue>, i64), StoreError> {
        let request = RangeRequest {
            key: self.reading.layout.leader(),
            ..RangeRequest::default()
        };
        let answer = self.reading.client.range(request).await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        Ok((answer.kvs.into_iter().next(), revision))
    }

    /// Waits until nobody leads, and then leads. `address` is what others are told;
    /// `lease` is how long after this process has gone silent another may lead.
    ///
    /// While etcd does not answer this waits too. Dropping the future withdraws.
    ///
    /// # Errors
    /// If etcd refuses, or holds what this version does not understand.
    pub async fn campaign(&self, address: &str, lease: Duration) -> Result<Leadership, StoreError> {
        let mut told = None;
        loop {
            let attempt = async {
                let (leader, revision) = self.leader_key().await?;
                let Some(leader) = leader else {
                    return self.try_to_lead(address, lease).await;
                };
                if told.replace(leader.create_revision) != Some(leader.create_revision) {
                    let leader = LeaderInfo::decode(&leader)?;
                    tracing::info!("{} leads; standing by", leader.address);
                }
                let key = &self.reading.layout.leader();
                self.reading.client.watch(key, revision + 1, LOOK).await;
                Ok(None)
            };
            match attempt.await {
                Ok(Some(leadership)) => return Ok(leadership),
                Ok(None) => {}
                Err(error) if error.may_pass() => {
                    tracing::warn!("cannot lead yet: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leads if nobody does, without waiting; `None` if somebody does. The
    /// arguments are those of [`Etcd::campaign`].
    ///
    /// # Errors
    /// If etcd refuses or does not answer, or holds what this version does not
    /// understand.
    pub async fn try_to_lead(
        &self,
        address: &str,
        lease: Duration,
    ) -> Result<Option<Leadership>, StoreError> {
        let client = &self.reading.client;
        let asked = Moment::now();
        let (number, granted) = client.grant(lease).await?;
        let withdrawal = Withdrawal {
            client: client.clone(),
            lease: number,
            io: self.io.clone(),
        };
        let Some(token) = self.claim(address, number).await? else {
            return Ok(None);
        };
        let fence = Arc::new(Fence::new(token, number, lease.min(granted), asked));
        let renewing = keep(client.clone(), self.reading.layout.leader(), fence.clone());
        let leadership = Leadership {
            etcd: self.clone(),
            writing: Arc::new(Writing::new(self.reading.clone(), fence)),
            renewing: self.io.handle().spawn(renewing),
            withdrawal,
        };
        leadership.writing.take_over().await?;
        tracing::info!(token, "leading, with a lease of {lease:.1?}");
        Ok(Some(leadership))
    }

    /// Creates the leader's key, and returns the revision that did.
    async fn claim(&self, address: &str, lease: i64) -> Result<Option<i64>, StoreError> {
        let key = self.reading.layout.leader();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let info = LeaderInfo {
            address: address.to_owned(),
            since_unix_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            token: 0,
        };
        let info =
            serde_json::to_vec(&info).map_err(|error| StoreError::corrupt("leader", error))?;
        let request = TxnRequest {
            compare: vec![created_by(&key, 0)],
            success: vec![put_with_lease(key.clone(), info, lease)],
            failure: vec![get(&key)],
        };
        // Reading would do, but for that it has to come after writing; and a
        // transaction that is sent again finds the key that the first one made.
        let answer = self.reading.client.repeat(request).await?;
        if answer.succeeded {
            return Ok(answer.header.map(|header| header.revision));
        }
        let leader = found(answer)
            .into_iter()
            .flat_map(|(pairs, _)| pairs)
            .next();
        Ok(leader
            .filter(|leader| leader.lease == lease)
            .map(|leader| leader.create_revision))
    }
}

/// The right to write, until it is lost. Dropping it gives it up.
pub struct Leadership {
    etcd: Etcd,
    pub(super) writing: Arc<Writing>,
    renewing: JoinHandle<()>,
    withdrawal: Withdrawal,
}

impl Leadership {
    /// The store that only this leader writes.
    pub fn keyspace(&self) -> FencedEtcd {
        FencedEtcd {
            etcd: self.etcd.clone(),
            writing: self.writing.clone(),
        }
    }

    /// What this leader's writes are compared with: greater than any leader's
    /// before it.
    pub fn token(&self) -> i64 {
        self.writing.fence.token
    }

    /// Whether it can still be believed in, by the clock and by what was heard.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] if not.
    pub fn check(&self) -> Result<(), StoreError> {
        self.writing.fence.check()
    }

    /// The same look, for those who speak for the leader and may outlive it.
    pub fn holds(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let fence = self.writing.fence.clone();
        move || fence.check().is_ok()
    }

    /// Waits until it is lost, and says why: always before etcd can have let the
    /// lease expire, by this machine's clock, or as soon as the process runs again
    /// after it was stopped.
    pub fn lost(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let fence = self.writing.fence.clone();
        async move { fence.lost().await }
    }

    /// Gives it up, so that another can lead at once.
    ///
    /// # Errors
    /// If etcd does not answer; then the lease expires by itself.
    pub async fn resign(self) -> Result<(), StoreError> {
        self.writing.fence.lose("it has resigned");
        Ok(self.withdrawal.client.revoke(self.withdrawal.lease).await?)
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.writing.fence.lose("it has resigned");
        self.renewing.abort();
    }
}

/// Revokes a lease when it is dropped, whatever came in between.
struct Withdrawal {
    client: Client,
    lease: i64,
    io: Arc<Io>,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let (client, lease, io) = (self.client.clone(), self.lease, self.io.clone());
        self.io.handle().spawn(async move {
            if let Err(error) = client.revoke(lease).await {
                tracing::debug!(%error, "a lease is left to expire");
            }
            // The thread stays for so long, whoever else has gone.
            drop(io);
        });
    }
}

/// Renews a lease until it is lost, and looks whether its key is still there.
async fn keep(client: Client, leader: Vec<u8>, fence: Arc<Fence>) {
    let interval = fence.validity() / RENEWALS;
    loop {
        let sent = Moment::now();
        match client.keep_alive(fence.lease, interval).await {
            Ok(Some(_)) => {
                fence.renew(sent);
                if let Some(why) = is_replaced(&client, &leader, &fence, interval).await {
                    fence.lose(&why);
                }
                tokio::time::sleep(interval).await;
            }
            Ok(None) => fence.lose("etcd has let its lease expire"),
            Err(error) => {
                tracing::debug!(%error, "the lease was not renewed");
                let refused = matches!(error, Error::Refused { .. });
                if error.is_no_lease() {
                    fence.lose("etcd has let its lease expire");
                } else if refused {
                    tokio::time::sleep(interval / 2).await;
                } else {
                    // Another member is asked at once.
                    tokio::time::sleep(interval / 10).await;
                }
            }
        }
        if fence.check().is_err() {
            return;
        }
    }
}

/// Why this leader leads no longer although its lease lives, if that is so.
async fn is_replaced(
    client: &Client,
    leader: &[u8],
    fence: &Fence,
    limit: Duration,
) -> Option<String> {
    let request = RangeRequest {
        key: leader.to_vec(),
        ..RangeRequest::default()
    };
    let read = tokio::time::timeout(limit, client.range(request)).await;
    // No answer is no news; the lease says enough.
    let leader = read.ok()?.ok()?.kvs.into_iter().next();
    match leader {
        Some(leader) if leader.create_revision == fence.token => None,
        Some(_) => Some("another coordinator leads now".to_owned()),
        None => Some("somebody has deleted its key".to_owned()),
    }
}
