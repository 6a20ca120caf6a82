//! What clients see of the development chain: subxt's, and bare JSON-RPC.
#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

mod client;
mod faults;
mod forks;
mod happy;
mod methods;
mod pool;
mod rules;
mod subnet;
