//! Signed extrinsics of version 4: what is in them, and what their signature covers.
//!
//! The payload is the call, the transaction extensions' own bytes in the metadata's
//! order, and their implicit values in the same order; blake2-256 of it when it is
//! longer than 256 bytes (`SignedPayload::using_encoded` in `sp-runtime`). The
//! signature is sr25519's under the context `substrate`.
//!
//! Not modelled: Ed25519, ECDSA and Ethereum's own extrinsics, and `CheckMetadataHash`
//! in its mode `Enabled`; all of them are refused as bad proofs. Extrinsics of
//! version 5 are refused as undecodable.

use scale_info::TypeDef;
use schnorrkel::{PublicKey, Signature};
use subxt::ext::codec::{Compact, Decode as _, Encode as _};
use subxt::ext::frame_decode::extrinsics::{Extrinsic, decode_extrinsic};
use subxt::utils::{AccountId32, H256};

use super::Runtime;
use crate::StartError;

/// What signatures are made under.
const SIGNING_CONTEXT: &[u8] = b"substrate";

/// The longest payload that is signed as it is, in bytes.
const MAX_UNHASHED: usize = 256;

/// The tags of `MultiAddress::Id` and `MultiSignature::Sr25519`.
const ADDRESS_ID: u8 = 0;
const SIGNATURE_SR25519: u8 = 1;

/// A signed extrinsic, decoded but not believed.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// blake2-256 of the whole extrinsic.
    pub(crate) hash: H256,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signer: AccountId32,
    pub(crate) nonce: u32,
    pub(crate) tip: u64,
    pub(crate) era: Era,
    pub(crate) call: Call,
    signature: Option<[u8; 64]>,
    /// Call and extensions: the payload up to the implicit values.
    explicit_payload: Vec<u8>,
    /// Whether it asks for a check of the metadata's hash.
    checks_metadata_hash: bool,
}

/// What an extrinsic asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    SetCommitment {
        netuid: u16,
        /// The encoded `CommitmentInfo`.
        info: Vec<u8>,
    },
    Other {
        pallet: String,
        call: String,
    },
}

impl Call {
    /// `Pallet.call`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::SetCommitment { .. } => "Commitments.set_commitment".to_owned(),
            Self::Other { pallet, call } => format!("{pallet}.{call}"),
        }
    }
}

/// The blocks in which an extrinsic may be included (`sp_runtime::generic::Era`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Immortal,
    Mortal { period: u64, phase: u64 },
}

impl Era {
    /// An era of one byte 0, or of two bytes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let encoded = match bytes {
            [0] => return Some(Self::Immortal),
            &[low, high] => u64::from(u16::from_le_bytes([low, high])),
            _ => return None,
        };
        let period = 2 << (encoded % 16);
        let quantum = (period >> 12).max(1);
        let phase = (encoded >> 4) * quantum;
        (period >= 4 && phase < period).then_some(Self::Mortal { period, phase })
    }

    /// The block whose hash the payload has, for an extrinsic that would be in block
    /// `current`.
    pub(crate) fn birth(self, current: u64) -> u64 {
        match self {
            Self::Immortal => 0,
            Self::Mortal { period, phase } => {
                (current.max(phase) - phase) / period * period + phase
            }
        }
    }

    /// The first block in which the extrinsic is too late, counted from `current`.
    pub(crate) fn death(self, current: u64) -> u64 {
        match self {
            Self::Immortal => u64::MAX,
            Self::Mortal { period, .. } => self.birth(current) + period,
        }
    }
}

/// What the implicit values of the extensions are taken from.
pub(crate) struct Implicit {
    pub(crate) genesis: H256,
    /// The hash of the era's birth block; genesis' for the immortal.
    pub(crate) birth: H256,
}

impl Runtime {
    /// Makes sure that no transaction extension signs what this runtime does not know.
    pub(super) fn check_extensions(&self) -> Result<(), StartError> {
        for extension in self.extensions() {
            let known = matches!(
                extension.0,
                "CheckSpecVersion"
                    | "CheckTxVersion"
                    | "CheckGenesis"
                    | "CheckMortality"
                    | "CheckMetadataHash"
            );
            let implicit = self.metadata.types().resolve(extension.1);
            let empty = implicit.is_some_and(
                |ty| matches!(&ty.type_def, TypeDef::Tuple(tuple) if tuple.fields.is_empty()),
            );
            if !known && !empty {
                return Err(StartError::Metadata(format!(
                    "its transaction extension {} signs what this chain cannot check",
                    extension.0
                )));
            }
        }
        Ok(())
    }

    /// The extensions of extrinsics of version 4: names and types of implicit values.
    fn extensions(&self) -> Vec<(&str, u32)> {
        let extrinsic = self.metadata.extrinsic();
        let version = extrinsic.transaction_extension_version_to_use_for_decoding();
        extrinsic
            .transaction_extensions_by_version(version)
            .into_iter()
            .flatten()
            .map(|extension| (extension.identifier(), extension.additional_ty()))
            .collect()
    }

    /// Decodes an extrinsic; `None` if it is not a signed one of version 4, whole and
    /// of a call that the metadata knows.
    pub(crate) fn decode_signed(&self, bytes: &[u8]) -> Option<Signed> {
        let types = self.metadata.types();
        let decoded = decode_extrinsic(&mut &*bytes, &self.metadata, types).ok()?;
        let proof = decoded.signature_payload()?;
        let extensions = decoded.transaction_extension_payload()?;
        let extension = |name: &str| {
            extensions
                .iter()
                .find(|extension| extension.name() == name)
                .map(|extension| &bytes[extension.range()])
        };
        let &[ADDRESS_ID, ref signer @ ..] = &bytes[proof.address_range()] else {
            return None;
        };
        let signature = match &bytes[proof.signature_range()] {
            [SIGNATURE_SR25519, signature @ ..] => signature.try_into().ok(),
            _ => None,
        };
        let call_start = decoded.call_data_range().start;
        let arguments_end = decoded
            .call_data()
            .map(|argument| argument.range().end)
            .max()
            .unwrap_or(call_start + 2);
        if arguments_end != bytes.len() {
            return None;
        }
        let mut explicit_payload = bytes[call_start..].to_vec();
        explicit_payload.extend_from_slice(&bytes[extensions.range()]);
        Some(Signed {
            hash: H256(sp_crypto_hashing::blake2_256(bytes)),
            bytes: bytes.to_vec(),
            signer: AccountId32(signer.try_into().ok()?),
            nonce: Compact::<u32>::decode(&mut extension("CheckNonce")?)
                .ok()?
                .0,
            tip: Compact::<u64>::decode(&mut extension("ChargeTransactionPayment")?)
                .ok()?
                .0,
            era: Era::decode(extension("CheckMortality")?)?,
            call: self.call(&decoded, bytes)?,
            signature,
            explicit_payload,
            checks_metadata_hash: extension("CheckMetadataHash").is_some_and(|mode| mode != [0]),
        })
    }

    fn call(&self, decoded: &Extrinsic<'_, u32>, bytes: &[u8]) -> Option<Call> {
        if (decoded.pallet_name(), decoded.call_name()) != ("Commitments", "set_commitment") {
            return Some(Call::Other {
                pallet: decoded.pallet_name().to_owned(),
                call: decoded.call_name().to_owned(),
            });
        }
        let argument = |name: &str| {
            decoded
                .call_data()
                .find(|argument| argument.name() == name)
                .map(|argument| &bytes[argument.range()])
        };
        let info = argument("info")?;
        // The runtime's type of the fields is bounded, and decoding more fails.
        let fields = Compact::<u32>::decode(&mut &*info).ok()?.0;
        if fields > self.constant::<u32>("Commitments", "MaxFields") {
            return None;
        }
        Some(Call::SetCommitment {
            netuid: u16::decode(&mut argument("netuid")?).ok()?,
            info: info.to_vec(),
        })
    }

    /// Whether the signature covers this call on this chain under this runtime.
    pub(crate) fn signature_holds(&self, signed: &Signed, implicit: &Implicit) -> bool {
        let Some(signature) = signed.signature else {
            return false;
        };
        if signed.checks_metadata_hash {
            return false;
        }
        let mut payload = signed.explicit_payload.clone();
        for (name, _) in self.extensions() {
            match name {
                "CheckSpecVersion" => self.version.spec_version.encode_to(&mut payload),
                "CheckTxVersion" => self.version.transaction_version.encode_to(&mut payload),
                "CheckGenesis" => payload.extend_from_slice(&implicit.genesis.0),
                "CheckMortality" => payload.extend_from_slice(&implicit.birth.0),
                "CheckMetadataHash" => payload.push(0),
                _ => {}
            }
        }
        let hashed;
        let message = if payload.len() > MAX_UNHASHED {
            hashed = sp_crypto_hashing::blake2_256(&payload);
            hashed.as_slice()
        } else {
            payload.as_slice()
        };
        let (Ok(key), Ok(signature)) = (
            PublicKey::from_bytes(&signed.signer.0),
            Signature::from_bytes(&signature),
        ) else {
            return false;
        };
        key.verify_simple(SIGNING_CONTEXT, message, &signature)
            .is_ok()
    }

    /// The inherent extrinsic that tells a block its time, in milliseconds.
    pub(crate) fn timestamp_extrinsic(&self, milliseconds: u64) -> Vec<u8> {
        let pallet = self
            .metadata
            .pallet_by_name("Timestamp")
            .expect("the metadata has pallet Timestamp");
        let set = pallet
            .call_variant_by_name("set")
            .expect("pallet Timestamp has call set");
        let mut bare = vec![BARE_V4, pallet.call_index(), set.index];
        Compact(milliseconds).encode_to(&mut bare);
        bare.encode()
    }
}

/// The first byte of an extrinsic of version 4 without a signature.
const BARE_V4: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn an_era_is_its_two_bytes() {
        assert_eq!(Era::decode(&[0]), Some(Era::Immortal));
        // sp-runtime documents a period of 32768 and a phase of 20000 as 2^14 and
        // 20000/8 in the upper twelve bits.
        let encoded: u16 = 14 + ((20_000 / 8) << 4);
        let era = Era::decode(&encoded.to_le_bytes());
        let expected = Era::Mortal {
            period: 32_768,
            phase: 20_000,
        };
        assert_eq!(era, Some(expected));
        assert_eq!(
            Era::decode(&[0x50, 0xff]),
            None,
            "a phase beyond the period"
        );
    }

    #[test]
    fn an_era_lives_one_period_from_its_birth() {
        let era = Era::Mortal {
            period: 64,
            phase: 10,
        };
        assert_eq!((era.birth(10), era.death(10)), (10, 74));
        assert_eq!((era.birth(73), era.death(73)), (10, 74));
        assert_eq!((era.birth(74), era.death(74)), (74, 138));
        assert_eq!(Era::Immortal.birth(99), 0);
    }

    #[test]
    fn the_inherent_is_an_unsigned_extrinsic() {
        let runtime = Runtime::new(Quota::Epoch, None).unwrap();
        let bytes = runtime.timestamp_extrinsic(1_700_000_000_000);
        let types = runtime.metadata.types();
        let decoded = decode_extrinsic(&mut &*bytes, &runtime.metadata, types).unwrap();
        assert_eq!(decoded.pallet_name(), "Timestamp");
        assert_eq!(decoded.call_name(), "set");
        assert!(runtime.decode_signed(&bytes).is_none());
    }
}
