//! `chain_*`: blocks, hashes and heads (`sc-rpc`, `chain/`).

use serde_json::{Value as Json, json};
use subxt::utils::H256;

use super::rpc::{Params, RpcError};
use super::shared::{Inner, Outcome};
use super::state;
use super::subscriptions::{Subscription, Topic};
use crate::chain::{Block, hex};

pub(super) fn call(
    inner: &mut Inner,
    connection: Option<u64>,
    method: &str,
    params: &Params,
) -> Result<Outcome, RpcError> {
    let result = match method {
        "chain_getBlockHash" | "chain_getHead" => block_hashes(inner, params)?,
        "chain_getFinalizedHead" | "chain_getFinalisedHead" => {
            Json::from(hex(&inner.node.finalized().hash.0))
        }
        "chain_getHeader" => block(inner, params)?.map_or(Json::Null, |block| block.header.json()),
        "chain_getBlock" => block(inner, params)?.map_or(Json::Null, |block| {
            let extrinsics: Vec<String> = block.extrinsics.iter().map(|bytes| hex(bytes)).collect();
            json!({
                "block": { "header": block.header.json(), "extrinsics": extrinsics },
                "justifications": null,
            })
        }),
        "chain_getRuntimeVersion" => {
            return state::call(inner, connection, "state_getRuntimeVersion", params);
        }
        "chain_subscribeRuntimeVersion" => {
            return state::call(inner, connection, "state_subscribeRuntimeVersion", params);
        }
        "chain_subscribeAllHeads" => {
            let best = inner.node.best().header.json();
            return subscribe(inner, connection, Topic::AllHeads, best);
        }
        "chain_subscribeNewHeads" | "chain_subscribeNewHead" => {
            let best = inner.node.best().header.json();
            return subscribe(inner, connection, Topic::NewHeads, best);
        }
        "chain_subscribeFinalizedHeads" | "chain_subscribeFinalisedHeads" => {
            let finalized = inner.node.finalized().header.json();
            return subscribe(inner, connection, Topic::FinalizedHeads, finalized);
        }
        "chain_unsubscribeAllHeads"
        | "chain_unsubscribeNewHeads"
        | "chain_unsubscribeNewHead"
        | "chain_unsubscribeFinalizedHeads"
        | "chain_unsubscribeFinalisedHeads"
        | "chain_unsubscribeRuntimeVersion" => {
            let id: String = params.required(0)?;
            Json::from(inner.unsubscribe(connection, &id))
        }
        _ => return Err(RpcError::method_not_found()),
    };
    Ok(Outcome::of(result))
}

fn subscribe(
    inner: &mut Inner,
    connection: Option<u64>,
    topic: Topic,
    first: Json,
) -> Result<Outcome, RpcError> {
    let id = inner.subscribe(connection, Subscription::new(topic, vec![first]))?;
    Ok(Outcome::subscribed(id))
}

/// The block that a hash names; the best one without it.
fn block<'a>(inner: &'a Inner, params: &Params) -> Result<Option<&'a Block>, RpcError> {
    let hash: Option<H256> = params.hash(0)?;
    Ok(match hash {
        Some(hash) => inner.node.block(&hash),
        None => Some(inner.node.best()),
    })
}

/// The hash at a number, at each of a list of numbers, or of the best block.
fn block_hashes(inner: &Inner, params: &Params) -> Result<Json, RpcError> {
    let at = |number: &Json| -> Result<Json, RpcError> {
        let number = block_number(number)?;
        let hash = number.and_then(|number| inner.node.hash_at(number));
        Ok(hash.map_or(Json::Null, |hash| Json::from(hex(&hash.0))))
    };
    match params.optional::<Json>(0)? {
        None => Ok(Json::from(hex(&inner.node.best().hash.0))),
        Some(Json::Array(numbers)) => numbers.iter().map(at).collect::<Result<_, _>>(),
        Some(number) => at(&number),
    }
}

/// A number, or one in hexadecimal. `None` if it is larger than any block's.
fn block_number(number: &Json) -> Result<Option<u32>, RpcError> {
    let number = match number {
        Json::Number(number) => number
            .as_u64()
            .ok_or_else(|| RpcError::invalid_params("a block number is not negative"))?,
        Json::String(text) => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            u64::from_str_radix(digits, 16).map_err(RpcError::invalid_params)?
        }
        _ => return Err(RpcError::invalid_params("a block number is a number")),
    };
    Ok(u32::try_from(number).ok())
}
