//! Registrations, metagraph, clock.

use chain::ChainError;
use standin_chain::{Fault, Options};

use crate::{NETUID, account, connected, connected_to};

#[tokio::test]
async fn a_hotkey_has_a_uid_once_it_is_registered() {
    let (standin, chain) = connected().await;
    assert_eq!(chain.registration(NETUID, &account(1)).await.unwrap(), None);
    standin.register(*account(1).bytes(), 3, 0.5);
    assert_eq!(
        chain.registration(NETUID, &account(1)).await.unwrap(),
        Some(3)
    );
    assert_eq!(chain.neuron(NETUID, 3).await.unwrap(), Some(account(1)));
}

#[tokio::test]
async fn a_uid_beyond_the_last_one_is_nobodys_though_the_chain_gives_an_account_for_it() {
    let (standin, chain) = connected().await;
    standin.register(*account(1).bytes(), 0, 0.5);
    assert_eq!(chain.neuron(NETUID, 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_subnet_that_is_not_there_is_told_from_an_empty_one() {
    let (_standin, chain) = connected().await;
    assert!(chain.subnet_exists(NETUID).await.unwrap());
    assert!(chain.metagraph(NETUID).await.unwrap().neurons.is_empty());
    assert!(!chain.subnet_exists(4000).await.unwrap());
    let error = chain.metagraph(4000).await.unwrap_err();
    assert!(matches!(error, ChainError::NoSubnet(4000)), "{error}");
    assert!(error.is_fatal());
}

#[tokio::test]
async fn the_metagraph_is_the_same_by_the_runtime_and_by_storage() {
    let (standin, chain) = connected().await;
    for (uid, incentive) in [(0, 0.25), (1, 1.0), (2, 0.0), (3, 1.0)] {
        standin.register(*account(uid as u8 + 1).bytes(), uid, incentive);
    }
    let view = chain.finalized().await.unwrap();
    let by_runtime = view.metagraph(NETUID).await.unwrap();

    let refused = Fault::FailRequests {
        method: "state_call".to_owned(),
        code: -32000,
        message: "no such runtime API".to_owned(),
        times: 1.try_into().unwrap(),
    };
    standin.faults().inject(refused).unwrap();
    let by_storage = view.metagraph(NETUID).await.unwrap();
    assert_eq!(by_runtime, by_storage);

    assert_eq!(by_runtime.block, view.number());
    let ranked = by_runtime.by_incentive();
    let ranked: Vec<_> = ranked
        .iter()
        .map(|neuron| (neuron.uid, neuron.hotkey))
        .collect();
    let expected = [(1, 2), (3, 4), (0, 1), (2, 3)];
    assert_eq!(ranked, expected.map(|(uid, number)| (uid, account(number))));
    let quarter = by_runtime.neurons[0].incentive;
    assert!((quarter - 0.25).abs() < 1.0 / 65535.0, "{quarter}");
}

#[tokio::test]
async fn the_chains_clock_and_the_lag_of_its_finality_are_read() {
    let options = Options {
        start_time_ms: Some(1_700_000_000_000),
        start_block: 100,
        finality_lag: 3,
        ..Options::default()
    };
    let (standin, chain) = connected_to(options).await;
    standin.advance(10).await;
    let finalized = chain.finalized_block().await.unwrap();
    assert_eq!(finalized.number, 107);
    assert_eq!(finalized.timestamp_ms, 1_700_000_000_000 + 7 * 12_000);
    assert_eq!(chain.best_block().await.unwrap().number, 110);
    assert_eq!(chain.finality_lag().await.unwrap(), 3);
}
