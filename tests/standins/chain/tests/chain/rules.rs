//! What `set_commitment` allows.

use standin_chain::{Options, Quota, RegistrationCheck, StandinChain};
use subxt::ext::scale_value::{Composite, Value};

use crate::client::{
    self, Dev, Params, commit, commit_call, prompt_chain, prompt_options, signed, submit,
};

const QUOTA: &str = "Commitments.SpaceLimitExceeded";
const RATE: &str = "Commitments.CommitmentSetRateLimitExceeded";

#[tokio::test]
async fn an_unregistered_hotkey_fails_at_dispatch_and_its_nonce_counts() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    let result = commit(&chain, &client, &alice, b"x").await;
    assert_eq!(
        result,
        Err("Commitments.AccountNotAllowedCommit".to_owned())
    );
    assert_eq!(chain.commitments(), []);
    chain.register(alice.public(), 0, 0.0);
    assert_eq!(commit(&chain, &client, &alice, b"x").await, Ok(()));
    assert_eq!(chain.submissions()[1].nonce, Some(1));
}

#[tokio::test]
async fn a_deregistered_hotkey_keeps_its_commitment_and_makes_no_other() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    assert_eq!(commit(&chain, &client, &alice, b"first").await, Ok(()));
    chain.deregister(alice.public());
    let result = commit(&chain, &client, &alice, b"second").await;
    assert_eq!(
        result,
        Err("Commitments.AccountNotAllowedCommit".to_owned())
    );
    let kept = chain.commitment(alice.public()).unwrap();
    assert_eq!(kept.text(), Some("first"));
}

#[tokio::test]
async fn newer_runtimes_refuse_an_unregistered_hotkey_at_submission() {
    let chain = StandinChain::start(Options {
        registration_check: RegistrationCheck::AtSubmission,
        ..prompt_options()
    })
    .await
    .unwrap();
    let client = client::connect(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let refused = submit(&client::rpc(&chain).await, &extrinsic).await;
    let (code, message, data) = refused.unwrap_err();
    assert_eq!((code, message.as_str()), (1010, "Invalid Transaction"));
    assert_eq!(data, "\"Custom error: 10\"");
}

#[tokio::test]
async fn an_epoch_has_room_for_3100_bytes_of_at_least_100_each() {
    // Epoch of block b: (b + 9 + 1) / 361. The next one begins with block 351.
    let chain = StandinChain::start(Options {
        start_block: 300,
        ..prompt_options()
    })
    .await
    .unwrap();
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    // 24 of 128 bytes are 3072; not even the cheapest one fits after them.
    for _ in 0..24 {
        assert_eq!(commit(&chain, &client, &alice, &[b'a'; 128]).await, Ok(()));
    }
    let result = commit(&chain, &client, &alice, b"b").await;
    assert_eq!(result, Err(QUOTA.to_owned()));
    chain.advance(350 - chain.heads().best - 1).await;
    let result = commit(&chain, &client, &alice, b"b").await;
    assert_eq!((chain.heads().best, result), (350, Err(QUOTA.to_owned())));
    let result = commit(&chain, &client, &alice, b"b").await;
    assert_eq!((chain.heads().best, result), (351, Ok(())));

    let reader = client::Reader::new(&client).await;
    let keys = vec![Value::u128(9), Value::from_bytes(alice.public())];
    let used: Option<(u64, u64)> = reader.decoded(("Commitments", "UsedSpaceOf"), keys).await;
    assert_eq!(used, Some((1, 100)), "epoch and cost");
}

#[tokio::test]
async fn the_older_rule_allows_one_commitment_per_hundred_blocks() {
    let chain = StandinChain::start(Options {
        quota: Quota::HundredBlocks,
        ..prompt_options()
    })
    .await
    .unwrap();
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    assert_eq!(commit(&chain, &client, &alice, b"1").await, Ok(()));
    let committed = chain.heads().best;
    assert_eq!(
        commit(&chain, &client, &alice, b"2").await,
        Err(RATE.to_owned())
    );
    chain.advance(committed + 98 - chain.heads().best).await;
    assert_eq!(
        commit(&chain, &client, &alice, b"3").await,
        Err(RATE.to_owned())
    );
    assert_eq!(commit(&chain, &client, &alice, b"4").await, Ok(()));
    assert_eq!(chain.heads().best, committed + 100);
}

#[tokio::test]
async fn clients_read_the_errors_name_in_the_metadata() {
    for (quota, name) in [(Quota::Epoch, QUOTA), (Quota::HundredBlocks, RATE)] {
        let chain = StandinChain::start(Options {
            quota,
            ..prompt_options()
        })
        .await
        .unwrap();
        let client = client::connect(&chain).await;
        let alice = Dev::alice();
        chain.register(alice.public(), 0, 0.0);
        let error = name.to_owned();
        let faults = chain.faults();
        faults
            .inject(standin_chain::Fault::FailDispatch { error })
            .unwrap();
        let mut transactions = client.tx().await.unwrap();
        let progress = transactions
            .sign_and_submit_then_watch_default(&commit_call(9, b"x"), &alice)
            .await
            .unwrap();
        chain.advance(1).await;
        let error = progress.wait_for_finalized_success().await.unwrap_err();
        let text = error.to_string();
        let (_, short) = name.split_once('.').unwrap();
        assert!(text.contains(short), "{text}");
    }
}

#[tokio::test]
async fn other_calls_are_filtered() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let remark = subxt::tx::dynamic(
        "System",
        "remark",
        Composite::Named(vec![("remark".to_owned(), Value::from_bytes(b"hello"))]),
    );
    let extrinsic = signed(&client, &Dev::alice(), &remark, Params::new()).await;
    submit(&client::rpc(&chain).await, &extrinsic)
        .await
        .unwrap();
    chain.advance(1).await;
    let included = &chain.extrinsics()[0];
    assert_eq!(included.call, "System.remark");
    assert_eq!(included.result, Err("System.CallFiltered".to_owned()));
}

/// A call with these fields, each a variant of `Data`.
fn commit_fields(fields: Vec<Value>) -> subxt::tx::DynamicPayload<Composite<()>> {
    let info = Value::named_composite([("fields", Value::unnamed_composite(fields))]);
    subxt::tx::dynamic(
        "Commitments",
        "set_commitment",
        Composite::Named(vec![
            ("netuid".to_owned(), Value::u128(9)),
            ("info".to_owned(), info),
        ]),
    )
}

#[tokio::test]
async fn more_fields_than_three_cannot_even_be_decoded() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    let none = || Value::unnamed_variant("None", []);
    let four = commit_fields(vec![none(), none(), none(), none()]);
    let extrinsic = signed(&client, &alice, &four, Params::new()).await;
    assert_eq!(submit(&rpc, &extrinsic).await.unwrap_err().0, 1002);
    let three = commit_fields(vec![none(), none(), none()]);
    let extrinsic = signed(&client, &alice, &three, Params::new()).await;
    submit(&rpc, &extrinsic).await.unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics()[0].result, Ok(()));
    let committed = chain.commitment(alice.public()).unwrap();
    assert_eq!((committed.info, committed.data), (vec![12, 0, 0, 0], None));
}

#[tokio::test]
async fn a_payload_of_more_than_256_bytes_is_signed_by_its_hash() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    let big = Value::unnamed_variant("BigRaw", [Value::from_bytes([7u8; 300])]);
    let call = commit_fields(vec![big]);
    let extrinsic = signed(&client, &alice, &call, Params::new()).await;
    submit(&client::rpc(&chain).await, &extrinsic)
        .await
        .unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics()[0].result, Ok(()));
    assert_eq!(chain.commitment(alice.public()).unwrap().info.len(), 304);
}

#[tokio::test]
async fn a_timelocked_commitment_has_its_own_event() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    let locked = Value::named_variant(
        "TimelockEncrypted",
        [
            ("encrypted", Value::from_bytes([1, 2, 3])),
            ("reveal_round", Value::u128(77)),
        ],
    );
    let mut transactions = client.tx().await.unwrap();
    let progress = transactions
        .sign_and_submit_then_watch_default(&commit_fields(vec![locked]), &alice)
        .await
        .unwrap();
    chain.advance(1).await;
    let events = progress.wait_for_finalized_success().await.unwrap();
    let first = events.iter().next().unwrap().unwrap();
    assert_eq!(first.event_name(), "TimelockCommitment");
}
