//! Finality that stalls, and forks of what is not final yet.

use serde_json::Value as Json;
use standin_chain::{Fault, FaultError, Options, Returning, StandinChain};
use subxt::rpcs::RpcClient;
use subxt::rpcs::client::RpcSubscription;

use crate::client::{self, Dev, Params, commit_call, signed, status, watch};
use crate::faults::is_quiet;

#[tokio::test]
async fn finality_stalls_and_catches_up() {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let stall = |stalled| Fault::StallFinality { stalled };
    chain.faults().inject(stall(true)).unwrap();
    let mut watched = watch(&rpc, &extrinsic).await;
    chain.advance(20).await;
    for expected in ["ready", "broadcast", "inBlock"] {
        assert_eq!(status(&mut watched).await, expected);
    }
    assert!(is_quiet(&rpc, &mut watched).await);
    assert_eq!(chain.heads().finalized, 1);
    chain.faults().inject(stall(false)).unwrap();
    assert_eq!(status(&mut watched).await, "finalized");
    assert_eq!(chain.heads().finalized, 19);
}

#[tokio::test]
async fn a_node_stops_watching_for_finality_after_512_blocks() {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let stalled = true;
    chain
        .faults()
        .inject(Fault::StallFinality { stalled })
        .unwrap();
    let mut watched = watch(&rpc, &extrinsic).await;
    chain.advance(513).await;
    for expected in ["ready", "broadcast", "inBlock", "finalityTimeout"] {
        assert_eq!(status(&mut watched).await, expected);
    }
}

/// Has a watched extrinsic included, then replaces its block.
async fn reorganised(returning: Returning) -> (StandinChain, RpcClient, RpcSubscription<Json>) {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    let extrinsic = signed(&client, &alice, &commit_call(9, b"x"), Params::new()).await;
    let mut watched = watch(&rpc, &extrinsic).await;
    chain.advance(1).await;
    for expected in ["ready", "broadcast", "inBlock"] {
        assert_eq!(status(&mut watched).await, expected);
    }
    let depth = 1;
    chain
        .faults()
        .inject(Fault::Reorganise { depth, returning })
        .unwrap();
    assert_eq!(status(&mut watched).await, "retracted");
    assert_eq!(chain.heads().best, 3, "the fork is one block longer");
    (chain, rpc, watched)
}

#[tokio::test]
async fn a_fork_includes_the_extrinsic_again() {
    let (chain, _rpc, mut watched) = reorganised(Returning::AtOnce).await;
    assert_eq!(status(&mut watched).await, "inBlock");
    chain.finalize().await;
    assert_eq!(status(&mut watched).await, "finalized");
    assert_eq!(chain.extrinsics().len(), 1);
    assert_eq!(chain.commitments()[0].block, 2);
}

#[tokio::test]
async fn a_fork_returns_the_extrinsic_to_the_pool() {
    let (chain, _rpc, mut watched) = reorganised(Returning::NextBlock).await;
    assert_eq!(chain.commitments(), []);
    chain.advance(1).await;
    for expected in ["ready", "inBlock"] {
        assert_eq!(status(&mut watched).await, expected);
    }
    chain.finalize().await;
    assert_eq!(status(&mut watched).await, "finalized");
    assert_eq!(chain.commitments()[0].block, 4);
}

#[tokio::test]
async fn a_fork_loses_the_extrinsic() {
    let (chain, rpc, mut watched) = reorganised(Returning::Never).await;
    chain.advance(5).await;
    assert!(is_quiet(&rpc, &mut watched).await);
    assert_eq!(chain.extrinsics(), []);
    assert_eq!(chain.commitments(), []);
}

#[tokio::test]
async fn final_blocks_are_never_replaced() {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    chain.advance(10).await;
    for depth in [0, 3] {
        let returning = Returning::Never;
        let refused = chain
            .faults()
            .inject(Fault::Reorganise { depth, returning });
        assert!(matches!(refused, Err(FaultError::TooDeep(_))));
    }
}
