//! What became of a transaction that is in a block.

use std::fmt;

use subxt::config::Hasher as _;
use subxt::config::Header as _;
use subxt::config::substrate::BlakeTwo256;
use subxt::error::DispatchError;
use subxt::events::Phase;
use subxt::ext::scale_decode::DecodeAsType;

use crate::{ChainError, Hash, View};

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The block's number.
    pub block: u64,
    /// Whether the call succeeded, and if not, why.
    pub outcome: Result<(), DispatchFailure>,
    /// What was paid, and tipped, in the chain's smallest unit, if the chain says.
    pub fee: Option<u128>,
}

/// Why a call in a block failed, as the runtime's metadata names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchFailure {
    /// `Pallet.Error`, or what kind of error it is outside any pallet.
    pub name: String,
    /// What the runtime's authors wrote about it; may be empty.
    pub documentation: String,
}

impl fmt::Display for DispatchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.documentation.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.documentation)
    }
}

#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct FeePaid {
    actual_fee: u128,
    tip: u128,
}

impl View {
    /// Looks for a transaction in a block, and reads what became of it.
    ///
    /// # Errors
    /// When the block or its events cannot be read.
    pub async fn inclusion(
        &self,
        block: Hash,
        transaction: Hash,
    ) -> Result<Option<Inclusion>, ChainError> {
        let doing = format!("reading block {block:?}");
        let details = self.link.rpc.chain_get_block(Some(block)).await;
        let details = details.map_err(|error| self.link.fault(&doing, error))?;
        let Some(details) = details else {
            return Err(self.link.fault(&doing, "the node does not have it"));
        };
        let header = &details.block.header;
        let position = details
            .block
            .extrinsics
            .iter()
            .position(|extrinsic| hash_of(&extrinsic.0) == transaction);
        let Some(position) = position else {
            return Ok(None);
        };
        // A block is executed by the runtime that its parent's state holds; where an
        // upgrade takes effect, the block's own state has the next one already.
        let executed_by = self.at(header.parent_hash).await?;
        let included_in = self.at(block).await?;
        let (outcome, fee) = included_in.events_of(&executed_by, position).await?;
        Ok(Some(Inclusion {
            block: header.number(),
            outcome,
            fee,
        }))
    }

    /// Looks for a transaction in the block of a number.
    ///
    /// # Errors
    /// When the block or its events cannot be read.
    pub async fn inclusion_at(
        &self,
        number: u64,
        transaction: Hash,
    ) -> Result<Option<Inclusion>, ChainError> {
        let doing = format!("reading the hash of block {number}");
        let hash = self
            .link
            .rpc
            .chain_get_block_hash(Some(number.into()))
            .await;
        let hash = hash.map_err(|error| self.link.fault(&doing, error))?;
        match hash {
            Some(hash) => self.inclusion(hash, transaction).await,
            None => Err(self.link.fault(&doing, "the node does not have it")),
        }
    }

    async fn events_of(
        &self,
        executed_by: &View,
        position: usize,
    ) -> Result<(Result<(), DispatchFailure>, Option<u128>), ChainError> {
        let doing = format!("reading the events of block {}", self.number());
        let bytes = self.at.events().fetch().await;
        let bytes = bytes.map_err(|error| self.link.fault(&doing, error))?;
        let events = executed_by.at.events().from_bytes(bytes.bytes().to_vec());
        let mut outcome = None;
        let mut fee = None;
        for event in events.iter() {
            let event = event.map_err(|error| executed_by.layout(doing.clone(), error))?;
            if event.phase() != Phase::ApplyExtrinsic(position as u32) {
                continue;
            }
            match (event.pallet_name(), event.event_name()) {
                ("System", "ExtrinsicSuccess") => outcome = Some(Ok(())),
                ("System", "ExtrinsicFailed") => {
                    let error =
                        DispatchError::decode_from(event.field_bytes(), executed_by.at.metadata());
                    let error = error.map_err(|error| executed_by.layout(doing.clone(), error))?;
                    outcome = Some(Err(DispatchFailure::from(error)));
                }
                ("TransactionPayment", "TransactionFeePaid") => {
                    let paid = event.decode_fields_unchecked_as::<FeePaid>();
                    fee = paid
                        .ok()
                        .map(|paid| paid.actual_fee.saturating_add(paid.tip));
                }
                _ => {}
            }
        }
        match outcome {
            Some(outcome) => Ok((outcome, fee)),
            None => Err(self
                .link
                .fault(&doing, "none says what became of the transaction")),
        }
    }
}

fn hash_of(extrinsic: &[u8]) -> Hash {
    BlakeTwo256.hash(extrinsic)
}

impl From<DispatchError> for DispatchFailure {
    fn from(error: DispatchError) -> Self {
        let DispatchError::Module(module) = &error else {
            return Self {
                name: error.to_string().trim_end_matches('.').to_owned(),
                documentation: String::new(),
            };
        };
        match module.details() {
            Ok(details) => Self {
                name: format!("{}.{}", details.pallet.name(), details.variant.name),
                documentation: details.variant.docs.join(" ").trim().to_owned(),
            },
            Err(_) => Self {
                name: error.to_string(),
                documentation: String::new(),
            },
        }
    }
}
