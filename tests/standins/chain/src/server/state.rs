//! `state_*` and `payment_*`: storage, runtime calls, versions (`sc-rpc`, `state/`).

use serde_json::{Value as Json, json};
use subxt::ext::codec::Encode as _;
use subxt::utils::H256;

use super::rpc::{Params, RpcError, unhex};
use super::shared::{Inner, Outcome};
use super::subscriptions::{Subscription, Topic};
use crate::chain::{Block, Node, State, hex};
use crate::runtime::{ApiContext, Version};

/// The most keys that one page can have (`STORAGE_KEYS_PAGED_MAX_COUNT`).
const MAX_PAGE: usize = 1000;

pub(super) fn call(
    inner: &mut Inner,
    connection: Option<u64>,
    method: &str,
    params: &Params,
) -> Result<Outcome, RpcError> {
    let node = &inner.node;
    let result = match method {
        "state_getStorage" | "state_getStorageAt" => {
            value_at(node, params)?.map_or(Json::Null, |value| Json::from(hex(&value)))
        }
        "state_getStorageHash" => value_at(node, params)?.map_or(Json::Null, |value| {
            Json::from(hex(&sp_crypto_hashing::blake2_256(&value)))
        }),
        "state_getStorageSize" => {
            value_at(node, params)?.map_or(Json::Null, |value| Json::from(value.len()))
        }
        "state_getKeys" => {
            let prefix = params.bytes(0)?;
            let (_, state) = at(node, params.hash(1)?)?;
            keys_json(&state.page(&prefix, None, usize::MAX))
        }
        "state_getKeysPaged" | "state_getKeysPagedAt" => keys_paged(node, params)?,
        "state_queryStorageAt" => {
            let keys = keys(params)?;
            let (block, state) = at(node, params.hash(1)?)?;
            let changes = read_all(state, keys);
            json!([changes_json(&block.hash, &changes)])
        }
        "state_queryStorage" => query_storage(node, params)?,
        "state_getMetadata" => {
            let (block, _) = at(node, params.hash(0)?)?;
            Json::from(hex(block.runtime.legacy_metadata()))
        }
        "state_getRuntimeVersion" => {
            let (block, _) = at(node, params.hash(0)?)?;
            version_json(block.runtime.version())
        }
        "state_call" | "state_callAt" => {
            let function: String = params.required(0)?;
            let parameters = params.bytes(1)?;
            let output = call_runtime(node, &function, &parameters, params.hash(2)?)?;
            Json::from(hex(&output))
        }
        "payment_queryInfo" => {
            let extrinsic = params.bytes(0)?;
            let length = u32::try_from(extrinsic.len()).unwrap_or(u32::MAX);
            let parameters = [extrinsic, length.encode()].concat();
            let function = "TransactionPaymentApi_query_info";
            call_runtime(node, function, &parameters, params.hash(1)?)?;
            json!({
                "weight": { "ref_time": 0, "proof_size": 0 },
                "class": "normal",
                "partialFee": "0",
            })
        }
        "state_subscribeRuntimeVersion" => {
            let version = node.best().runtime.version();
            let topic = Topic::RuntimeVersion {
                spec_version: version.spec_version,
            };
            let subscription = Subscription::new(topic, vec![version_json(version)]);
            let id = inner.subscribe(connection, subscription)?;
            return Ok(Outcome::subscribed(id));
        }
        "state_subscribeStorage" => {
            let keys = keys(params)?;
            let (block, state) = at(node, None)?;
            let values = read_all(state, keys);
            let first = changes_json(&block.hash, &values);
            let subscription = Subscription::new(Topic::Storage { values }, vec![first]);
            let id = inner.subscribe(connection, subscription)?;
            return Ok(Outcome::subscribed(id));
        }
        "state_unsubscribeRuntimeVersion" | "state_unsubscribeStorage" => {
            let id: String = params.required(0)?;
            Json::from(inner.unsubscribe(connection, &id))
        }
        _ => return Err(RpcError::method_not_found()),
    };
    Ok(Outcome::of(result))
}

/// A block and its state; the best one's without a hash.
pub(super) fn at(node: &Node, hash: Option<H256>) -> Result<(&Block, &State), RpcError> {
    let block = node.at(hash)?;
    match &block.state {
        Some(state) => Ok((block, state)),
        None => Err(crate::chain::StateError::Discarded(block.hash).into()),
    }
}

/// Calls a runtime API at a block.
pub(super) fn call_runtime(
    node: &Node,
    function: &str,
    parameters: &[u8],
    hash: Option<H256>,
) -> Result<Vec<u8>, RpcError> {
    let (block, state) = at(node, hash)?;
    let output = node.in_situation(block, |situation| {
        let context = ApiContext {
            state,
            block: block.header.number,
            situation,
        };
        block.runtime.call_api(function, parameters, &context)
    })?;
    Ok(output)
}

fn value_at(node: &Node, params: &Params) -> Result<Option<Vec<u8>>, RpcError> {
    let key = params.bytes(0)?;
    let (_, state) = at(node, params.hash(1)?)?;
    Ok(state.get(&key).map(<[u8]>::to_vec))
}

fn keys(params: &Params) -> Result<Vec<Vec<u8>>, RpcError> {
    let keys: Vec<String> = params.optional(0)?.unwrap_or_default();
    keys.iter().map(|key| unhex(key)).collect()
}

type Entry = (Vec<u8>, Option<Vec<u8>>);

fn read_all(state: &State, keys: Vec<Vec<u8>>) -> Vec<Entry> {
    keys.into_iter()
        .map(|key| {
            let value = state.get(&key).map(<[u8]>::to_vec);
            (key, value)
        })
        .collect()
}

fn keys_json(entries: &[(&[u8], &[u8])]) -> Json {
    entries
        .iter()
        .map(|(key, _)| Json::from(hex(key)))
        .collect()
}

fn keys_paged(node: &Node, params: &Params) -> Result<Json, RpcError> {
    let prefix: Option<String> = params.optional(0)?;
    let prefix = prefix.map_or(Ok(Vec::new()), |prefix| unhex(&prefix))?;
    let count: usize = params.required(1)?;
    if count > MAX_PAGE {
        return Err(RpcError::new(
            4002,
            format!("count exceeds maximum value. value: {count}, max: {MAX_PAGE}"),
        ));
    }
    let start: Option<String> = params.optional(2)?;
    let start = start.map(|start| unhex(&start)).transpose()?;
    let (_, state) = at(node, params.hash(3)?)?;
    Ok(keys_json(&state.page(&prefix, start.as_deref(), count)))
}

/// The first block's values, then each later block's changes.
fn query_storage(node: &Node, params: &Params) -> Result<Json, RpcError> {
    let keys = keys(params)?;
    let from = at(node, Some(params.required(1)?))?.0.header.number;
    let to = at(node, params.hash(2)?)?.0.header.number;
    let mut sets = Vec::new();
    let mut last: Option<Vec<Entry>> = None;
    for number in from..=to {
        let Some(hash) = node.hash_at(number) else {
            continue;
        };
        let (_, state) = at(node, Some(hash))?;
        let values = read_all(state, keys.clone());
        let changes: Vec<Entry> = match &last {
            None => values.clone(),
            Some(last) => values
                .iter()
                .filter(|entry| !last.contains(entry))
                .cloned()
                .collect(),
        };
        if !changes.is_empty() {
            sets.push(changes_json(&hash, &changes));
        }
        last = Some(values);
    }
    Ok(Json::from(sets))
}

/// A `StorageChangeSet`.
pub(super) fn changes_json(block: &H256, changes: &[Entry]) -> Json {
    let changes: Vec<Json> = changes
        .iter()
        .map(|(key, value)| json!([hex(key), value.as_deref().map(hex)]))
        .collect();
    json!({ "block": hex(&block.0), "changes": changes })
}

/// A `RuntimeVersion`.
pub(super) fn version_json(version: &Version) -> Json {
    let apis: Vec<Json> = version
        .apis
        .iter()
        .map(|(id, version)| json!([hex(id), version]))
        .collect();
    json!({
        "specName": version.spec_name,
        "implName": version.impl_name,
        "authoringVersion": version.authoring_version,
        "specVersion": version.spec_version,
        "implVersion": version.impl_version,
        "apis": apis,
        "transactionVersion": version.transaction_version,
        "systemVersion": version.system_version,
        "stateVersion": version.system_version,
    })
}
