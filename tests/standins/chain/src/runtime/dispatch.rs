//! Executing extrinsics, and the events that say how it went.
//!
//! The order of a signed extrinsic's events is the executive's: the call's own, then
//! `TransactionFeePaid`, then `ExtrinsicSuccess` or `ExtrinsicFailed`. Not modelled:
//! balances, so no fee is taken and no account is created by an event.

use subxt::ext::scale_value::Value;

use super::{Call, Runtime, Signed, account_value};
use crate::chain::State;

/// Why an extrinsic that is in a block did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DispatchError {
    pub(crate) pallet: String,
    pub(crate) error: String,
}

/// Where a runtime is told to fail a call that it would execute.
pub(crate) type Failure = DispatchError;

/// One event, before it is encoded.
pub(super) struct Event {
    pub(super) pallet: &'static str,
    pub(super) name: &'static str,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// What executing one extrinsic gave.
pub(crate) struct Executed {
    pub(crate) result: Result<(), DispatchError>,
    /// Its event records, for `System.Events`.
    pub(crate) records: Vec<Value>,
}

/// The time in which a commitment executes on mainnet's reference machine, in
/// picoseconds: of the order of its benchmarked weight.
pub(super) const SET_COMMITMENT_WEIGHT: u128 = 33_000_000;

impl DispatchError {
    pub(crate) fn new(pallet: &str, error: &str) -> Self {
        Self {
            pallet: pallet.to_owned(),
            error: error.to_owned(),
        }
    }
}

impl Runtime {
    /// Whether the metadata has the error.
    pub(crate) fn knows(&self, error: &DispatchError) -> bool {
        self.module_error(error).is_some()
    }

    /// The pallet's index and the error's, which are all that the chain says.
    fn module_error(&self, error: &DispatchError) -> Option<(u8, u8)> {
        let pallet = self.metadata.pallet_by_name(&error.pallet)?;
        let variant = pallet
            .error_variants()?
            .iter()
            .find(|variant| variant.name == error.error)?;
        Some((pallet.error_index(), variant.index))
    }

    /// Executes a signed extrinsic at place `index` of a block. Its account's nonce
    /// counts whatever the result; everything else happens whole or not at all.
    ///
    /// `fee` is what event `TransactionFeePaid` says, `None` leaves the event out.
    pub(crate) fn execute(
        &self,
        state: &mut State,
        block: u32,
        index: u32,
        signed: &Signed,
        fee: Option<u64>,
        failure: Option<&Failure>,
    ) -> Executed {
        self.increment_nonce(state, &signed.signer);
        let mut attempt = state.clone();
        let result = match failure {
            Some(failure) => Err(failure.clone()),
            None => self.dispatch(&mut attempt, block, signed),
        };
        let mut events = Vec::new();
        let result = match result {
            Ok(event) => {
                *state = attempt;
                events.push(event);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Some(fee) = fee {
            events.push(Event {
                pallet: "TransactionPayment",
                name: "TransactionFeePaid",
                fields: vec![
                    ("who", account_value(&signed.signer)),
                    ("actual_fee", Value::u128(fee.into())),
                    ("tip", Value::u128(signed.tip.into())),
                ],
            });
        }
        events.push(self.outcome(&result, "Normal", SET_COMMITMENT_WEIGHT));
        Executed {
            result,
            records: records(index, events),
        }
    }

    fn dispatch(
        &self,
        state: &mut State,
        block: u32,
        signed: &Signed,
    ) -> Result<Event, DispatchError> {
        match &signed.call {
            Call::SetCommitment { netuid, info } => {
                self.set_commitment(state, block, &signed.signer, *netuid, info)
            }
            Call::Other { .. } => Err(DispatchError::new("System", "CallFiltered")),
        }
    }

    /// The records of the inherent extrinsic that sets the time.
    pub(crate) fn inherent_records(&self, index: u32) -> Vec<Value> {
        records(index, vec![self.outcome(&Ok(()), "Mandatory", 1_000_000)])
    }

    /// `System.ExtrinsicSuccess` or `System.ExtrinsicFailed`.
    fn outcome(&self, result: &Result<(), DispatchError>, class: &str, weight: u128) -> Event {
        let info = Value::named_composite([
            (
                "weight",
                Value::named_composite([
                    ("ref_time", Value::u128(weight)),
                    ("proof_size", Value::u128(0)),
                ]),
            ),
            ("class", Value::unnamed_variant(class, [])),
            ("pays_fee", Value::unnamed_variant("No", [])),
        ]);
        match result {
            Ok(()) => Event {
                pallet: "System",
                name: "ExtrinsicSuccess",
                fields: vec![("dispatch_info", info)],
            },
            Err(error) => Event {
                pallet: "System",
                name: "ExtrinsicFailed",
                fields: vec![
                    ("dispatch_error", self.dispatch_error_value(error)),
                    ("dispatch_info", info),
                ],
            },
        }
    }

    fn dispatch_error_value(&self, error: &DispatchError) -> Value {
        let (pallet, variant) = self
            .module_error(error)
            .unwrap_or_else(|| panic!("the metadata has no error {error:?}"));
        let module = Value::named_composite([
            ("index", Value::u128(pallet.into())),
            ("error", Value::from_bytes([variant, 0, 0, 0])),
        ]);
        Value::unnamed_variant("Module", [module])
    }
}

/// Event records of the extrinsic at place `index`.
fn records(index: u32, events: Vec<Event>) -> Vec<Value> {
    events
        .into_iter()
        .map(|event| {
            let inner = Value::named_variant(event.name, event.fields);
            Value::named_composite([
                (
                    "phase",
                    Value::unnamed_variant("ApplyExtrinsic", [Value::u128(index.into())]),
                ),
                ("event", Value::unnamed_variant(event.pallet, [inner])),
                ("topics", Value::unnamed_composite([])),
            ])
        })
        .collect()
}
