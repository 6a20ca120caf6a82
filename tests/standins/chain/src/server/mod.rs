//! JSON-RPC over WebSocket, and over HTTP for what is no subscription.
//!
//! The node's own server would do the same, but could not cut a connection in the
//! middle of an answer or let a subscription go quiet.

mod author;
mod chain;
mod chain_head;
mod connection;
mod control;
pub(crate) mod gates;
pub(crate) mod rpc;
pub(crate) mod shared;
mod state;
mod subscriptions;
mod system;

pub(crate) use self::connection::serve;
