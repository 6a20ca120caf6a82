//! What the chain says at one block.

use std::sync::Arc;

use subnet::Account;
use subxt::OnlineClientAtBlock;
use subxt::dynamic;
use subxt::ext::frame_decode::storage::{IntoDecodableValues, IntoEncodableValues};
use subxt::ext::scale_decode::DecodeAsType;
use subxt::utils::AccountId32;

use crate::link::Link;
use crate::{ChainError, Config, Endpoint, Hash};

/// A block, and the time that the chain gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// What its author's clock said, in milliseconds since 1970.
    pub timestamp_ms: u64,
}

/// The chain at one block, a finalized one as a rule. Whatever it is asked, it answers for that
/// block, and decodes by that block's runtime.
#[derive(Clone)]
pub struct View {
    pub(crate) link: Arc<Link>,
    pub(crate) at: OnlineClientAtBlock<Config>,
}

impl View {
    pub(crate) async fn finalized(link: Arc<Link>) -> Result<View, ChainError> {
        let at = link.client.at_current_block().await;
        let at = at.map_err(|error| link.fault("reading the last finalized block", error))?;
        Ok(View { link, at })
    }

    /// The same chain at another block.
    pub(crate) async fn at(&self, block: Hash) -> Result<View, ChainError> {
        let at = self.link.client.at_block(block).await;
        let at = at.map_err(|error| self.link.fault(&format!("reading block {block:?}"), error))?;
        Ok(View {
            link: self.link.clone(),
            at,
        })
    }

    /// The node that answers.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.link.endpoint
    }

    /// The block's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.at.block_number()
    }

    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.at.block_hash()
    }

    /// The version of the block's runtime.
    #[must_use]
    pub fn spec_version(&self) -> u32 {
        self.at.spec_version()
    }

    /// subxt's own client for this block, for whoever encodes by its metadata.
    #[must_use]
    pub fn client(&self) -> &OnlineClientAtBlock<Config> {
        &self.at
    }

    /// The block, with the time that the chain gives it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn block(&self) -> Result<Block, ChainError> {
        let timestamp_ms = self.value("Timestamp", "Now", ()).await?;
        Ok(Block {
            number: self.number(),
            hash: self.hash(),
            timestamp_ms: timestamp_ms.unwrap_or(0),
        })
    }

    /// How many blocks this one is behind the node's best one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn finality_lag(&self) -> Result<u64, ChainError> {
        Ok(self.best().await?.number().saturating_sub(self.number()))
    }

    /// The same chain at the node's best block, which may yet be replaced.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn best(&self) -> Result<View, ChainError> {
        let doing = "reading the best block";
        let hash = self.link.rpc.chain_get_block_hash(None).await;
        let hash = hash.map_err(|error| self.link.fault(doing, error))?;
        match hash {
            Some(hash) => self.at(hash).await,
            None => Err(self.link.fault(doing, "the node has none")),
        }
    }

    /// The number of transactions that an account has had included, which is the
    /// nonce of its next one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn nonce(&self, account: &Account) -> Result<u64, ChainError> {
        let nonce = self.at.tx().account_nonce(&account_id(account)).await;
        nonce.map_err(|error| self.link.fault("reading the account's nonce", error))
    }

    /// The value of a storage entry, or the runtime's default for it.
    pub(crate) async fn value<Keys, Value>(
        &self,
        pallet: &'static str,
        entry: &'static str,
        keys: Keys,
    ) -> Result<Option<Value>, ChainError>
    where
        Keys: IntoEncodableValues + IntoDecodableValues,
        Value: DecodeAsType,
    {
        if !self.has_storage(pallet, entry) {
            return Err(self.missing(format!("storage {pallet}.{entry}")));
        }
        let address = dynamic::storage::<Keys, Value>(pallet, entry);
        let value = self.at.storage().try_fetch(address, keys).await;
        let value = value.map_err(|error| self.fault(pallet, entry, error))?;
        let decoded = value.map(|value| value.decode()).transpose();
        decoded.map_err(|error| self.layout(format!("{pallet}.{entry}"), error))
    }

    /// Whether the block's runtime has a storage entry.
    pub(crate) fn has_storage(&self, pallet: &str, entry: &str) -> bool {
        let metadata = self.at.metadata_ref();
        let storage = metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| pallet.storage());
        storage.is_some_and(|storage| storage.entry_by_name(entry).is_some())
    }

    pub(crate) fn fault(
        &self,
        pallet: &str,
        entry: &str,
        error: impl std::fmt::Display,
    ) -> ChainError {
        let doing = format!("reading {pallet}.{entry} at block {}", self.number());
        self.link.fault(&doing, error)
    }

    pub(crate) fn missing(&self, missing: String) -> ChainError {
        ChainError::Missing {
            endpoint: self.link.endpoint.clone(),
            spec_version: self.spec_version(),
            missing,
        }
    }

    pub(crate) fn layout(&self, doing: String, reason: impl std::fmt::Display) -> ChainError {
        ChainError::Layout {
            endpoint: self.link.endpoint.clone(),
            spec_version: self.spec_version(),
            doing,
            reason: reason.to_string(),
        }
    }
}

pub(crate) fn account_id(account: &Account) -> AccountId32 {
    AccountId32(*account.bytes())
}
