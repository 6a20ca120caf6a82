//! Why an extrinsic cannot be in the next block (`InvalidTransaction` and
//! `UnknownTransaction` of `sp-runtime`).

use subxt::ext::codec::Encode as _;
use subxt::utils::H256;

use super::extrinsic::Implicit;
use super::{Call, Era, Runtime, Signed};
use crate::chain::State;

/// `CustomTransactionError::HotKeyNotRegisteredInNetwork` of subtensor's
/// `common/src/transaction_error.rs`.
const NOT_REGISTERED: u8 = 10;

/// Why a runtime refuses an extrinsic before executing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// Its nonce has been used.
    Stale,
    /// Its signature does not cover this call on this chain, under this runtime.
    BadProof,
    /// The runtime does not know the block that it was born in.
    AncientBirthBlock,
    /// The block is full; only by fault.
    ExhaustsResources,
    /// A reason of the chain's own.
    Custom(u8),
}

impl Invalid {
    /// What the node says (`impl From<InvalidTransaction> for &'static str`).
    pub(crate) fn message(self) -> String {
        match self {
            Self::Stale => "Transaction is outdated".to_owned(),
            Self::BadProof => "Transaction has a bad signature".to_owned(),
            Self::AncientBirthBlock => "Transaction has an ancient birth block".to_owned(),
            Self::ExhaustsResources => "Transaction would exhaust the block limits".to_owned(),
            Self::Custom(code) => format!("Custom error: {code}"),
        }
    }

    /// `InvalidTransaction`, encoded.
    pub(super) fn encoded(self) -> Vec<u8> {
        match self {
            Self::Stale => vec![3],
            Self::BadProof => vec![4],
            Self::AncientBirthBlock => vec![5],
            Self::ExhaustsResources => vec![6],
            Self::Custom(code) => vec![7, code],
        }
    }
}

/// What a valid extrinsic tells the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Valid {
    pub(crate) priority: u64,
    /// The account's nonces that must come before it.
    pub(crate) missing_nonces: u32,
    /// The first block in which it is too late.
    pub(crate) death: u64,
}

/// What validity depends on beside the state.
pub(crate) struct Situation<'a> {
    /// The block that the extrinsic would be in.
    pub(crate) next_block: u32,
    pub(crate) genesis: H256,
    /// The hash of an ancestor, by number, if the runtime still knows it.
    pub(crate) hash_of: &'a dyn Fn(u64) -> Option<H256>,
    /// Whether an unregistered hotkey is refused here and not at dispatch.
    pub(crate) asks_registration: bool,
}

impl Runtime {
    /// Checks an extrinsic as `validate_transaction` does, in its order: birth block,
    /// signature, nonce, and the subnet's own rules.
    pub(crate) fn validate(
        &self,
        state: &State,
        signed: &Signed,
        situation: &Situation<'_>,
    ) -> Result<Valid, Invalid> {
        let current = u64::from(situation.next_block);
        let birth = match signed.era {
            Era::Immortal => situation.genesis,
            Era::Mortal { .. } => {
                (situation.hash_of)(signed.era.birth(current)).ok_or(Invalid::AncientBirthBlock)?
            }
        };
        let implicit = Implicit {
            genesis: situation.genesis,
            birth,
        };
        if !self.signature_holds(signed, &implicit) {
            return Err(Invalid::BadProof);
        }
        let expected = self.nonce(state, &signed.signer);
        if signed.nonce < expected {
            return Err(Invalid::Stale);
        }
        if situation.asks_registration
            && let Call::SetCommitment { netuid, .. } = &signed.call
            && self.uid(state, *netuid, &signed.signer).is_none()
        {
            return Err(Invalid::Custom(NOT_REGISTERED));
        }
        Ok(Valid {
            priority: signed.tip,
            missing_nonces: signed.nonce - expected,
            death: signed.era.death(current),
        })
    }
}

/// `TransactionValidity` of a valid extrinsic, encoded.
pub(super) fn encode_valid(signed: &Signed, valid: &Valid, next_block: u32) -> Vec<u8> {
    let tag = |nonce: u32| (signed.signer.0, nonce).encode();
    let requires: Vec<Vec<u8>> = (valid.missing_nonces > 0)
        .then(|| tag(signed.nonce - 1))
        .into_iter()
        .collect();
    let longevity = match valid.death {
        u64::MAX => u64::MAX,
        death => death.saturating_sub(next_block.into()),
    };
    let provides = vec![tag(signed.nonce)];
    [
        vec![0],
        (valid.priority, requires, provides, longevity, true).encode(),
    ]
    .concat()
}

/// `TransactionValidity` of an invalid extrinsic, encoded.
pub(super) fn encode_invalid(invalid: Invalid) -> Vec<u8> {
    [vec![1, 0], invalid.encoded()].concat()
}
