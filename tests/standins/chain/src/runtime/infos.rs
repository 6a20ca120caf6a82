//! What the runtime APIs tell of a subnet in one answer: metagraph and neurons.
//!
//! The answers' types are the metadata's. A field that the stand-in keeps in storage
//! is answered from there, a subnet's parameter from its storage entry (or that
//! entry's default), and everything else — stake, emission, prices, identities,
//! axons — is zero or empty.

use std::collections::BTreeMap;

use scale_info::{Field, TypeDef, form::PortableForm};
use subxt::ext::codec::{Compact, Encode as _};
use subxt::ext::scale_value::Value;
use subxt::ext::scale_value::scale::{decode_as_type, encode_as_type};

use super::zero::encode_zero;
use super::{Runtime, account_value};
use crate::chain::State;

/// Fields of a metagraph that are entries of pallet SubtensorModule by netuid.
const PARAMETERS: [(&str, &str); 27] = [
    ("tempo", "Tempo"),
    ("symbol", "TokenSymbol"),
    ("network_registered_at", "NetworkRegisteredAt"),
    ("rho", "Rho"),
    ("kappa", "Kappa"),
    ("min_allowed_weights", "MinAllowedWeights"),
    ("max_weights_limit", "MaxWeightsLimit"),
    ("weights_version", "WeightsVersionKey"),
    ("weights_rate_limit", "WeightsSetRateLimit"),
    ("activity_cutoff", "ActivityCutoff"),
    ("max_validators", "MaxAllowedValidators"),
    ("num_uids", "SubnetworkN"),
    ("max_uids", "MaxAllowedUids"),
    ("burn", "Burn"),
    ("difficulty", "Difficulty"),
    ("registration_allowed", "NetworkRegistrationAllowed"),
    ("pow_registration_allowed", "NetworkPowRegistrationAllowed"),
    ("immunity_period", "ImmunityPeriod"),
    ("min_difficulty", "MinDifficulty"),
    ("max_difficulty", "MaxDifficulty"),
    ("min_burn", "MinBurn"),
    ("max_burn", "MaxBurn"),
    ("adjustment_interval", "AdjustmentInterval"),
    ("target_regs_per_interval", "TargetRegistrationsPerInterval"),
    ("max_regs_per_block", "MaxRegistrationsPerBlock"),
    ("serving_rate_limit", "ServingRateLimit"),
    ("bonds_moving_avg", "BondsMovingAverage"),
];

type Fields = BTreeMap<&'static str, Value>;

impl Runtime {
    /// `SubnetInfoRuntimeApi.get_metagraph`; `None`, encoded, for a subnet that is not.
    pub(super) fn metagraph(&self, state: &State, block: u32, netuid: u16) -> Vec<u8> {
        if !self.has_subnet(state, netuid) {
            return vec![0];
        }
        let fields = self.metagraph_fields(state, block, netuid);
        let option = self.output("SubnetInfoRuntimeApi", "get_metagraph");
        let mut bytes = vec![1];
        self.encode_composite(self.some_of(option), &fields, &mut bytes);
        bytes
    }

    /// `SubnetInfoRuntimeApi.get_selective_metagraph`: the fields whose numbers are in
    /// `wanted`, which count in the type's order; the others are `None`.
    pub(super) fn selective_metagraph(
        &self,
        state: &State,
        block: u32,
        netuid: u16,
        wanted: &[u16],
    ) -> Vec<u8> {
        if !self.has_subnet(state, netuid) {
            return vec![0];
        }
        let values = self.metagraph_fields(state, block, netuid);
        let option = self.output("SubnetInfoRuntimeApi", "get_selective_metagraph");
        let mut bytes = vec![1];
        for (index, field) in self.fields_of(self.some_of(option)).into_iter().enumerate() {
            let name = field.name.as_deref().unwrap_or_default();
            let is_wanted = wanted.iter().any(|&number| usize::from(number) == index);
            if name == "netuid" {
                self.encode_field(field, &values, &mut bytes);
            } else if is_wanted {
                bytes.push(1);
                let inner = self.some_of(field.ty.id);
                match values.get(name) {
                    Some(value) => self.encode_into(inner, value, &mut bytes),
                    None => encode_zero(self.metadata.types(), inner, &mut bytes),
                }
            } else {
                bytes.push(0);
            }
        }
        bytes
    }

    /// `NeuronInfoRuntimeApi.get_neurons_lite`.
    pub(super) fn neurons_lite(&self, state: &State, netuid: u16) -> Vec<u8> {
        let neurons = self.neurons(state, netuid);
        let list = self.output("NeuronInfoRuntimeApi", "get_neurons_lite");
        let Some(TypeDef::Sequence(list)) =
            self.metadata.types().resolve(list).map(|ty| &ty.type_def)
        else {
            return Compact(0u32).encode();
        };
        let mut bytes = Compact(u32::try_from(neurons.len()).unwrap_or(u32::MAX)).encode();
        for neuron in neurons {
            let fields = Fields::from([
                ("hotkey", account_value(&neuron.hotkey)),
                ("coldkey", account_value(&neuron.coldkey)),
                ("uid", Value::u128(neuron.uid.into())),
                ("netuid", Value::u128(netuid.into())),
                ("active", Value::bool(neuron.active)),
                ("incentive", Value::u128(neuron.incentive.into())),
                ("last_update", Value::u128(neuron.last_update.into())),
                ("validator_permit", Value::bool(neuron.validator_permit)),
            ]);
            self.encode_composite(list.type_param.id, &fields, &mut bytes);
        }
        bytes
    }

    /// What is known of a metagraph's fields.
    fn metagraph_fields(&self, state: &State, block: u32, netuid: u16) -> Fields {
        let mut fields = Fields::new();
        for (field, entry) in PARAMETERS {
            if let Some(value) = self.parameter(state, entry, netuid) {
                fields.insert(field, value);
            }
        }
        let neurons = self.neurons(state, netuid);
        let numbers = |of: &dyn Fn(usize) -> u128| {
            Value::unnamed_composite((0..neurons.len()).map(|at| Value::u128(of(at))))
        };
        let zeros = || numbers(&|_| 0);
        let booleans = |of: &dyn Fn(usize) -> bool| {
            Value::unnamed_composite((0..neurons.len()).map(|at| Value::bool(of(at))))
        };
        fields.insert("netuid", Value::u128(netuid.into()));
        fields.insert("block", Value::u128(block.into()));
        fields.insert(
            "hotkeys",
            Value::unnamed_composite(neurons.iter().map(|neuron| account_value(&neuron.hotkey))),
        );
        fields.insert(
            "coldkeys",
            Value::unnamed_composite(neurons.iter().map(|neuron| account_value(&neuron.coldkey))),
        );
        fields.insert(
            "identities",
            Value::unnamed_composite(neurons.iter().map(|_| Value::unnamed_variant("None", []))),
        );
        fields.insert(
            "axons",
            Value::unnamed_composite(neurons.iter().map(|_| no_axon())),
        );
        fields.insert("active", booleans(&|at| neurons[at].active));
        fields.insert(
            "validator_permit",
            booleans(&|at| neurons[at].validator_permit),
        );
        fields.insert("last_update", numbers(&|at| neurons[at].last_update.into()));
        fields.insert("incentives", numbers(&|at| neurons[at].incentive.into()));
        fields.insert(
            "block_at_registration",
            numbers(&|at| neurons[at].block_at_registration.into()),
        );
        for field in [
            "pruning_score",
            "emission",
            "dividends",
            "consensus",
            "trust",
            "rank",
            "alpha_stake",
            "tao_stake",
            "total_stake",
        ] {
            fields.insert(field, zeros());
        }
        fields
    }

    /// A subnet's parameter as a dynamic value.
    fn parameter(&self, state: &State, entry: &str, netuid: u16) -> Option<Value> {
        let key = self.key("SubtensorModule", entry, vec![Value::u128(netuid.into())]);
        let pallet = self.metadata.pallet_by_name("SubtensorModule")?;
        let entry = pallet.storage()?.entry_by_name(entry)?;
        let mut bytes = state.get(&key).or(entry.default_value())?;
        let value = decode_as_type(&mut bytes, entry.value_ty(), self.metadata.types()).ok()?;
        Some(value.remove_context())
    }

    /// The type inside an `Option`.
    fn some_of(&self, option: u32) -> u32 {
        match self.metadata.types().resolve(option).map(|ty| &ty.type_def) {
            Some(TypeDef::Variant(variants)) => variants
                .variants
                .iter()
                .find(|variant| variant.name == "Some")
                .and_then(|some| some.fields.first())
                .map_or(option, |field| field.ty.id),
            _ => option,
        }
    }

    fn fields_of(&self, composite: u32) -> Vec<&Field<PortableForm>> {
        match self
            .metadata
            .types()
            .resolve(composite)
            .map(|ty| &ty.type_def)
        {
            Some(TypeDef::Composite(composite)) => composite.fields.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Encodes a composite: the fields given, and zeros for the others.
    fn encode_composite(&self, composite: u32, values: &Fields, out: &mut Vec<u8>) {
        for field in self.fields_of(composite) {
            self.encode_field(field, values, out);
        }
    }

    fn encode_field(&self, field: &Field<PortableForm>, values: &Fields, out: &mut Vec<u8>) {
        match field.name.as_deref().and_then(|name| values.get(name)) {
            Some(value) => self.encode_into(field.ty.id, value, out),
            None => encode_zero(self.metadata.types(), field.ty.id, out),
        }
    }

    fn encode_into(&self, ty: u32, value: &Value, out: &mut Vec<u8>) {
        encode_as_type(value, ty, self.metadata.types(), out)
            .unwrap_or_else(|error| panic!("a value for type {ty}: {error}"));
    }
}

/// `AxonInfo` of a hotkey that serves nothing.
fn no_axon() -> Value {
    let fields = [
        "block",
        "version",
        "ip",
        "port",
        "ip_type",
        "protocol",
        "placeholder1",
        "placeholder2",
    ];
    Value::named_composite(fields.map(|name| (name, Value::u128(0))))
}
