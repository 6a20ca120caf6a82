//! What became of a transaction that is in a block.

use std::fmt;

use subxt::config::Hasher as _;
use subxt::config::Header as _;
use subxt::config::substrate::BlakeTwo256;
use subxt::error::{DispatchError, ModuleError};
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
    /// `Pallet.Error`; outside any pallet `BadOrigin`, `Token.FundsUnavailable` and
    /// the like, as `sp-runtime` calls them.
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
        // Beside a pallet's error, variants hold nothing, or one that holds nothing.
        let (name, words) = match &error {
            DispatchError::Module(module) => return Self::in_pallet(module),
            DispatchError::Token(inner) => (format!("Token.{inner:?}"), inner.to_string()),
            DispatchError::Arithmetic(inner) => {
                (format!("Arithmetic.{inner:?}"), inner.to_string())
            }
            DispatchError::Transactional(inner) => {
                (format!("Transactional.{inner:?}"), inner.to_string())
            }
            other => (format!("{other:?}"), other.to_string()),
        };
        Self {
            name,
            documentation: words.trim_end_matches('.').to_owned(),
        }
    }
}

impl DispatchFailure {
    fn in_pallet(error: &ModuleError) -> Self {
        match error.details() {
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

#[cfg(test)]
mod tests {
    use subxt::error::{ArithmeticError, TokenError};

    use super::*;

    #[test]
    fn a_failure_outside_any_pallet_has_the_runtimes_name_and_words() {
        for (error, name, words) in [
            (DispatchError::BadOrigin, "BadOrigin", "Bad origin"),
            (DispatchError::Exhausted, "Exhausted", "Resources exhausted"),
            (
                DispatchError::Token(TokenError::FundsUnavailable),
                "Token.FundsUnavailable",
                "Funds are unavailable",
            ),
            (
                DispatchError::Arithmetic(ArithmeticError::Overflow),
                "Arithmetic.Overflow",
                "Overflow",
            ),
        ] {
            let failure = DispatchFailure::from(error);
            assert_eq!(failure.name, name);
            assert!(failure.documentation.contains(words), "{failure}");
        }
    }
}
