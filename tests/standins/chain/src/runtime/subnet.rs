//! A subnet's neurons, in the storage of pallet SubtensorModule.
//!
//! Entries and meanings are subtensor's (`pallets/subtensor/src/lib.rs`): per uid
//! vectors hold one number for each uid below `SubnetworkN`, a normalized value v is
//! v/65535, and replacing a uid's hotkey removes the old one's membership.
//!
//! Not modelled: stake, emission, weights, axons and identities, which stay at the
//! metadata's defaults.

use subxt::ext::scale_value::Value;
use subxt::utils::AccountId32;

use super::{Runtime, account_value};
use crate::chain::State;

const PALLET: &str = "SubtensorModule";

/// The vectors with one normalized number per uid.
const NORMALIZED: [&str; 7] = [
    "Incentive",
    "Rank",
    "Trust",
    "Consensus",
    "Dividends",
    "ValidatorTrust",
    "PruningScores",
];

/// A hotkey that takes a uid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    pub(crate) netuid: u16,
    pub(crate) hotkey: AccountId32,
    pub(crate) coldkey: AccountId32,
    /// The next free uid if there is none.
    pub(crate) uid: Option<u16>,
    /// v/65535.
    pub(crate) incentive: u16,
    pub(crate) validator_permit: bool,
    pub(crate) block: u32,
}

/// One uid as storage has it.
pub(crate) struct Neuron {
    pub(crate) uid: u16,
    pub(crate) hotkey: AccountId32,
    pub(crate) coldkey: AccountId32,
    pub(crate) incentive: u16,
    pub(crate) active: bool,
    pub(crate) validator_permit: bool,
    pub(crate) last_update: u64,
    pub(crate) block_at_registration: u64,
}

fn number(value: impl Into<u128>) -> Value {
    Value::u128(value.into())
}

impl Runtime {
    /// Adds a subnet without neurons.
    pub(crate) fn add_subnet(&self, state: &mut State, netuid: u16, tempo: u16) {
        let of = || vec![number(netuid)];
        self.write(state, PALLET, "NetworksAdded", of(), &Value::bool(true));
        self.write(state, PALLET, "Tempo", of(), &number(tempo));
        self.write(state, PALLET, "SubnetworkN", of(), &number(0u8));
        let networks = self
            .read::<u16>(state, PALLET, "TotalNetworks", Vec::new())
            .unwrap_or(0);
        let networks = number(networks + 1);
        self.write(state, PALLET, "TotalNetworks", Vec::new(), &networks);
    }

    /// How many uids the subnet has.
    pub(crate) fn neurons_count(&self, state: &State, netuid: u16) -> u16 {
        self.read(state, PALLET, "SubnetworkN", vec![number(netuid)])
            .unwrap_or(0)
    }

    /// Whether the chain has the subnet.
    pub(crate) fn has_subnet(&self, state: &State, netuid: u16) -> bool {
        self.read(state, PALLET, "NetworksAdded", vec![number(netuid)])
            .unwrap_or(false)
    }

    /// The blocks between two epochs of the subnet, less one.
    pub(crate) fn tempo(&self, state: &State, netuid: u16) -> u16 {
        self.read(state, PALLET, "Tempo", vec![number(netuid)])
            .unwrap_or(0)
    }

    /// The subnet's epoch at a block, as runtimes up to spec version 400 or so compute
    /// it (`get_epoch_index` in `pallets/subtensor/src/subnets/weights.rs`).
    pub(crate) fn epoch(&self, state: &State, netuid: u16, block: u32) -> u64 {
        let length = u64::from(self.tempo(state, netuid)) + 1;
        (u64::from(block) + u64::from(netuid) + 1) / length
    }

    /// The hotkey's uid.
    pub(crate) fn uid(&self, state: &State, netuid: u16, hotkey: &AccountId32) -> Option<u16> {
        let key = self.key(PALLET, "Uids", vec![number(netuid), account_value(hotkey)]);
        let bytes: [u8; 2] = state.get(&key)?.try_into().ok()?;
        Some(u16::from_le_bytes(bytes))
    }

    /// Gives a hotkey a uid; who had it before loses membership. Uids between the
    /// last one and this one stay without a hotkey, as `Keys`' default says.
    ///
    /// Returns the uid.
    pub(crate) fn register(&self, state: &mut State, registration: &Registration) -> u16 {
        let netuid = registration.netuid;
        let hotkey = &registration.hotkey;
        if !self.has_subnet(state, netuid) {
            self.add_subnet(state, netuid, DEFAULT_TEMPO);
        }
        let count = self.neurons_count(state, netuid);
        let uid = registration.uid.unwrap_or(count);
        if let Some(previous) = self.uid(state, netuid, hotkey) {
            self.vacate(state, netuid, previous, hotkey);
        }
        let key_of_uid = || vec![number(netuid), number(uid)];
        let occupant: Option<AccountId32> = self
            .read::<[u8; 32]>(state, PALLET, "Keys", key_of_uid())
            .map(AccountId32);
        if let Some(occupant) = occupant.filter(|_| uid < count) {
            self.vacate(state, netuid, uid, &occupant);
        }

        let count = count.max(uid + 1);
        self.write(
            state,
            PALLET,
            "SubnetworkN",
            vec![number(netuid)],
            &number(count),
        );
        self.write(state, PALLET, "Keys", key_of_uid(), &account_value(hotkey));
        let membership = || vec![account_value(hotkey), number(netuid)];
        self.write(
            state,
            PALLET,
            "Uids",
            vec![number(netuid), account_value(hotkey)],
            &number(uid),
        );
        let member = Value::bool(true);
        self.write(state, PALLET, "IsNetworkMember", membership(), &member);
        self.write(
            state,
            PALLET,
            "BlockAtRegistration",
            key_of_uid(),
            &number(registration.block),
        );
        self.write(
            state,
            PALLET,
            "Owner",
            vec![account_value(hotkey)],
            &account_value(&registration.coldkey),
        );
        self.write_vectors(state, registration, uid, count);
        uid
    }

    /// Writes the vectors that have one element per uid.
    fn write_vectors(&self, state: &mut State, registration: &Registration, uid: u16, count: u16) {
        let netuid = registration.netuid;
        for entry in NORMALIZED {
            let value = if entry == "Incentive" {
                registration.incentive
            } else {
                0
            };
            self.set_at::<u16>(state, netuid, entry, uid, count, value, |&n| number(n));
        }
        self.set_at::<u64>(state, netuid, "Emission", uid, count, 0, |&n| number(n));
        let block = u64::from(registration.block);
        self.set_at(
            state,
            netuid,
            "LastUpdate",
            uid,
            count,
            block,
            |&n: &u64| number(n),
        );
        self.set_at(state, netuid, "Active", uid, count, true, |&b: &bool| {
            Value::bool(b)
        });
        let permit = registration.validator_permit;
        self.set_at(
            state,
            netuid,
            "ValidatorPermit",
            uid,
            count,
            permit,
            |&b: &bool| Value::bool(b),
        );
    }

    /// Sets one element of a vector by uid, which grows to `count` elements.
    #[expect(
        clippy::too_many_arguments,
        reason = "one entry of storage has that many coordinates"
    )]
    fn set_at<T: subxt::ext::codec::Decode + Clone + Default>(
        &self,
        state: &mut State,
        netuid: u16,
        entry: &str,
        uid: u16,
        count: u16,
        element: T,
        to_value: impl Fn(&T) -> Value,
    ) {
        let mut vector = self
            .read::<Vec<T>>(state, PALLET, entry, vec![number(netuid)])
            .unwrap_or_default();
        vector.resize(usize::from(count), T::default());
        vector[usize::from(uid)] = element;
        let vector = Value::unnamed_composite(vector.iter().map(to_value));
        self.write(state, PALLET, entry, vec![number(netuid)], &vector);
    }

    /// Takes the hotkey's membership from it, as when another one takes its uid.
    pub(crate) fn vacate(&self, state: &mut State, netuid: u16, uid: u16, hotkey: &AccountId32) {
        let keys = [
            (
                "IsNetworkMember",
                vec![account_value(hotkey), number(netuid)],
            ),
            ("Uids", vec![number(netuid), account_value(hotkey)]),
            ("Keys", vec![number(netuid), number(uid)]),
        ];
        for (entry, key) in keys {
            state.remove(&self.key(PALLET, entry, key));
        }
    }

    /// All uids of the subnet.
    pub(crate) fn neurons(&self, state: &State, netuid: u16) -> Vec<Neuron> {
        let count = self.neurons_count(state, netuid);
        let of = || vec![number(netuid)];
        let incentive: Vec<u16> = self
            .read(state, PALLET, "Incentive", of())
            .unwrap_or_default();
        let active: Vec<bool> = self.read(state, PALLET, "Active", of()).unwrap_or_default();
        let permits: Vec<bool> = self
            .read(state, PALLET, "ValidatorPermit", of())
            .unwrap_or_default();
        let updates: Vec<u64> = self
            .read(state, PALLET, "LastUpdate", of())
            .unwrap_or_default();
        (0..count)
            .map(|uid| {
                let at = usize::from(uid);
                let of_uid = || vec![number(netuid), number(uid)];
                let hotkey = self.account(state, "Keys", of_uid());
                Neuron {
                    uid,
                    hotkey,
                    coldkey: self.account(state, "Owner", vec![account_value(&hotkey)]),
                    incentive: incentive.get(at).copied().unwrap_or(0),
                    active: active.get(at).copied().unwrap_or(false),
                    validator_permit: permits.get(at).copied().unwrap_or(false),
                    last_update: updates.get(at).copied().unwrap_or(0),
                    block_at_registration: self
                        .read(state, PALLET, "BlockAtRegistration", of_uid())
                        .unwrap_or(0),
                }
            })
            .collect()
    }

    fn account(&self, state: &State, entry: &str, keys: Vec<Value>) -> AccountId32 {
        AccountId32(self.read(state, PALLET, entry, keys).unwrap_or([0; 32]))
    }
}

/// Mainnet's tempo of a subnet that sets none (`INITIAL_SUBNET_TEMPO`).
pub(crate) const DEFAULT_TEMPO: u16 = 360;
