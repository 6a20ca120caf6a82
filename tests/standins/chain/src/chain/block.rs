//! Blocks: headers, their hashes and their JSON.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use subxt::ext::codec::{Compact, Encode as _};
use subxt::utils::H256;

use super::State;
use crate::runtime::Runtime;

/// The consensus engine that authors blocks, and a slot's length in milliseconds.
const AURA: [u8; 4] = *b"aura";
pub(crate) const SLOT_MS: u64 = 12_000;

/// The tags of `DigestItem::PreRuntime` and `DigestItem::Seal` in `sp-runtime`.
const PRE_RUNTIME: u8 = 6;
const SEAL: u8 = 5;

/// A block's header (`sp_runtime::generic::Header`).
///
/// Simplified: `state_root` and `extrinsics_root` are hashes of what they stand for,
/// not roots of tries, and the seal is no signature; a number in it tells apart
/// blocks that would otherwise be equal.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) parent: H256,
    pub(crate) number: u32,
    state_root: H256,
    extrinsics_root: H256,
    /// Encoded digest items.
    logs: Vec<Vec<u8>>,
}

/// One block with the state after it.
pub(crate) struct Block {
    pub(crate) hash: H256,
    pub(crate) header: Header,
    pub(crate) extrinsics: Vec<Vec<u8>>,
    /// blake2-256 of each extrinsic.
    pub(crate) extrinsic_hashes: Vec<H256>,
    /// How each extrinsic went, in words; the error's name otherwise.
    pub(crate) results: Vec<Result<(), String>>,
    /// `None` once it is pruned.
    pub(crate) state: Option<State>,
    /// The runtime that the state has, which the next block runs under.
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) timestamp_ms: u64,
}

impl Header {
    /// A header over these extrinsics; `salt` tells apart what is equal otherwise.
    pub(crate) fn new(
        parent: H256,
        number: u32,
        extrinsics: &[Vec<u8>],
        timestamp_ms: u64,
        salt: u64,
    ) -> Self {
        let extrinsics_root = H256(sp_crypto_hashing::blake2_256(&extrinsics.encode()));
        let state_root = (parent.0, number, extrinsics_root.0, salt).encode();
        let slot = timestamp_ms / SLOT_MS;
        let mut seal = [0u8; 64];
        seal[..8].copy_from_slice(&salt.to_le_bytes());
        let logs = if number == 0 {
            Vec::new()
        } else {
            vec![
                (PRE_RUNTIME, AURA, slot.encode()).encode(),
                (SEAL, AURA, seal.to_vec()).encode(),
            ]
        };
        Self {
            parent,
            number,
            state_root: H256(sp_crypto_hashing::blake2_256(&state_root)),
            extrinsics_root,
            logs,
        }
    }

    /// SCALE: parent, number (compact), roots, digest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.parent.0.to_vec();
        Compact(self.number).encode_to(&mut bytes);
        bytes.extend_from_slice(&self.state_root.0);
        bytes.extend_from_slice(&self.extrinsics_root.0);
        let logs = u32::try_from(self.logs.len()).unwrap_or(u32::MAX);
        Compact(logs).encode_to(&mut bytes);
        bytes.extend(self.logs.iter().flatten());
        bytes
    }

    /// The block's hash: blake2-256 of the encoded header.
    pub(crate) fn hash(&self) -> H256 {
        H256(sp_crypto_hashing::blake2_256(&self.encode()))
    }

    /// As the legacy methods tell it.
    pub(crate) fn json(&self) -> Json {
        let logs: Vec<String> = self.logs.iter().map(|log| hex(log)).collect();
        json!({
            "parentHash": hex(&self.parent.0),
            "number": format!("{:#x}", self.number),
            "stateRoot": hex(&self.state_root.0),
            "extrinsicsRoot": hex(&self.extrinsics_root.0),
            "digest": { "logs": logs },
        })
    }
}

/// Bytes as JSON-RPC writes them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
