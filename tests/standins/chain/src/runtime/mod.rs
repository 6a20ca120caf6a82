//! What a block does to storage, and how everything in it is encoded.
//!
//! A [`Runtime`] is metadata plus the rules that the metadata does not tell: it
//! encodes storage keys, values and events by the metadata's own types, decodes and
//! checks extrinsics, executes `Commitments.set_commitment`, and answers the runtime
//! APIs that clients call.
//!
//! Architecture invariant: no IO, no clock, no pool; the same block on the same state
//! gives the same state.

mod api;
mod commitments;
mod dispatch;
mod extrinsic;
mod infos;
mod metadata;
mod older;
mod subnet;
mod validity;
mod zero;

use subxt::ext::codec::Decode;
use subxt::ext::frame_decode::storage::{encode_storage_key, encode_storage_key_prefix};
use subxt::ext::scale_value::Value;
use subxt::ext::scale_value::scale::encode_as_type;
use subxt::utils::AccountId32;

pub(crate) use self::api::{ApiContext, ApiError};
pub(crate) use self::commitments::{MAX_RAW, raw_field, text_of};
pub(crate) use self::dispatch::{DispatchError, Failure};
pub(crate) use self::extrinsic::{Call, Era, Signed};
pub(crate) use self::metadata::Version;
pub(crate) use self::subnet::{DEFAULT_TEMPO, Registration};
pub(crate) use self::validity::{Invalid, Situation, Valid};

use crate::chain::State;
use crate::{Quota, StartError};

/// One version of the chain's runtime.
pub(crate) struct Runtime {
    metadata: subxt::Metadata,
    encoded: metadata::Encoded,
    version: Version,
    quota: Quota,
}

impl Runtime {
    /// The runtime with mainnet's metadata and this quota; `spec_version` in place of
    /// the metadata's own.
    pub(crate) fn new(quota: Quota, spec_version: Option<u32>) -> Result<Self, StartError> {
        let built = metadata::build(quota, spec_version)?;
        let runtime = Self {
            metadata: built.metadata,
            encoded: built.encoded,
            version: built.version,
            quota,
        };
        runtime.check_extensions()?;
        Ok(runtime)
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// The metadata's type of a storage entry's value.
    fn value_type(&self, pallet: &str, entry: &str) -> u32 {
        self.metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| pallet.storage())
            .and_then(|storage| storage.entry_by_name(entry))
            .unwrap_or_else(|| panic!("the metadata has no storage entry {pallet}.{entry}"))
            .value_ty()
    }

    /// A storage entry's key, hashed as the metadata says.
    pub(crate) fn key(&self, pallet: &str, entry: &str, keys: Vec<Value>) -> Vec<u8> {
        encode_storage_key(pallet, entry, keys, &self.metadata, self.metadata.types())
            .unwrap_or_else(|error| panic!("the key of {pallet}.{entry}: {error}"))
    }

    /// What all keys of a storage entry begin with.
    pub(crate) fn prefix(&self, pallet: &str, entry: &str) -> [u8; 32] {
        encode_storage_key_prefix(pallet, entry)
    }

    /// A storage entry's value, encoded as the metadata says.
    pub(crate) fn value(&self, pallet: &str, entry: &str, value: &Value) -> Vec<u8> {
        self.encode(self.value_type(pallet, entry), value)
    }

    fn encode(&self, type_id: u32, value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_as_type(value, type_id, self.metadata.types(), &mut bytes)
            .unwrap_or_else(|error| panic!("a value for type {type_id}: {error}"));
        bytes
    }

    /// Writes a storage entry.
    pub(crate) fn write(
        &self,
        state: &mut State,
        pallet: &str,
        entry: &str,
        keys: Vec<Value>,
        value: &Value,
    ) {
        let key = self.key(pallet, entry, keys);
        state.insert(key, self.value(pallet, entry, value));
    }

    /// Writes a storage entry that the next block does not inherit.
    pub(crate) fn write_for_block(
        &self,
        state: &mut State,
        pallet: &str,
        entry: &str,
        value: &Value,
    ) {
        let key = self.key(pallet, entry, Vec::new());
        state.insert_for_block(key, self.value(pallet, entry, value));
    }

    /// Reads a storage entry; the metadata's default where nothing is stored, `None`
    /// if it has none.
    pub(crate) fn read<T: Decode>(
        &self,
        state: &State,
        pallet: &str,
        entry: &str,
        keys: Vec<Value>,
    ) -> Option<T> {
        let key = self.key(pallet, entry, keys);
        let default = self
            .metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| pallet.storage())
            .and_then(|storage| storage.entry_by_name(entry))
            .and_then(|entry| entry.default_value());
        let bytes = state.get(&key).or(default)?;
        T::decode(&mut &bytes[..]).ok()
    }

    /// A constant of a pallet.
    fn constant<T: Decode>(&self, pallet: &str, name: &str) -> T {
        self.metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| pallet.constant_by_name(name))
            .and_then(|constant| T::decode(&mut constant.value()).ok())
            .unwrap_or_else(|| panic!("the metadata has no constant {pallet}.{name}"))
    }

    /// The number of blocks for which a block's hash stays known to the runtime, which
    /// bounds the age of mortal extrinsics.
    pub(crate) fn block_hash_count(&self) -> u32 {
        self.constant("System", "BlockHashCount")
    }

    /// How many extrinsics of an account the chain has executed.
    pub(crate) fn nonce(&self, state: &State, account: &AccountId32) -> u32 {
        // The nonce is AccountInfo's first field.
        self.read(state, "System", "Account", vec![account_value(account)])
            .unwrap_or(0)
    }

    /// Counts an extrinsic of the account.
    pub(crate) fn increment_nonce(&self, state: &mut State, account: &AccountId32) {
        let nonce = self.nonce(state, account) + 1;
        let info = Value::named_composite([
            ("nonce", Value::u128(nonce.into())),
            ("consumers", Value::u128(0)),
            ("providers", Value::u128(1)),
            ("sufficients", Value::u128(0)),
            (
                "data",
                Value::named_composite([
                    ("free", Value::u128(0)),
                    ("reserved", Value::u128(0)),
                    ("frozen", Value::u128(0)),
                    ("flags", Value::u128(NEW_LOGIC_FLAG)),
                ]),
            ),
        ]);
        let keys = vec![account_value(account)];
        self.write(state, "System", "Account", keys, &info);
    }
}

/// `ExtraFlags` of an account that pallet Balances has touched: its highest bit.
const NEW_LOGIC_FLAG: u128 = 1 << 127;

/// An account as a dynamic value.
pub(crate) fn account_value(account: &AccountId32) -> Value {
    Value::from_bytes(account.0)
}
