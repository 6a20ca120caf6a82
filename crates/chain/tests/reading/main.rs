//! Reading a development chain that speaks like mainnet's nodes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod commitments;
mod connection;
mod heads;
mod neurons;

use std::time::Duration;

use chain::{Chain, ChainConfig};
use standin_chain::{Options, StandinChain};
use subnet::Account;

const NETUID: u16 = 9;

/// A chain and a connection to it.
async fn connected() -> (StandinChain, Chain) {
    connected_to(Options::default()).await
}

async fn connected_to(options: Options) -> (StandinChain, Chain) {
    let standin = StandinChain::start(options).await.unwrap();
    let chain = Chain::connect(&config(&[&standin.endpoint()]))
        .await
        .unwrap();
    (standin, chain)
}

/// Waits short enough for a test.
fn config(endpoints: &[&str]) -> ChainConfig {
    let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().unwrap());
    ChainConfig {
        stall: Duration::from_millis(200),
        ..ChainConfig::endpoints(endpoints.collect())
    }
}

fn account(number: u8) -> Account {
    Account::from([number; 32])
}
