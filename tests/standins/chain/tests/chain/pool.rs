//! What the transaction pool takes, keeps and turns away.

use standin_chain::Fault;
use subxt::utils::AccountId32;

use subxt::rpcs::client::rpc_params;

use crate::client::{
    self, Dev, Params, commit_call, prompt_chain, refusal, signed, status, submit, watch,
};

#[tokio::test]
async fn a_used_nonce_is_stale_and_then_banned() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    let first = signed(&client, &alice, &commit_call(9, b"1"), Params::new()).await;
    let second = signed(&client, &alice, &commit_call(9, b"2"), Params::new()).await;
    submit(&rpc, &first).await.unwrap();
    chain.advance(1).await;
    let (code, _, data) = submit(&rpc, &second).await.unwrap_err();
    assert_eq!((code, data.as_str()), (1010, "\"Transaction is outdated\""));
    let (code, message, _) = submit(&rpc, &second).await.unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (1012, "Transaction is temporarily banned")
    );
    chain.faults().inject(Fault::LiftBans).unwrap();
    assert_eq!(submit(&rpc, &second).await.unwrap_err().0, 1010);
    let refused: Vec<Option<i64>> = chain
        .submissions()
        .into_iter()
        .map(|submission| submission.refused.map(|(code, _)| code))
        .collect();
    assert_eq!(refused, [None, Some(1010), Some(1012), Some(1010)]);
}

#[tokio::test]
async fn the_same_bytes_are_already_imported_and_a_rival_has_too_low_priority() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    let first = signed(&client, &alice, &commit_call(9, b"1"), Params::new()).await;
    let rival = signed(&client, &alice, &commit_call(9, b"2"), Params::new()).await;
    let richer = signed(&client, &alice, &commit_call(9, b"3"), Params::new().tip(5)).await;
    let mut watched = watch(&rpc, &first).await;
    assert_eq!(submit(&rpc, &first).await.unwrap_err().0, 1013);
    let (code, message, _) = submit(&rpc, &rival).await.unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (1014, "Priority is too low: (0 vs 0)")
    );
    submit(&rpc, &richer).await.unwrap();
    for expected in ["ready", "broadcast", "usurped"] {
        assert_eq!(status(&mut watched).await, expected);
    }
}

#[tokio::test]
async fn a_future_nonce_waits_for_the_one_before_it() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    let later = Params::new().nonce(1);
    let later = signed(&client, &alice, &commit_call(9, b"2"), later).await;
    let mut watched = watch(&rpc, &later).await;
    assert_eq!(status(&mut watched).await, "future");
    chain.advance(1).await;
    assert_eq!(chain.extrinsics(), []);

    let index = || async {
        let address = AccountId32(alice.public()).to_string();
        let index: u64 = rpc
            .request("system_accountNextIndex", rpc_params![address])
            .await
            .unwrap();
        index
    };
    assert_eq!(index().await, 0);
    let first = signed(&client, &alice, &commit_call(9, b"1"), Params::new()).await;
    submit(&rpc, &first).await.unwrap();
    assert_eq!(index().await, 2, "the pool's extrinsics count");
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 2);
    for expected in ["ready", "inBlock", "finalized"] {
        assert_eq!(status(&mut watched).await, expected);
    }
}

#[tokio::test]
async fn a_signature_covers_every_byte_of_the_call() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let mut extrinsic = signed(
        &client,
        &Dev::alice(),
        &commit_call(9, b"abc"),
        Params::new(),
    )
    .await;
    let last = extrinsic.len() - 1;
    extrinsic[last] ^= 1;
    let (code, _, data) = submit(&rpc, &extrinsic).await.unwrap_err();
    assert_eq!(
        (code, data.as_str()),
        (1010, "\"Transaction has a bad signature\"")
    );
}

#[tokio::test]
async fn a_signature_for_another_chain_is_a_bad_proof() {
    let chain = prompt_chain().await;
    let other = standin_chain::StandinChain::start(standin_chain::Options {
        chain_id: 1,
        ..client::prompt_options()
    })
    .await
    .unwrap();
    let client = client::connect(&other).await;
    let immortal = Params::new().immortal();
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"abc"), immortal).await;
    submit(&client::rpc(&other).await, &extrinsic)
        .await
        .unwrap();
    let refused = submit(&client::rpc(&chain).await, &extrinsic).await;
    assert_eq!(refused.unwrap_err().0, 1010);
}

#[tokio::test]
async fn a_mortal_extrinsic_is_too_late_after_its_era() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let faults = chain.faults();
    let withhold = |withheld| Fault::WithholdInclusion { withheld };
    faults.inject(withhold(true)).unwrap();
    let waiting = Params::new().mortal(8);
    let waiting = signed(&client, &Dev::alice(), &commit_call(9, b"1"), waiting).await;
    let late = Params::new().mortal(8);
    let late = signed(&client, &Dev::bob(), &commit_call(9, b"2"), late).await;
    let immortal = Params::new().immortal();
    let immortal = signed(&client, &Dev::bob(), &commit_call(9, b"3"), immortal).await;

    let mut watched = watch(&rpc, &waiting).await;
    chain.advance(8).await;
    for expected in ["ready", "broadcast", "invalid"] {
        assert_eq!(status(&mut watched).await, expected);
    }
    assert_eq!(submit(&rpc, &late).await.unwrap_err().0, 1010);
    faults.inject(withhold(false)).unwrap();
    submit(&rpc, &immortal).await.unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 1);
}

#[tokio::test]
async fn what_is_no_extrinsic_is_refused() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    assert_eq!(submit(&rpc, b"").await.unwrap_err().0, 1001);
    assert_eq!(submit(&rpc, &[200, 1]).await.unwrap_err().0, 1001);
    // Two bytes that claim to be an extrinsic of version 4.
    assert_eq!(submit(&rpc, &[8, 0x84, 0]).await.unwrap_err().0, 1002);
    let not_hex: Result<String, _> = rpc
        .request("author_submitExtrinsic", rpc_params!["0xzz"])
        .await;
    assert_eq!(refusal(not_hex.unwrap_err()).0, -32_602);
}
