//! What subscribers hear.
//!
//! Names of notifications and their contents are those of `sc-rpc` for the legacy
//! methods, and of paritytech's json-rpc-interface-spec for `chainHead_v1` and
//! `transactionWatch_v1`.

use std::collections::HashSet;

use serde_json::{Value as Json, json};
use subxt::utils::H256;

use super::shared::notification;
use super::state::{changes_json, version_json};
use crate::chain::{Node, Notice, Status, hex};

/// The name of the one peer of the node.
const PEER: &str = "12D3KooWStandin";

/// One subscription of one connection.
pub(crate) struct Subscription {
    topic: Topic,
    /// Notifications that wait for the answer to the request that subscribed; `None`
    /// once that is sent.
    waiting: Option<Vec<Json>>,
    /// Whether a fault has made it go quiet.
    pub(crate) is_silenced: bool,
}

/// What a subscription is about.
#[derive(Debug)]
pub(crate) enum Topic {
    /// Headers of all imported blocks.
    AllHeads,
    /// Headers of best blocks.
    NewHeads,
    /// Headers of final blocks; the last one of those that became final together.
    FinalizedHeads,
    RuntimeVersion {
        spec_version: u32,
    },
    /// Values of these keys at the best block, when they change.
    Storage {
        values: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// An extrinsic, by `author_submitAndWatchExtrinsic`.
    Extrinsic(H256),
    /// An extrinsic, by `transactionWatch_v1_submitAndWatch`; `None` if it was refused,
    /// which is told as an event.
    Transaction(Option<H256>),
    Follow(Follow),
}

/// A `chainHead_v1_follow`.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) with_runtime: bool,
    pub(crate) pinned: HashSet<H256>,
    pub(crate) operations: u64,
}

/// What a notice makes of a subscription.
pub(crate) enum Delivery {
    Nothing,
    Send(Vec<Json>),
    /// Nothing follows.
    SendAndEnd(Vec<Json>),
}

impl Subscription {
    /// A subscription; `first` are the results of its first notifications, which
    /// [`with_id`](Self::with_id) completes.
    pub(crate) fn new(topic: Topic, first: Vec<Json>) -> Self {
        Self {
            topic,
            waiting: Some(first),
            is_silenced: false,
        }
    }

    /// The answer is sent: what has waited for it may follow.
    pub(crate) fn start(&mut self) -> Vec<Json> {
        self.waiting.take().unwrap_or_default()
    }

    pub(crate) fn follow(&mut self) -> Option<&mut Follow> {
        match &mut self.topic {
            Topic::Follow(follow) => Some(follow),
            _ => None,
        }
    }

    pub(crate) fn is_follow(&self) -> bool {
        matches!(self.topic, Topic::Follow(_))
    }

    /// A notification of this subscription; `None` if a fault has silenced it.
    pub(crate) fn notification(&self, id: &str, result: &Json) -> Option<Json> {
        (!self.is_silenced).then(|| notification(self.topic.name(), id, result))
    }

    /// Gives the notifications that were made before there was an id.
    pub(crate) fn with_id(mut self, id: &str) -> Self {
        let name = self.topic.name();
        if let Some(waiting) = &mut self.waiting {
            for result in waiting.iter_mut() {
                *result = notification(name, id, result);
            }
        }
        self
    }

    /// Hears a notice.
    pub(crate) fn hear(&mut self, id: &str, notice: &Notice, node: &Node) -> Delivery {
        let (results, is_last) = self.topic.hear(notice, node);
        if self.is_silenced || results.is_empty() {
            return Delivery::Nothing;
        }
        let name = self.topic.name();
        let messages = results.iter().map(|result| notification(name, id, result));
        if let Some(waiting) = &mut self.waiting {
            waiting.extend(messages);
            return Delivery::Nothing;
        }
        let messages = messages.collect();
        if is_last {
            Delivery::SendAndEnd(messages)
        } else {
            Delivery::Send(messages)
        }
    }
}

impl Topic {
    fn name(&self) -> &'static str {
        match self {
            Self::AllHeads => "chain_allHead",
            Self::NewHeads => "chain_newHead",
            Self::FinalizedHeads => "chain_finalizedHead",
            Self::RuntimeVersion { .. } => "state_runtimeVersion",
            Self::Storage { .. } => "state_storage",
            Self::Extrinsic(_) => "author_extrinsicUpdate",
            Self::Transaction(_) => "transactionWatch_v1_watchEvent",
            Self::Follow(_) => "chainHead_v1_followEvent",
        }
    }

    /// The results to send, and whether they are the last.
    fn hear(&mut self, notice: &Notice, node: &Node) -> (Vec<Json>, bool) {
        let header = |hash: &H256| node.block(hash).map(|block| block.header.json());
        let results: Vec<Json> = match (self, notice) {
            (Self::AllHeads, Notice::NewBlock { hash, .. }) => header(hash).into_iter().collect(),
            (Self::NewHeads, Notice::Best { hash }) => header(hash).into_iter().collect(),
            (Self::FinalizedHeads, Notice::Finalized { hashes, .. }) => {
                hashes.last().and_then(header).into_iter().collect()
            }
            (Self::RuntimeVersion { spec_version }, Notice::Best { .. }) => {
                let version = node.best().runtime.version();
                if version.spec_version == *spec_version {
                    Vec::new()
                } else {
                    *spec_version = version.spec_version;
                    vec![version_json(version)]
                }
            }
            (Self::Storage { values }, Notice::Best { .. }) => changed(values, node),
            (Self::Extrinsic(watched), Notice::Extrinsic { extrinsic, status })
                if watched == extrinsic =>
            {
                return (vec![extrinsic_json(status)], status.is_last());
            }
            (Self::Transaction(Some(watched)), Notice::Extrinsic { extrinsic, status })
                if watched == extrinsic =>
            {
                return (
                    transaction_json(status).into_iter().collect(),
                    status.is_last(),
                );
            }
            (Self::Follow(follow), notice) => follow.hear(notice, node),
            _ => Vec::new(),
        };
        (results, false)
    }
}

/// Reads the keys again; a change set if any value is another one.
fn changed(values: &mut [(Vec<u8>, Option<Vec<u8>>)], node: &Node) -> Vec<Json> {
    let best = node.best();
    let Some(state) = &best.state else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    for (key, value) in values {
        let now = state.get(key).map(<[u8]>::to_vec);
        if now != *value {
            value.clone_from(&now);
            changes.push((key.clone(), now));
        }
    }
    if changes.is_empty() {
        return Vec::new();
    }
    vec![changes_json(&best.hash, &changes)]
}

/// `TransactionStatus` of `sc-transaction-pool-api`.
fn extrinsic_json(status: &Status) -> Json {
    match status {
        Status::Future => json!("future"),
        Status::Ready => json!("ready"),
        Status::Broadcast => json!({ "broadcast": [PEER] }),
        Status::InBlock { block, .. } => json!({ "inBlock": hex(&block.0) }),
        Status::Retracted { block } => json!({ "retracted": hex(&block.0) }),
        Status::FinalityTimeout { block } => json!({ "finalityTimeout": hex(&block.0) }),
        Status::Finalized { block, .. } => json!({ "finalized": hex(&block.0) }),
        Status::Usurped(by) => json!({ "usurped": hex(&by.0) }),
        Status::Invalid => json!("invalid"),
    }
}

/// `TransactionEvent` of `sc-rpc-spec-v2`.
fn transaction_json(status: &Status) -> Option<Json> {
    let place = |block: &H256, index: &usize| json!({ "hash": hex(&block.0), "index": index });
    Some(match status {
        Status::Future | Status::Ready => json!({ "event": "validated" }),
        Status::Broadcast => return None,
        Status::InBlock { block, index } => json!({
            "event": "bestChainBlockIncluded",
            "block": place(block, index),
        }),
        Status::Retracted { .. } => json!({ "event": "bestChainBlockIncluded", "block": null }),
        Status::FinalityTimeout { .. } => json!({
            "event": "dropped",
            "error": "Maximum number of finality watchers has been reached",
        }),
        Status::Finalized { block, index } => json!({
            "event": "finalized",
            "block": place(block, index),
        }),
        Status::Usurped(_) => json!({
            "event": "invalid",
            "error": "Extrinsic was rendered invalid by another extrinsic",
        }),
        Status::Invalid => json!({
            "event": "invalid",
            "error": "Extrinsic marked as invalid",
        }),
    })
}

impl Follow {
    /// What a new follower hears first: the final block, then the open ones.
    pub(crate) fn first_events(&mut self, node: &Node) -> Vec<Json> {
        let finalized = node.finalized();
        self.pinned.insert(finalized.hash);
        let mut initialized = json!({
            "event": "initialized",
            "finalizedBlockHashes": [hex(&finalized.hash.0)],
        });
        if self.with_runtime {
            initialized["finalizedBlockRuntime"] = runtime_json(node, &finalized.hash);
        }
        let mut events = vec![initialized];
        let open: Vec<_> = node
            .chain()
            .filter(|block| block.header.number > finalized.header.number)
            .map(|block| (block.hash, block.header.parent))
            .collect();
        for (hash, parent) in open {
            events.push(self.new_block(node, &hash, &parent, false));
        }
        events.push(json!({
            "event": "bestBlockChanged",
            "bestBlockHash": hex(&node.best().hash.0),
        }));
        events
    }

    fn new_block(
        &mut self,
        node: &Node,
        hash: &H256,
        parent: &H256,
        changes_runtime: bool,
    ) -> Json {
        self.pinned.insert(*hash);
        let runtime = if changes_runtime && self.with_runtime {
            runtime_json(node, hash)
        } else {
            Json::Null
        };
        json!({
            "event": "newBlock",
            "blockHash": hex(&hash.0),
            "parentBlockHash": hex(&parent.0),
            "newRuntime": runtime,
        })
    }

    fn hear(&mut self, notice: &Notice, node: &Node) -> Vec<Json> {
        match notice {
            Notice::NewBlock {
                hash,
                parent,
                changes_runtime,
            } => vec![self.new_block(node, hash, parent, *changes_runtime)],
            Notice::Best { hash } => vec![json!({
                "event": "bestBlockChanged",
                "bestBlockHash": hex(&hash.0),
            })],
            Notice::Finalized { hashes, pruned } => {
                let list = |hashes: &[H256]| -> Vec<String> {
                    hashes.iter().map(|hash| hex(&hash.0)).collect()
                };
                vec![json!({
                    "event": "finalized",
                    "finalizedBlockHashes": list(hashes),
                    "prunedBlockHashes": list(pruned),
                })]
            }
            Notice::Extrinsic { .. } => Vec::new(),
        }
    }
}

/// `RuntimeEvent` of a block: the version that its state has.
fn runtime_json(node: &Node, hash: &H256) -> Json {
    let Some(block) = node.block(hash) else {
        return Json::Null;
    };
    let version = block.runtime.version();
    let apis: serde_json::Map<String, Json> = version
        .apis
        .iter()
        .map(|(id, version)| (hex(id), Json::from(*version)))
        .collect();
    json!({
        "type": "valid",
        "spec": {
            "specName": version.spec_name,
            "implName": version.impl_name,
            "specVersion": version.spec_version,
            "implVersion": version.impl_version,
            "transactionVersion": version.transaction_version,
            "apis": apis,
        },
    })
}
