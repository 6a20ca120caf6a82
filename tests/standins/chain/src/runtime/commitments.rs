//! `Commitments.set_commitment`, as `pallets/commitments/src/lib.rs` of
//! opentensor/subtensor executes it.
//!
//! The quota by epoch is that of runtimes since March 2025 (read at commit c6e34d11a,
//! spec version 366); the 100-block rule is read at commit 6d1668d9d. Not modelled:
//! deposits (mainnet's are 0), the reset of bonds, and the reveal of timelocked fields.
//!
//! Error `TooManyFieldsInCommitmentInfo` cannot be met from outside: the type of the
//! fields is bounded by the same number, so a node fails to decode the extrinsic
//! before the call is executed. The check is here all the same, after the
//! undecodable ones are turned away at submission.

use subxt::ext::codec::{Compact, Decode as _, Encode as _};
use subxt::ext::scale_value::scale::decode_as_type;
use subxt::ext::scale_value::{Value, ValueDef};
use subxt::utils::AccountId32;

use super::dispatch::{DispatchError, Event};
use super::{Runtime, account_value};
use crate::Quota;
use crate::chain::State;

const PALLET: &str = "Commitments";

/// What a commitment costs at least, in bytes of the quota.
const LEAST_COST: u64 = 100;

/// How many bytes a `Raw` field can have.
pub(crate) const MAX_RAW: usize = 128;

impl Runtime {
    /// Executes the call for `who`.
    pub(super) fn set_commitment(
        &self,
        state: &mut State,
        block: u32,
        who: &AccountId32,
        netuid: u16,
        info: &[u8],
    ) -> Result<Event, DispatchError> {
        if self.uid(state, netuid, who).is_none() {
            return Err(DispatchError::new(PALLET, "AccountNotAllowedCommit"));
        }
        let fields = self
            .fields(info)
            .ok_or_else(|| DispatchError::new(PALLET, "TooManyFieldsInCommitmentInfo"))?;
        if fields.len() > self.constant::<u32>(PALLET, "MaxFields") as usize {
            return Err(DispatchError::new(PALLET, "TooManyFieldsInCommitmentInfo"));
        }
        match self.quota {
            Quota::Epoch => self.spend_space(state, block, who, netuid, &fields)?,
            Quota::HundredBlocks => self.check_rate(state, block, who, netuid)?,
        }
        self.store_commitment(state, block, who, netuid, info);
        let account = ("who", account_value(who));
        let netuid = ("netuid", Value::u128(netuid.into()));
        let reveal_round = fields.iter().find_map(|field| field.reveal_round.clone());
        Ok(match reveal_round {
            Some(round) => Event {
                pallet: PALLET,
                name: "TimelockCommitment",
                fields: vec![netuid, account, ("reveal_round", round)],
            },
            None => Event {
                pallet: PALLET,
                name: "Commitment",
                fields: vec![netuid, account],
            },
        })
    }

    /// Writes a commitment without asking any rule.
    pub(crate) fn store_commitment(
        &self,
        state: &mut State,
        block: u32,
        who: &AccountId32,
        netuid: u16,
        info: &[u8],
    ) {
        // Registration: deposit, block, then the call's own bytes. Not through the
        // metadata's types, because tests store bytes that these cannot express.
        let mut registration = (0u64, block).encode();
        registration.extend_from_slice(info);
        let keys = || vec![Value::u128(netuid.into()), account_value(who)];
        state.insert(self.key(PALLET, "CommitmentOf", keys()), registration);
        let block = Value::u128(block.into());
        self.write(state, PALLET, "LastCommitment", keys(), &block);
    }

    /// Takes the commitment's cost from the hotkey's space for this epoch.
    fn spend_space(
        &self,
        state: &mut State,
        block: u32,
        who: &AccountId32,
        netuid: u16,
        fields: &[Field],
    ) -> Result<(), DispatchError> {
        let bytes: u64 = fields.iter().map(|field| field.bytes).sum();
        let cost = bytes.max(LEAST_COST);
        let keys = || vec![Value::u128(netuid.into()), account_value(who)];
        let epoch = self.epoch(state, netuid, block);
        let key = self.key(PALLET, "UsedSpaceOf", keys());
        let (last_epoch, used) = state
            .get(&key)
            .and_then(|mut bytes| <(u64, u64)>::decode(&mut bytes).ok())
            .unwrap_or((0, 0));
        let used = if last_epoch == epoch { used } else { 0 };
        let limit: u32 = self
            .read(state, PALLET, "MaxSpace", Vec::new())
            .unwrap_or(0);
        if used + cost > u64::from(limit) {
            return Err(DispatchError::new(PALLET, "SpaceLimitExceeded"));
        }
        let usage = Value::named_composite([
            ("last_epoch", Value::u128(epoch.into())),
            ("used_space", Value::u128((used + cost).into())),
        ]);
        self.write(state, PALLET, "UsedSpaceOf", keys(), &usage);
        Ok(())
    }

    /// Refuses a commitment that comes too soon after the last one.
    fn check_rate(
        &self,
        state: &State,
        block: u32,
        who: &AccountId32,
        netuid: u16,
    ) -> Result<(), DispatchError> {
        let keys = vec![Value::u128(netuid.into()), account_value(who)];
        let key = self.key(PALLET, "LastCommitment", keys);
        let last = state
            .get(&key)
            .and_then(|mut bytes| u32::decode(&mut bytes).ok());
        let rate: u32 = self
            .read(state, PALLET, "RateLimit", Vec::new())
            .unwrap_or(0);
        match last {
            Some(last) if block < last.saturating_add(rate) => {
                Err(DispatchError::new(PALLET, "CommitmentSetRateLimitExceeded"))
            }
            _ => Ok(()),
        }
    }

    /// The fields of an encoded `CommitmentInfo`; `None` if it cannot be decoded.
    fn fields(&self, info: &[u8]) -> Option<Vec<Field>> {
        let ty = self.commitment_info_type()?;
        let decoded = decode_as_type(&mut &*info, ty, self.metadata.types()).ok()?;
        let ValueDef::Composite(info) = decoded.value else {
            return None;
        };
        // CommitmentInfo { fields: BoundedVec(Vec<Data>) }
        let bounded = info.into_values().next()?;
        let ValueDef::Composite(bounded) = bounded.value else {
            return None;
        };
        let fields = bounded.into_values().next()?;
        let ValueDef::Composite(fields) = fields.value else {
            return None;
        };
        fields.into_values().map(Field::of).collect()
    }

    fn commitment_info_type(&self) -> Option<u32> {
        let pallet = self.metadata.pallet_by_name(PALLET)?;
        let call = pallet.call_variant_by_name("set_commitment")?;
        let info = call
            .fields
            .iter()
            .find(|field| field.name.as_deref() == Some("info"))?;
        Some(info.ty.id)
    }
}

/// What the quota asks of one field.
struct Field {
    /// `len_for_rate_limit` of `pallets/commitments/src/types.rs`.
    bytes: u64,
    /// The drand round that opens it, if it is timelocked.
    reveal_round: Option<Value>,
}

impl Field {
    fn of(data: Value<u32>) -> Option<Self> {
        let ValueDef::Variant(data) = data.value else {
            return None;
        };
        let bytes = match data.name.as_str() {
            "None" | "ResetBondsFlag" => 0,
            "BlakeTwo256" | "Sha256" | "Keccak256" | "ShaThree256" => 32,
            "TimelockEncrypted" | "BigRaw" => {
                // BoundedVec(Vec<u8>)
                let bounded = data.values.values().next()?;
                length_of_inner(bounded)?
            }
            raw => raw.strip_prefix("Raw")?.parse().ok()?,
        };
        let reveal_round = (data.name == "TimelockEncrypted")
            .then(|| data.values.into_values().nth(1))
            .flatten()
            .map(Value::remove_context);
        Some(Self {
            bytes,
            reveal_round,
        })
    }
}

/// How many elements the sequence inside a newtype has.
fn length_of_inner(newtype: &Value<u32>) -> Option<u64> {
    let ValueDef::Composite(outer) = &newtype.value else {
        return None;
    };
    let ValueDef::Composite(sequence) = &outer.values().next()?.value else {
        return None;
    };
    Some(sequence.len() as u64)
}

/// An encoded `CommitmentInfo` of one `RawN` field.
///
/// # Panics
/// If there are more than 128 bytes, which no `Raw` field holds.
pub(crate) fn raw_field(bytes: &[u8]) -> Vec<u8> {
    assert!(
        bytes.len() <= MAX_RAW,
        "{} bytes are more than the {MAX_RAW} of a Raw field",
        bytes.len()
    );
    let mut info = Compact(1u32).encode();
    info.push(1 + u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    info.extend_from_slice(bytes);
    info
}

/// The bytes of an encoded `CommitmentInfo` of exactly one `RawN` field.
pub(crate) fn text_of(info: &[u8]) -> Option<&[u8]> {
    match info {
        [4, tag @ 1..=129, bytes @ ..] if bytes.len() == usize::from(*tag) - 1 => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_field_is_read_back() {
        for length in [0, 1, 127, MAX_RAW] {
            let bytes = vec![7; length];
            assert_eq!(text_of(&raw_field(&bytes)), Some(bytes.as_slice()));
        }
        assert_eq!(text_of(&[8, 1, 1]), None, "two fields");
        assert_eq!(text_of(&[4, 130]), None, "a hash");
    }

    #[test]
    fn the_length_of_every_kind_of_field_counts() {
        let runtime = Runtime::new(Quota::Epoch, None).unwrap();
        let length = |data: &[u8]| {
            let mut info = Compact(1u32).encode();
            info.extend_from_slice(data);
            let fields = runtime.fields(&info).unwrap();
            assert_eq!(fields.len(), 1);
            fields[0].bytes
        };
        assert_eq!(length(&[0]), 0, "None");
        assert_eq!(length(&[4, 1, 2, 3]), 3, "Raw3");
        assert_eq!(length(&[[130].as_slice(), &[9; 32]].concat()), 32, "a hash");
        let locked = [vec![134, 8, 1, 2], 5u64.encode()].concat();
        assert_eq!(length(&locked), 2, "a timelocked field");
        assert_eq!(length(&[135]), 0, "the flag");
        let big = [vec![136], vec![1u8; 300].encode()].concat();
        assert_eq!(length(&big), 300, "BigRaw");
        assert!(runtime.fields(&[4, 200]).is_none(), "an unknown tag");
    }
}
