//! The runtime APIs that clients call through `state_call`.

use subxt::ext::codec::{Compact, Decode, Encode as _};
use subxt::ext::scale_value::Value;
use subxt::utils::{AccountId32, H256};

use super::Runtime;
use super::validity::{self, Situation};
use crate::chain::State;

/// Why a runtime API gives no answer, in the words of a node that runs wasm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// The runtime has no such function, or the stand-in none of its own.
    #[error("Execution failed: Exported method {0} is not found")]
    NotFound(String),
    /// The parameters do not decode, at which a runtime panics.
    #[error(
        "Execution failed: Execution aborted due to trap: wasm trap: wasm `unreachable` \
         instruction executed"
    )]
    Trap,
}

/// What a call is about beside its parameters.
pub(crate) struct ApiContext<'a> {
    pub(crate) state: &'a State,
    /// The block whose state this is.
    pub(crate) block: u32,
    pub(crate) situation: Situation<'a>,
}

fn decoded<T: Decode>(parameters: &[u8]) -> Result<T, ApiError> {
    T::decode(&mut &*parameters).map_err(|_| ApiError::Trap)
}

impl Runtime {
    /// Calls `function`, as `Api_method`.
    pub(crate) fn call_api(
        &self,
        function: &str,
        parameters: &[u8],
        context: &ApiContext<'_>,
    ) -> Result<Vec<u8>, ApiError> {
        match function {
            "Core_version" => Ok(self.version.encode()),
            "Metadata_metadata" => Ok(self.encoded.v14.encode()),
            "Metadata_metadata_versions" => Ok(vec![14u32, 15, 16].encode()),
            "Metadata_metadata_at_version" => {
                let metadata = match decoded::<u32>(parameters)? {
                    14 => Some(&self.encoded.v14),
                    15 => Some(&self.encoded.v15),
                    16 => Some(&self.encoded.v16),
                    _ => None,
                };
                Ok(metadata.encode())
            }
            "AccountNonceApi_account_nonce" => {
                let account = AccountId32(decoded(parameters)?);
                Ok(self.nonce(context.state, &account).encode())
            }
            "TaggedTransactionQueue_validate_transaction" => {
                self.validate_transaction(parameters, context)
            }
            "TransactionPaymentApi_query_info" => self.query_info(parameters),
            "TransactionPaymentApi_query_fee_details" => {
                // No inclusion fee, no tip.
                Ok((Option::<()>::None, 0u64).encode())
            }
            "NeuronInfoRuntimeApi_get_neurons_lite" => {
                let netuid: u16 = decoded(parameters)?;
                Ok(self.neurons_lite(context.state, netuid))
            }
            "SubnetInfoRuntimeApi_get_metagraph" => {
                let netuid: u16 = decoded(parameters)?;
                Ok(self.metagraph(context.state, context.block, netuid))
            }
            "SubnetInfoRuntimeApi_get_selective_metagraph" => {
                let (netuid, fields) = decoded::<(u16, Vec<u16>)>(parameters)?;
                Ok(self.selective_metagraph(context.state, context.block, netuid, &fields))
            }
            other => Err(ApiError::NotFound(other.to_owned())),
        }
    }

    /// The metadata that `state_getMetadata` answers with.
    pub(crate) fn legacy_metadata(&self) -> &[u8] {
        &self.encoded.v14
    }

    fn validate_transaction(
        &self,
        parameters: &[u8],
        context: &ApiContext<'_>,
    ) -> Result<Vec<u8>, ApiError> {
        // TransactionSource, the extrinsic with its length, the block's hash.
        let (_source, mut rest) = parameters.split_first().ok_or(ApiError::Trap)?;
        let extrinsic = Vec::<u8>::decode(&mut rest).map_err(|_| ApiError::Trap)?;
        decoded::<[u8; 32]>(rest).map(H256)?;
        let signed = self
            .decode_signed(&extrinsic.encode())
            .ok_or(ApiError::Trap)?;
        let verdict = self.validate(context.state, &signed, &context.situation);
        Ok(match verdict {
            Ok(valid) => validity::encode_valid(&signed, &valid, context.situation.next_block),
            Err(invalid) => validity::encode_invalid(invalid),
        })
    }

    /// `RuntimeDispatchInfo` of a call that costs nothing, as `Pays::No` has it.
    fn query_info(&self, parameters: &[u8]) -> Result<Vec<u8>, ApiError> {
        let mut rest = parameters;
        let length = Compact::<u32>::decode(&mut rest).map_err(|_| ApiError::Trap)?;
        if rest.len() != length.0 as usize + size_of::<u32>() {
            return Err(ApiError::Trap);
        }
        let info = Value::named_composite([
            (
                "weight",
                Value::named_composite([
                    (
                        "ref_time",
                        Value::u128(super::dispatch::SET_COMMITMENT_WEIGHT),
                    ),
                    ("proof_size", Value::u128(0)),
                ]),
            ),
            ("class", Value::unnamed_variant("Normal", [])),
            ("partial_fee", Value::u128(0)),
        ]);
        Ok(self.encode(self.output("TransactionPaymentApi", "query_info"), &info))
    }

    /// The metadata's type of what a runtime API's method returns.
    pub(super) fn output(&self, api: &str, method: &str) -> u32 {
        self.metadata
            .runtime_api_trait_by_name(api)
            .and_then(|api| api.method_by_name(method).map(|method| method.output_ty()))
            .unwrap_or_else(|| panic!("the metadata has no runtime API {api}.{method}"))
    }
}
