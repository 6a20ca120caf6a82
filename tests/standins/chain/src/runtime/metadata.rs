//! The runtime's description of itself: mainnet's metadata, checked and, where an
//! option asks for it, turned into an older runtime's.

use sha2::{Digest as _, Sha256};
use subxt::ext::codec::{Decode, Encode};
use subxt::ext::frame_metadata::v16::{PalletMetadata, RuntimeMetadataV16};
use subxt::ext::frame_metadata::{META_RESERVED, RuntimeMetadata, RuntimeMetadataPrefixed};

use scale_info::TypeDef;
use scale_info::form::PortableForm;

use super::older;
use crate::{Quota, StartError};

/// Mainnet's metadata; `fixtures/README.md` says where it is from.
const COMPRESSED: &[u8] = include_bytes!("../../fixtures/finney-365.scale.zst");

/// sha256 of the uncompressed bytes.
const SHA256: &str = "4fcee8d89551a48e96b6b04a4484b445621f8983c170885f670d5130a1182f9f";

/// The entry of runtimes before March 2025 that took the place where `MaxSpace` is
/// now, and its default, in blocks.
const RATE_LIMIT: (&str, u32) = ("RateLimit", 100);

/// `RuntimeVersion` of `sp-version`, in its order: constant `System.Version` and
/// answer of `Core_version`.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[codec(crate = subxt::ext::codec)]
pub(crate) struct Version {
    pub(crate) spec_name: String,
    pub(crate) impl_name: String,
    pub(crate) authoring_version: u32,
    pub(crate) spec_version: u32,
    pub(crate) impl_version: u32,
    pub(crate) apis: Vec<([u8; 8], u32)>,
    pub(crate) transaction_version: u32,
    pub(crate) system_version: u8,
}

/// One runtime's metadata in the three versions that clients ask for, each as a
/// `RuntimeMetadataPrefixed`.
pub(crate) struct Encoded {
    pub(crate) v14: Vec<u8>,
    pub(crate) v15: Vec<u8>,
    pub(crate) v16: Vec<u8>,
}

/// What [`build`] makes.
pub(crate) struct Built {
    pub(crate) metadata: subxt::Metadata,
    pub(crate) encoded: Encoded,
    pub(crate) version: Version,
}

/// The metadata of a runtime with this quota, calling itself `spec_version`; the
/// fixture's own version when that is `None`.
pub(crate) fn build(quota: Quota, spec_version: Option<u32>) -> Result<Built, StartError> {
    let mut metadata = fixture()?;
    if quota == Quota::HundredBlocks {
        with_rate_limit(&mut metadata)?;
    }
    let version = with_spec_version(&mut metadata, spec_version)?;
    let encoded = Encoded {
        v14: prefixed(RuntimeMetadata::V14(older::v14(&metadata))),
        v15: prefixed(RuntimeMetadata::V15(older::v15(&metadata))),
        v16: prefixed(RuntimeMetadata::V16(metadata.clone())),
    };
    let metadata = subxt::Metadata::from_v16(metadata)
        .map_err(|error| StartError::Metadata(error.to_string()))?;
    Ok(Built {
        metadata,
        encoded,
        version,
    })
}

fn prefixed(metadata: RuntimeMetadata) -> Vec<u8> {
    RuntimeMetadataPrefixed(META_RESERVED, metadata).encode()
}

/// The fixture, uncompressed, checked and decoded.
fn fixture() -> Result<RuntimeMetadataV16, StartError> {
    let bytes = zstd::decode_all(COMPRESSED)
        .map_err(|error| StartError::Metadata(format!("it does not decompress: {error}")))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found != SHA256 {
        return Err(StartError::Metadata(format!(
            "its sha256 is {found}, not {SHA256}"
        )));
    }
    let decoded = RuntimeMetadataPrefixed::decode(&mut bytes.as_slice())
        .map_err(|error| StartError::Metadata(error.to_string()))?;
    match decoded.1 {
        RuntimeMetadata::V16(metadata) => Ok(metadata),
        other => Err(StartError::Metadata(format!(
            "it is of version {}, not 16",
            other.version()
        ))),
    }
}

fn pallet<'a>(
    metadata: &'a mut RuntimeMetadataV16,
    name: &str,
) -> Result<&'a mut PalletMetadata<PortableForm>, StartError> {
    metadata
        .pallets
        .iter_mut()
        .find(|pallet| pallet.name == name)
        .ok_or_else(|| StartError::Metadata(format!("it has no pallet {name}")))
}

/// Writes `spec_version` into constant `System.Version`, so that a client that reads
/// it there learns the same as from `Core_version`.
fn with_spec_version(
    metadata: &mut RuntimeMetadataV16,
    spec_version: Option<u32>,
) -> Result<Version, StartError> {
    let constant = pallet(metadata, "System")?
        .constants
        .iter_mut()
        .find(|constant| constant.name == "Version")
        .ok_or_else(|| StartError::Metadata("it has no constant System.Version".to_owned()))?;
    let mut version = Version::decode(&mut constant.value.as_slice())
        .map_err(|error| StartError::Metadata(format!("System.Version: {error}")))?;
    if let Some(spec_version) = spec_version {
        version.spec_version = spec_version;
        constant.value = version.encode();
    }
    Ok(version)
}

/// Turns pallet Commitments into the one before March 2025: entry `RateLimit` where
/// `MaxSpace` is (both hold a u32), no `UsedSpaceOf`, and error 2 called
/// `CommitmentSetRateLimitExceeded` (opentensor/subtensor, commit 6d1668d9d).
fn with_rate_limit(metadata: &mut RuntimeMetadataV16) -> Result<(), StartError> {
    let commitments = pallet(metadata, "Commitments")?;
    if let Some(storage) = commitments.storage.as_mut() {
        storage.entries.retain(|entry| entry.name != "UsedSpaceOf");
        for entry in &mut storage.entries {
            if entry.name == "MaxSpace" {
                entry.name = RATE_LIMIT.0.to_owned();
                entry.default = RATE_LIMIT.1.encode();
            }
        }
    }
    let errors = commitments.error.as_ref().map(|error| error.ty.id);
    let errors = errors
        .and_then(|id| metadata.types.types.get_mut(id as usize))
        .map(|portable| &mut portable.ty.type_def);
    let Some(TypeDef::Variant(errors)) = errors else {
        return Err(StartError::Metadata(
            "its pallet Commitments names no errors".to_owned(),
        ));
    };
    for error in &mut errors.variants {
        if error.name == "SpaceLimitExceeded" {
            error.name = "CommitmentSetRateLimitExceeded".to_owned();
        }
    }
    Ok(())
}
