//! The one transaction: encoded by the runtime's own metadata, signed by the hotkey.

use std::fmt;
use std::str::FromStr;

use chain::{Config, Hash, View};
use serde::{Deserialize, Serialize};
use subnet::Account;
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt::dynamic::{self, Value};
use subxt::transactions::Signer;
use subxt::utils::{AccountId32, MultiSignature};
use wallet::Hotkey;

use super::CommitError;

/// A transaction that was signed, and whose fate is not known yet. It holds nothing
/// secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its hash, `0x…`.
    pub hash: String,
    /// Its bytes in hexadecimal, to be offered again.
    pub signed: String,
    /// The account's nonce that it uses up.
    pub nonce: u64,
    /// The finalized block that it was signed at.
    pub first_block: u64,
    /// The last block in which it can be included.
    pub last_block: u64,
    /// The version of the runtime that its signature covers.
    pub spec_version: u32,
    /// Whose it is. Records of earlier versions of this program do not say; such a
    /// transaction counts as another's, and what came of it is read from the chain.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Who signed a transaction, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The hash of the chain's first block, `0x…`.
    pub genesis: String,
    /// The subnet.
    pub netuid: u16,
    /// The hotkey.
    pub hotkey: Account,
}

impl Origin {
    pub(super) fn new(genesis: Hash, netuid: u16, hotkey: &Account) -> Self {
        Self {
            genesis: format!("{genesis:?}"),
            netuid,
            hotkey: *hotkey,
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pending({}, nonce {}, blocks {} to {})",
            self.hash, self.nonce, self.first_block, self.last_block
        )
    }
}

impl Pending {
    /// Hash and bytes, if they are what they should be: a record may have been
    /// edited.
    pub(super) fn parts(&self) -> Option<(Hash, Vec<u8>)> {
        let hash = Hash::from_str(&self.hash).ok()?;
        let signed = hex::decode(&self.signed).ok()?;
        Some((hash, signed))
    }
}

/// The longest era: half of the time for which nodes keep the state of blocks, so that
/// when it is over, what happened in it can still be read.
pub(super) const MAX_ERA_BLOCKS: u64 = 128;

/// The hotkey as subxt wants a signer.
struct HotkeySigner<'a>(&'a Hotkey);

impl Signer<Config> for HotkeySigner<'_> {
    fn account_id(&self) -> AccountId32 {
        AccountId32(*self.0.account().bytes())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.0.sign(payload))
    }
}

/// Signs `Commitments.set_commitment` of one field `RawN` with the string's bytes, to
/// be included within `era_blocks` blocks after the view's.
pub(super) fn sign(
    view: &View,
    hotkey: &Hotkey,
    origin: Origin,
    chain_string: &str,
    nonce: u64,
    era_blocks: u64,
) -> Result<Pending, CommitError> {
    let unencodable = |reason: String| CommitError::Unencodable {
        spec_version: view.spec_version(),
        reason,
    };
    let call = dynamic::tx(
        "Commitments",
        "set_commitment",
        vec![
            Value::u128(origin.netuid.into()),
            Value::named_composite([("fields", one_raw_field(chain_string))]),
        ],
    );
    let transactions = view.client().tx();
    let encoded = transactions.call_data(&call);
    let encoded = encoded.map_err(|error| unencodable(error.to_string()))?;
    if !encoded.ends_with(&expected_end(chain_string)) {
        return Err(unencodable(
            "the string would not be stored as one plain field".to_owned(),
        ));
    }
    let era_blocks = era_blocks.clamp(4, MAX_ERA_BLOCKS).next_power_of_two();
    let parameters = DefaultExtrinsicParamsBuilder::<Config>::new()
        .nonce(nonce)
        .mortal_from_unchecked(era_blocks, view.number(), view.hash())
        .build();
    // Version 4: the chain takes it, and version 5 is not settled.
    let signable = transactions.create_v4_signable_offline(&call, parameters);
    let signed = signable.and_then(|mut signable| signable.sign(&HotkeySigner(hotkey)));
    let signed = signed.map_err(|error| unencodable(error.to_string()))?;
    Ok(Pending {
        hash: format!("{:?}", signed.hash()),
        signed: hex::encode(signed.encoded()),
        nonce,
        first_block: view.number(),
        last_block: view.number() + era_blocks - 1,
        spec_version: view.spec_version(),
        origin: Some(origin),
    })
}

/// `Data::RawN(bytes)` in a list of its own. Every SDK, old and new, reads this kind;
/// the newest read longer kinds as empty.
fn one_raw_field(text: &str) -> Value {
    let kind = format!("Raw{}", text.len());
    let field = Value::unnamed_variant(kind, [Value::from_bytes(text)]);
    Value::unnamed_composite([field])
}

/// What the encoded call ends with: one field, its tag (one more than its length),
/// and its bytes.
fn expected_end(text: &str) -> Vec<u8> {
    const ONE_ELEMENT: u8 = 1 << 2;
    let tag = text.len() as u8 + 1;
    [&[ONE_ELEMENT, tag], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_transaction_survives_the_journal_and_an_edited_one_is_noticed() {
        let pending = Pending {
            hash: format!("{:?}", Hash::from([7; 32])),
            signed: "0102ff".to_owned(),
            nonce: 3,
            first_block: 10,
            last_block: 73,
            spec_version: 365,
            origin: Some(Origin::new(Hash::from([1; 32]), 9, &Account::from([2; 32]))),
        };
        let text = serde_json::to_string(&pending).unwrap();
        let read: Pending = serde_json::from_str(&text).unwrap();
        assert_eq!(read, pending);
        assert_eq!(read.parts(), Some((Hash::from([7; 32]), vec![1, 2, 255])));
        let edited = Pending {
            hash: "0x12".to_owned(),
            ..pending
        };
        assert_eq!(edited.parts(), None);
    }

    #[test]
    fn a_record_that_does_not_say_whose_transaction_it_is_can_be_read() {
        let text = r#"{"hash": "0x01", "signed": "ff", "nonce": 3, "first_block": 10,
            "last_block": 73, "spec_version": 365}"#;
        let read: Pending = serde_json::from_str(text).unwrap();
        assert_eq!((read.nonce, read.origin), (3, None));
    }
}
