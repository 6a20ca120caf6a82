//! What all connections share: the node, and who listens to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};
use subxt::utils::H256;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gates::Gates;
use super::rpc::{Request, RpcError};
use super::subscriptions::{Delivery, Subscription};
use super::{author, chain, chain_head, control, state, system};
use crate::Methods;
use crate::chain::Node;
use crate::records::{Heads, Submission};

/// The simulated node with its server.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) gates: Gates,
    pub(crate) methods: Methods,
    /// How many submissions there have been.
    pub(crate) submitted: watch::Sender<usize>,
}

/// What is behind the lock.
pub(crate) struct Inner {
    pub(crate) node: Node,
    pub(crate) connections: HashMap<u64, Peer>,
    /// Whether new connections are turned away.
    pub(crate) refusing: bool,
    /// How many of the next submissions lose their acknowledgement.
    pub(crate) lose_acknowledgements: u32,
    /// The methods of all requests so far, in order.
    pub(crate) requests: Vec<String>,
    pub(crate) submissions: Vec<Submission>,
    /// The subnet that commands mean when they name none.
    pub(crate) netuid: u16,
    next_id: u64,
}

/// One WebSocket connection.
pub(crate) struct Peer {
    outbox: UnboundedSender<String>,
    cut: CancellationToken,
    pub(crate) subscriptions: HashMap<String, Subscription>,
}

/// What a method gives.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) result: Json,
    /// The subscription that the request opened, whose notifications follow the
    /// answer.
    pub(crate) opened: Option<String>,
    /// What a subscription hears right after the answer.
    pub(crate) afterwards: Vec<(String, Json)>,
    /// Whether the connection is cut instead of an answer.
    pub(crate) is_lost: bool,
}

impl Outcome {
    pub(crate) fn of(result: impl Into<Json>) -> Self {
        Self {
            result: result.into(),
            ..Self::default()
        }
    }

    /// The outcome of a request that opened a subscription.
    pub(crate) fn subscribed(id: String) -> Self {
        Self {
            result: Json::from(id.clone()),
            opened: Some(id),
            ..Self::default()
        }
    }
}

impl Shared {
    pub(crate) fn new(node: Node, netuid: u16, methods: Methods) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                node,
                connections: HashMap::new(),
                refusing: false,
                lose_acknowledgements: 0,
                requests: Vec::new(),
                submissions: Vec::new(),
                netuid,
                next_id: 0,
            }),
            gates: Gates::new(),
            methods,
            submitted: watch::Sender::new(0),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the node, and tells subscribers what came of it.
    pub(crate) fn with_node<T>(&self, work: impl FnOnce(&mut Node) -> T) -> T {
        let mut inner = self.lock();
        let result = work(&mut inner.node);
        inner.deliver();
        result
    }

    /// Admits a connection.
    pub(crate) fn connect(&self, outbox: UnboundedSender<String>, cut: CancellationToken) -> u64 {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        let peer = Peer {
            outbox,
            cut,
            subscriptions: HashMap::new(),
        };
        inner.connections.insert(id, peer);
        id
    }

    pub(crate) fn disconnect(&self, connection: u64) {
        self.lock().connections.remove(&connection);
    }

    /// Gives one request its effect.
    pub(crate) fn execute(
        self: &Arc<Self>,
        connection: Option<u64>,
        request: &Request,
    ) -> Result<Outcome, RpcError> {
        let mut inner = self.lock();
        inner.requests.push(request.method.clone());
        if let Some(error) = self.gates.failure(&request.method) {
            return Err(error);
        }
        let (prefix, _) = request.method.split_once('_').unwrap_or_default();
        let method = request.method.as_str();
        let params = &request.params;
        let inner = &mut *inner;
        let outcome = match prefix {
            "system" | "rpc" | "account" => system::call(inner, method, params, self.methods),
            "chain" => chain::call(inner, connection, method, params),
            "state" | "childstate" | "payment" => state::call(inner, connection, method, params),
            "author" => author::call(inner, connection, method, params),
            "chainHead" | "chainSpec" | "transaction" | "transactionWatch"
                if self.methods == Methods::All =>
            {
                chain_head::call(inner, connection, method, params)
            }
            "standin" => control::call(inner, &self.gates, method, params),
            _ => Err(RpcError::method_not_found()),
        };
        inner.deliver();
        self.submitted.send_if_modified(|submitted| {
            let before = std::mem::replace(submitted, inner.submissions.len());
            before != *submitted
        });
        outcome
    }

    /// Sends an answer, and then what waited for it.
    pub(crate) fn answer(&self, connection: u64, response: &Json, outcome: Option<&Outcome>) {
        let mut inner = self.lock();
        let Some(peer) = inner.connections.get_mut(&connection) else {
            return;
        };
        peer.send(response);
        let Some(outcome) = outcome else {
            return;
        };
        let held = outcome
            .opened
            .as_ref()
            .and_then(|id| peer.subscriptions.get_mut(id))
            .map(Subscription::start)
            .unwrap_or_default();
        for notification in held {
            peer.send(&notification);
        }
        for (id, event) in &outcome.afterwards {
            let notification = peer
                .subscriptions
                .get(id)
                .and_then(|subscription| subscription.notification(id, event));
            if let Some(notification) = notification {
                peer.send(&notification);
            }
        }
    }

    /// Cuts one connection.
    pub(crate) fn cut(&self, connection: u64) {
        if let Some(peer) = self.lock().connections.remove(&connection) {
            peer.cut.cancel();
        }
    }
}

impl Inner {
    /// An id that no connection or subscription has yet, in the form of the node's.
    pub(crate) fn new_subscription_id(&mut self) -> String {
        self.next_id += 1;
        let hash = sp_crypto_hashing::blake2_64(&self.next_id.to_le_bytes());
        hex::encode(hash)
    }

    /// Opens a subscription on a connection. `None` if it has none, as over HTTP.
    pub(crate) fn subscribe(
        &mut self,
        connection: Option<u64>,
        subscription: Subscription,
    ) -> Result<String, RpcError> {
        let connection = connection.ok_or_else(RpcError::method_not_found)?;
        let id = self.new_subscription_id();
        // The client may have gone while its request was held.
        if let Some(peer) = self.connections.get_mut(&connection) {
            peer.subscriptions
                .insert(id.clone(), subscription.with_id(&id));
        }
        Ok(id)
    }

    pub(crate) fn unsubscribe(&mut self, connection: Option<u64>, id: &str) -> bool {
        connection
            .and_then(|connection| self.connections.get_mut(&connection))
            .is_some_and(|peer| peer.subscriptions.remove(id).is_some())
    }

    /// Tells subscribers what has happened to the node.
    pub(crate) fn deliver(&mut self) {
        for notice in self.node.take_notices() {
            for peer in self.connections.values_mut() {
                let mut outgoing = Vec::new();
                peer.subscriptions.retain(|id, subscription| {
                    match subscription.hear(id, &notice, &self.node) {
                        Delivery::Nothing => true,
                        Delivery::Send(messages) => {
                            outgoing.extend(messages);
                            true
                        }
                        Delivery::SendAndEnd(messages) => {
                            outgoing.extend(messages);
                            false
                        }
                    }
                });
                for message in outgoing {
                    peer.send(&message);
                }
            }
        }
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads {
            best: self.node.best().header.number,
            finalized: self.node.finalized().header.number,
            pending: self.node.pending().len(),
            connections: self.connections.len(),
        }
    }

    /// Cuts all connections; how many there were.
    pub(crate) fn cut_connections(&mut self) -> usize {
        let peers: Vec<Peer> = self.connections.drain().map(|(_, peer)| peer).collect();
        for peer in &peers {
            peer.cut.cancel();
        }
        peers.len()
    }

    /// Ends each `chainHead_v1_follow` with the event that says so.
    pub(crate) fn stop_follows(&mut self) {
        let stop = json!({ "event": "stop" });
        for peer in self.connections.values_mut() {
            let mut outgoing = Vec::new();
            peer.subscriptions.retain(|id, subscription| {
                if subscription.is_follow() {
                    outgoing.extend(subscription.notification(id, &stop));
                }
                !subscription.is_follow()
            });
            for message in outgoing {
                peer.send(&message);
            }
        }
    }

    /// The subscriptions of all connections.
    pub(crate) fn subscriptions(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.connections
            .values_mut()
            .flat_map(|peer| peer.subscriptions.values_mut())
    }

    /// What an extrinsic's acceptance is told of later.
    pub(crate) fn record_submission(&mut self, bytes: &[u8], result: &Result<H256, RpcError>) {
        let refused = result
            .as_ref()
            .err()
            .map(|error| (error.code, error.message.clone()));
        let best = self.node.best();
        let signed = best.runtime.decode_signed(bytes);
        self.submissions.push(Submission {
            hash: sp_crypto_hashing::blake2_256(bytes),
            signer: signed.as_ref().map(|signed| signed.signer.0),
            nonce: signed.as_ref().map(|signed| signed.nonce),
            refused,
        });
    }
}

impl Peer {
    fn send(&self, message: &Json) {
        // The connection may be closing.
        let _ = self.outbox.send(message.to_string());
    }
}

/// A subscription's notification.
pub(crate) fn notification(method: &str, id: &str, result: &Json) -> Json {
    json!({
        "jsonrpc": "2.0",
        "method": method,
        "params": { "subscription": id, "result": result },
    })
}
