//! What a coordinator needs of a store that several of them share.
//!
//! The mental model: candidates [`Elections::campaign`] until one is elected and
//! holds an [`Office`]. It may write for as long as it holds that, and what it
//! writes afterwards is refused by the store itself.

use std::future::Future;
use std::time::Duration;

use crate::store::{RunStore, StoreError};

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

    /// A check of whether it is still held, by the clock and by what was heard.
    fn holds(&self) -> impl Fn() -> bool + Send + Sync + 'static;

    /// Waits until it is lost, and says why.
    fn lost(&self) -> impl Future<Output = StoreError> + Send + 'static;

    /// Lets another lead at once.
    fn resign(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// How long a leader may be silent before another may lead.
pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(3);
