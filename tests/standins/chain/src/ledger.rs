//! Reading and writing what the chain's storage says of neurons and commitments, past
//! the rules.

use subxt::ext::codec::Decode as _;
use subxt::utils::AccountId32;

use crate::chain::Node;
use crate::records::{Committed, Included};
use crate::runtime::{Registration, text_of};

/// A hotkey with a uid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neuron {
    /// The subnet; it is made if there is none.
    pub netuid: u16,
    /// The hotkey's public key.
    pub hotkey: [u8; 32],
    /// The coldkey's public key.
    pub coldkey: [u8; 32],
    /// The uid, from which another hotkey is removed; the next free one if `None`.
    pub uid: Option<u16>,
    /// Between 0 and 1; the chain keeps 16 bits of it.
    pub incentive: f64,
    /// Whether it may validate.
    pub validator_permit: bool,
}

/// Registers a neuron; its uid.
pub(crate) fn register(node: &mut Node, neuron: &Neuron) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range first"
    )]
    let incentive = (neuron.incentive.clamp(0.0, 1.0) * f64::from(u16::MAX)).round() as u16;
    let registration = Registration {
        netuid: neuron.netuid,
        hotkey: AccountId32(neuron.hotkey),
        coldkey: AccountId32(neuron.coldkey),
        uid: neuron.uid,
        incentive,
        validator_permit: neuron.validator_permit,
        block: node.finalized().header.number,
    };
    let uids = node.edit(|runtime, state| runtime.register(state, &registration));
    uids.first().copied().unwrap_or_default()
}

/// Takes a hotkey's uid away. What it has committed stays.
pub(crate) fn deregister(node: &mut Node, netuid: u16, hotkey: &AccountId32) {
    node.edit(|runtime, state| {
        if let Some(uid) = runtime.uid(state, netuid, hotkey) {
            runtime.vacate(state, netuid, uid, hotkey);
        }
    });
}

/// Stores an encoded `CommitmentInfo` without asking any rule.
pub(crate) fn set_commitment(
    node: &mut Node,
    netuid: u16,
    hotkey: &AccountId32,
    block: u32,
    info: &[u8],
) {
    node.edit(|runtime, state| runtime.store_commitment(state, block, hotkey, netuid, info));
}

/// All commitments at the best block.
pub(crate) fn commitments(node: &Node) -> Vec<Committed> {
    let best = node.best();
    let Some(state) = &best.state else {
        return Vec::new();
    };
    let prefix = best.runtime.prefix("Commitments", "CommitmentOf");
    state
        .page(&prefix, None, usize::MAX)
        .into_iter()
        .filter_map(|(key, value)| committed(&key[prefix.len()..], value))
        .collect()
}

/// One commitment: the key's last part is the netuid, eight bytes of hash and the
/// account; the value is deposit, block and info.
fn committed(mut key: &[u8], mut value: &[u8]) -> Option<Committed> {
    let netuid = u16::decode(&mut key).ok()?;
    let (_, hotkey) = <(u64, [u8; 32])>::decode(&mut key).ok()?;
    let (_, block) = <(u64, u32)>::decode(&mut value).ok()?;
    Some(Committed {
        netuid,
        hotkey,
        block,
        info: value.to_vec(),
        data: text_of(value).map(<[u8]>::to_vec),
    })
}

/// The signed extrinsics of the best chain, from the oldest.
pub(crate) fn included(node: &Node) -> Vec<Included> {
    let finalized = node.finalized().header.number;
    let mut all = Vec::new();
    for block in node.chain() {
        for (bytes, result) in block.extrinsics.iter().zip(&block.results) {
            let Some(signed) = block.runtime.decode_signed(bytes) else {
                continue;
            };
            all.push(Included {
                block: block.header.number,
                hash: signed.hash.0,
                signer: signed.signer.0,
                call: signed.call.name(),
                result: result.clone(),
                is_final: block.header.number <= finalized,
            });
        }
    }
    all
}
