//! What a client sees of a chain on which nothing goes wrong.

use standin_chain::{Clock, Methods, Options, StandinChain};
use subxt::ext::scale_value::Value;
use subxt::tx::TransactionStatus;

use crate::client::{self, Dev, Reader, commit_call};

#[tokio::test]
async fn a_commitment_is_signed_included_finalized_and_read_back() {
    for methods in [Methods::All, Methods::Legacy] {
        let chain = StandinChain::start(Options {
            methods,
            ..Options::default()
        })
        .await
        .unwrap();
        let alice = Dev::alice();
        chain.register(alice.public(), 3, 0.5);
        let client = client::connect(&chain).await;

        let mut transactions = client.tx().await.unwrap();
        let call = commit_call(9, b"namespace:name:commit:hash");
        let mut progress = transactions
            .sign_and_submit_then_watch_default(&call, &alice)
            .await
            .unwrap();
        chain.advance(1).await;
        let in_block = loop {
            match progress.next().await.unwrap().unwrap() {
                TransactionStatus::InBestBlock(block) => break block,
                TransactionStatus::Validated | TransactionStatus::Broadcasted => {}
                other => panic!("{other:?}"),
            }
        };
        chain.advance(2).await;
        let finalized = loop {
            match progress.next().await.unwrap().unwrap() {
                TransactionStatus::InFinalizedBlock(block) => break block,
                TransactionStatus::InBestBlock(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(finalized.block_hash(), in_block.block_hash());
        let events = finalized.wait_for_success().await.unwrap();
        let names: Vec<String> = events
            .iter()
            .map(|event| {
                let event = event.unwrap();
                format!("{}.{}", event.pallet_name(), event.event_name())
            })
            .collect();
        let expected = [
            "Commitments.Commitment",
            "TransactionPayment.TransactionFeePaid",
            "System.ExtrinsicSuccess",
        ];
        assert_eq!(names, expected);

        let reader = Reader::new(&client).await;
        let commitment = reader.commitment(9, alice.public()).await.unwrap();
        assert_eq!(commitment.0, 2, "the block");
        assert_eq!(commitment.1, b"namespace:name:commit:hash");
        let ours = chain.commitment(alice.public()).unwrap();
        assert_eq!(ours.text(), Some("namespace:name:commit:hash"));
        assert_eq!(chain.extrinsics()[0].result, Ok(()));
    }
}

#[tokio::test]
async fn storage_of_the_subnet_reads_by_the_metadata() {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    let (alice, bob) = (Dev::alice(), Dev::bob());
    chain.register(alice.public(), 0, 0.25);
    chain.register(bob.public(), 2, 1.0);
    let client = client::connect(&chain).await;
    let reader = Reader::new(&client).await;
    let netuid = Value::u128(9);
    let subnet = |entry: &'static str| ("SubtensorModule", entry);

    let number = reader
        .number(subnet("SubnetworkN"), vec![netuid.clone()])
        .await;
    assert_eq!(number, Some(3));
    let keys = vec![netuid.clone(), Value::from_bytes(bob.public())];
    assert_eq!(reader.number(subnet("Uids"), keys).await, Some(2));
    let stranger = vec![netuid.clone(), Value::from_bytes([9; 32])];
    assert_eq!(reader.number(subnet("Uids"), stranger).await, None);
    let incentive: Vec<u16> = reader
        .decoded(subnet("Incentive"), vec![netuid.clone()])
        .await
        .unwrap();
    assert_eq!(incentive, [16_384, 0, 65_535]);
    let key: [u8; 32] = reader
        .decoded(subnet("Keys"), vec![netuid.clone(), Value::u128(2)])
        .await
        .unwrap();
    assert_eq!(key, bob.public());
    let missing: [u8; 32] = reader
        .decoded(subnet("Keys"), vec![netuid, Value::u128(7)])
        .await
        .unwrap();
    assert_eq!(missing, [0; 32], "a missing uid has the default account");
}

#[tokio::test]
async fn blocks_come_by_the_clock() {
    let chain = StandinChain::start(Options {
        clock: Clock::Every(std::time::Duration::from_millis(5)),
        ..Options::default()
    })
    .await
    .unwrap();
    let client = client::connect(&chain).await;
    let mut blocks = client.stream_blocks().await.unwrap();
    let first = blocks.next().await.unwrap().unwrap();
    let second = blocks.next().await.unwrap().unwrap();
    assert!(second.number() > first.number());
    assert!(chain.heads().best >= second.number() as u32);
}
