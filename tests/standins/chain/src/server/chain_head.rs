//! `chainHead_v1_*`, `chainSpec_v1_*`, `transaction_v1_*` and
//! `transactionWatch_v1_*`, after paritytech's json-rpc-interface-spec.
//!
//! Not modelled: limits on pinned blocks and operations, merkle values, child tries,
//! and storage too large for one event; so `operationWaitingForContinue` never comes.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use subxt::utils::H256;

use super::rpc::{Params, RpcError, unhex};
use super::shared::{Inner, Outcome};
use super::subscriptions::{Follow, Subscription, Topic};
use super::{author, state, system};
use crate::chain::hex;

/// How many follows one connection may have (`MAX_FOLLOW_SUBSCRIPTIONS_PER_CONNECTION`
/// of `sc-rpc-spec-v2`).
const MAX_FOLLOWS: usize = 4;

/// Codes of the specification.
const TOO_MANY_FOLLOWS: i64 = -32_800;
const INVALID_BLOCK: i64 = -32_801;

/// One item that `chainHead_v1_storage` asks for.
#[derive(Deserialize)]
struct Query {
    key: String,
    #[serde(rename = "type")]
    kind: QueryKind,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum QueryKind {
    Value,
    Hash,
    DescendantsValues,
    DescendantsHashes,
    ClosestDescendantMerkleValue,
}

pub(super) fn call(
    inner: &mut Inner,
    connection: Option<u64>,
    method: &str,
    params: &Params,
) -> Result<Outcome, RpcError> {
    match method {
        "chainSpec_v1_chainName" => Ok(Outcome::of(system::CHAIN)),
        "chainSpec_v1_genesisHash" => Ok(Outcome::of(hex(&inner.node.genesis().0))),
        "chainSpec_v1_properties" => Ok(Outcome::of(system::properties())),
        "chainHead_v1_follow" => follow(inner, connection, params),
        "chainHead_v1_unfollow" | "transactionWatch_v1_unwatch" => {
            let id: String = params.required(0)?;
            inner.unsubscribe(connection, &id);
            Ok(Outcome::of(Json::Null))
        }
        "chainHead_v1_header" => {
            let Some(block) = pinned(inner, connection, params)? else {
                return Ok(Outcome::of(Json::Null));
            };
            let header = inner.node.block(&block).map(|block| block.header.encode());
            Ok(Outcome::of(
                header.map_or(Json::Null, |bytes| Json::from(hex(&bytes))),
            ))
        }
        "chainHead_v1_body" => operation(inner, connection, params, |inner, block| {
            let Some(block) = inner.node.block(&block) else {
                return Ok(vec![json!({ "event": "operationInaccessible" })]);
            };
            let extrinsics: Vec<String> = block.extrinsics.iter().map(|bytes| hex(bytes)).collect();
            Ok(vec![
                json!({ "event": "operationBodyDone", "value": extrinsics }),
            ])
        }),
        "chainHead_v1_call" => {
            let function: String = params.required(2)?;
            let parameters = params.bytes(3)?;
            operation(inner, connection, params, |inner, block| {
                let output = state::call_runtime(&inner.node, &function, &parameters, Some(block));
                Ok(vec![match output {
                    Ok(output) => json!({ "event": "operationCallDone", "output": hex(&output) }),
                    Err(error) => json!({ "event": "operationError", "error": error.message }),
                }])
            })
        }
        "chainHead_v1_storage" => {
            let queries: Vec<Query> = params.required(2)?;
            operation(inner, connection, params, |inner, block| {
                storage(inner, block, &queries)
            })
        }
        "chainHead_v1_unpin" => unpin(inner, connection, params),
        "chainHead_v1_continue" | "chainHead_v1_stopOperation" | "transaction_v1_stop" => {
            Ok(Outcome::of(Json::Null))
        }
        "transaction_v1_broadcast" => {
            let bytes = params.bytes(0)?;
            // What is wrong with it is not told.
            let _ = author::submit(inner, &bytes);
            Ok(Outcome::of(inner.new_subscription_id()))
        }
        "transactionWatch_v1_submitAndWatch" => submit_and_watch(inner, connection, params),
        _ => Err(RpcError::method_not_found()),
    }
}

fn follow(
    inner: &mut Inner,
    connection: Option<u64>,
    params: &Params,
) -> Result<Outcome, RpcError> {
    let follows = connection
        .and_then(|connection| inner.connections.get(&connection))
        .map_or(0, |peer| {
            let all = peer.subscriptions.values();
            all.filter(|subscription| subscription.is_follow()).count()
        });
    if follows >= MAX_FOLLOWS {
        return Err(RpcError::new(
            TOO_MANY_FOLLOWS,
            "Maximum number of chainHead_follow has been reached",
        ));
    }
    let mut follow = Follow {
        with_runtime: params.required(0)?,
        pinned: std::collections::HashSet::new(),
        operations: 0,
    };
    let first = follow.first_events(&inner.node);
    let subscription = Subscription::new(Topic::Follow(follow), first);
    let id = inner.subscribe(connection, subscription)?;
    Ok(Outcome::subscribed(id))
}

/// The follow that the first parameter names, if it is this connection's.
fn follow_of<'a>(
    inner: &'a mut Inner,
    connection: Option<u64>,
    id: &str,
) -> Option<&'a mut Follow> {
    inner
        .connections
        .get_mut(&connection?)?
        .subscriptions
        .get_mut(id)?
        .follow()
}

/// The block that the second parameter names. `None` if the follow is not there;
/// an error if the block is not pinned by it.
fn pinned(
    inner: &mut Inner,
    connection: Option<u64>,
    params: &Params,
) -> Result<Option<H256>, RpcError> {
    let id: String = params.required(0)?;
    let block: H256 = params.required(1)?;
    match follow_of(inner, connection, &id) {
        None => Ok(None),
        Some(follow) if follow.pinned.contains(&block) => Ok(Some(block)),
        Some(_) => Err(RpcError::new(INVALID_BLOCK, "Invalid block hash")),
    }
}

/// Starts an operation, whose events follow the answer at once.
fn operation(
    inner: &mut Inner,
    connection: Option<u64>,
    params: &Params,
    work: impl FnOnce(&Inner, H256) -> Result<Vec<Json>, RpcError>,
) -> Result<Outcome, RpcError> {
    let id: String = params.required(0)?;
    let Some(block) = pinned(inner, connection, params)? else {
        return Ok(Outcome::of(json!({ "result": "limitReached" })));
    };
    let mut events = work(inner, block)?;
    let operation = follow_of(inner, connection, &id).map_or(0, |follow| {
        follow.operations += 1;
        follow.operations
    });
    let operation = operation.to_string();
    for event in &mut events {
        event["operationId"] = Json::from(operation.as_str());
    }
    let started = json!({ "result": "started", "operationId": operation });
    Ok(Outcome {
        result: started,
        afterwards: events
            .into_iter()
            .map(|event| (id.clone(), event))
            .collect(),
        ..Outcome::default()
    })
}

fn storage(inner: &Inner, block: H256, queries: &[Query]) -> Result<Vec<Json>, RpcError> {
    let Ok((_, state)) = state::at(&inner.node, Some(block)) else {
        return Ok(vec![json!({ "event": "operationInaccessible" })]);
    };
    let mut items = Vec::new();
    for query in queries {
        let key = unhex(&query.key)?;
        let hash = |value: &[u8]| hex(&sp_crypto_hashing::blake2_256(value));
        let entries = match query.kind {
            QueryKind::Value | QueryKind::Hash => {
                let value = state.get(&key);
                value
                    .map(|value| (key.as_slice(), value))
                    .into_iter()
                    .collect()
            }
            QueryKind::DescendantsValues | QueryKind::DescendantsHashes => {
                state.page(&key, None, usize::MAX)
            }
            QueryKind::ClosestDescendantMerkleValue => Vec::new(),
        };
        items.extend(entries.iter().map(|(key, value)| match query.kind {
            QueryKind::Value | QueryKind::DescendantsValues => {
                json!({ "key": hex(key), "value": hex(value) })
            }
            _ => json!({ "key": hex(key), "hash": hash(value) }),
        }));
    }
    let mut events = Vec::new();
    if !items.is_empty() {
        events.push(json!({ "event": "operationStorageItems", "items": items }));
    }
    events.push(json!({ "event": "operationStorageDone" }));
    Ok(events)
}

/// One hash or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Hashes {
    One(H256),
    Many(Vec<H256>),
}

fn unpin(inner: &mut Inner, connection: Option<u64>, params: &Params) -> Result<Outcome, RpcError> {
    let id: String = params.required(0)?;
    let hashes = match params.required::<Hashes>(1)? {
        Hashes::One(hash) => vec![hash],
        Hashes::Many(hashes) => hashes,
    };
    if let Some(follow) = follow_of(inner, connection, &id) {
        if !hashes.iter().all(|hash| follow.pinned.contains(hash)) {
            return Err(RpcError::new(INVALID_BLOCK, "Invalid block hash"));
        }
        for hash in &hashes {
            follow.pinned.remove(hash);
        }
    }
    Ok(Outcome::of(Json::Null))
}

/// Submits; a refusal is the subscription's only event.
fn submit_and_watch(
    inner: &mut Inner,
    connection: Option<u64>,
    params: &Params,
) -> Result<Outcome, RpcError> {
    let bytes = params.bytes(0)?;
    let hash = H256(sp_crypto_hashing::blake2_256(&bytes));
    let watch = Subscription::new(Topic::Transaction(Some(hash)), Vec::new());
    let mut id = inner.subscribe(connection, watch)?;
    if let Err(error) = author::submit(inner, &bytes) {
        inner.unsubscribe(connection, &id);
        let reason = match error.data {
            Some(Json::String(data)) => format!("{}: {data}", error.message),
            _ => error.message,
        };
        let event = json!({ "event": "invalid", "error": reason });
        let refused = Subscription::new(Topic::Transaction(None), vec![event]);
        id = inner.subscribe(connection, refused)?;
    }
    let mut outcome = Outcome::subscribed(id);
    outcome.is_lost = author::loses_acknowledgement(inner);
    Ok(outcome)
}
