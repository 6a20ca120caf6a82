//! What miners have committed.

use subnet::Account;
use subxt::dynamic::{self, Value};
use subxt::storage::StorageValue;
use subxt::utils::AccountId32;

use crate::view::account_id;
use crate::{ChainError, CommitmentData, View, decode_stored};

const PALLET: &str = "Commitments";
const ENTRY: &str = "CommitmentOf";

/// A miner's last commitment. It outlives the miner's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// The block that it was made in; 0 where even that cannot be read.
    pub block: u64,
    /// What was committed.
    pub data: CommitmentData,
}

impl View {
    /// What a hotkey has committed last, if anything.
    ///
    /// # Errors
    /// When it cannot be read. Data that makes no sense is no error.
    pub async fn commitment(
        &self,
        netuid: u16,
        hotkey: &Account,
    ) -> Result<Option<Commitment>, ChainError> {
        self.require_commitments()?;
        let entry = dynamic::storage::<(u16, AccountId32), Value>(PALLET, ENTRY);
        let keys = (netuid, account_id(hotkey));
        let value = self.at.storage().try_fetch(entry, keys).await;
        let value = value.map_err(|error| self.fault(PALLET, ENTRY, error))?;
        Ok(value.map(|value| self.decode(&value)))
    }

    /// What every hotkey has committed last, registered or not.
    ///
    /// # Errors
    /// When it cannot be read. Data that makes no sense is no error.
    pub async fn commitments(&self, netuid: u16) -> Result<Vec<(Account, Commitment)>, ChainError> {
        self.require_commitments()?;
        let entry = dynamic::storage::<(u16, AccountId32), Value>(PALLET, ENTRY);
        let fault = |error| self.fault(PALLET, ENTRY, error);
        let entries = self.at.storage().iter(entry, (netuid,)).await;
        let mut entries = entries.map_err(fault)?;
        let mut commitments = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(fault)?;
            let key = entry.key().and_then(|key| key.decode());
            let (_, hotkey) =
                key.map_err(|error| self.layout(format!("{PALLET}.{ENTRY}"), error))?;
            commitments.push((Account::from(hotkey.0), self.decode(entry.value())));
        }
        Ok(commitments)
    }

    fn decode(&self, stored: &StorageValue<'_, Value>) -> Commitment {
        let types = self.at.metadata_ref().types();
        decode_stored(stored.bytes(), stored.type_id(), types)
    }

    fn require_commitments(&self) -> Result<(), ChainError> {
        if self.has_storage(PALLET, ENTRY) {
            return Ok(());
        }
        Err(self.missing(format!("storage {PALLET}.{ENTRY}")))
    }
}
