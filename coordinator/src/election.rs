//! What a coordinator needs of a store that several of them share.
//!
//! The mental model: candidates [`Elections::campaign`] until one is elected and
//! holds an [`Office`]. It may write for as long as it holds that, and what it
//! writes afterwards is refused by the store itself.

use std::future::Future;
use std::time::Duration;

use crate::store::{Etcd, Leadership, RunStore, StoreError};

/// A store that elects.
pub(crate) trait Elections: Clone + Send + Sync + 'static {
    /// What the one that is elected holds.
    type Office: Office;

    /// The address of whoever leads, or did until its lease runs out.
    fn leader(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Waits until nobody leads, and then leads. Dropping the future withdraws.
    fn campaign(
        &self,
        address: &str,
    ) -> impl Future<Output = Result<Self::Office, StoreError>> + Send;

    /// The records, for reading alone.
    fn reader(&self) -> RunStore;
}

/// The right to lead.
pub(crate) trait Office: Send + Sync + 'static {
    /// The records, which only this leader writes.
    fn store(&self) -> RunStore;

    /// A look at whether it is still held, by the clock and by what was heard.
    fn holds(&self) -> impl Fn() -> bool + Send + Sync + 'static;

    /// Waits until it is lost, and says why.
    fn lost(&self) -> impl Future<Output = StoreError> + Send + 'static;

    /// Lets another lead at once.
    fn resign(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Elections by etcd.
#[derive(Clone)]
pub(crate) struct ByEtcd {
    pub(crate) etcd: Etcd,
    /// How long a leader may be silent before another may lead.
    pub(crate) lease: Duration,
}

impl Elections for ByEtcd {
    type Office = Leadership;

    async fn leader(&self) -> Result<Option<String>, StoreError> {
        Ok(self.etcd.leader().await?.map(|leader| leader.address))
    }

    async fn campaign(&self, address: &str) -> Result<Leadership, StoreError> {
        self.etcd.campaign(address, self.lease).await
    }

    fn reader(&self) -> RunStore {
        RunStore::new(self.etcd.reader())
    }
}

impl Office for Leadership {
    fn store(&self) -> RunStore {
        RunStore::new(self.keyspace())
    }

    fn holds(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        self.holds()
    }

    fn lost(&self) -> impl Future<Output = StoreError> + Send + 'static {
        Leadership::lost(self)
    }

    async fn resign(self) -> Result<(), StoreError> {
        Leadership::resign(self).await
    }
}
