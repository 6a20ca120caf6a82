//! `author_*`: submitting extrinsics (`sc-rpc`, `author/`).

use serde_json::Value as Json;
use subxt::utils::H256;

use super::rpc::{Params, RpcError};
use super::shared::{Inner, Outcome};
use super::subscriptions::{Subscription, Topic};
use crate::chain::hex;

pub(super) fn call(
    inner: &mut Inner,
    connection: Option<u64>,
    method: &str,
    params: &Params,
) -> Result<Outcome, RpcError> {
    match method {
        "author_submitExtrinsic" => {
            let hash = submit(inner, &params.bytes(0)?)?;
            let mut outcome = Outcome::of(hex(&hash.0));
            outcome.is_lost = loses_acknowledgement(inner);
            Ok(outcome)
        }
        "author_submitAndWatchExtrinsic" => {
            let bytes = params.bytes(0)?;
            let hash = H256(sp_crypto_hashing::blake2_256(&bytes));
            // Before the submission, whose first statuses it is to hear.
            let subscription = Subscription::new(Topic::Extrinsic(hash), Vec::new());
            let id = inner.subscribe(connection, subscription)?;
            if let Err(error) = submit(inner, &bytes) {
                inner.unsubscribe(connection, &id);
                return Err(error);
            }
            let mut outcome = Outcome::subscribed(id);
            outcome.is_lost = loses_acknowledgement(inner);
            Ok(outcome)
        }
        "author_unwatchExtrinsic" => {
            let id: String = params.required(0)?;
            Ok(Outcome::of(inner.unsubscribe(connection, &id)))
        }
        "author_pendingExtrinsics" => {
            let pending = inner.node.pending();
            let pending: Vec<Json> = pending.iter().map(|bytes| hex(bytes).into()).collect();
            Ok(Outcome::of(pending))
        }
        _ => Err(RpcError::method_not_found()),
    }
}

/// Offers an extrinsic to the pool and records how that went.
pub(super) fn submit(inner: &mut Inner, bytes: &[u8]) -> Result<H256, RpcError> {
    let result = inner.node.submit(bytes).map_err(RpcError::from);
    inner.record_submission(bytes, &result);
    result
}

/// Whether the fault that loses acknowledgements is due.
pub(super) fn loses_acknowledgement(inner: &mut Inner) -> bool {
    let is_due = inner.lose_acknowledgements > 0;
    inner.lose_acknowledgements -= u32::from(is_due);
    is_due
}
