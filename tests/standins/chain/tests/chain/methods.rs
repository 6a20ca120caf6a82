//! The JSON-RPC methods themselves.

use serde_json::{Value as Json, json};
use standin_chain::{Methods, Options, StandinChain};
use subxt::config::{Header as _, RpcConfigFor};
use subxt::ext::codec::{Decode as _, Encode as _};
use subxt::ext::scale_value::Value;
use subxt::rpcs::LegacyRpcMethods;
use subxt::rpcs::client::rpc_params;
use subxt::utils::H256;
use subxt::{Metadata, SubstrateConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{
    self, Dev, Params, Reader, commit_call, prompt_chain, prompt_options, refusal, signed,
};

type Legacy = LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>;

#[tokio::test]
async fn headers_hash_to_their_blocks_and_link_to_their_parents() {
    let chain = prompt_chain().await;
    chain.advance(5).await;
    let legacy = Legacy::new(client::rpc(&chain).await);
    let mut hash = legacy.chain_get_block_hash(None).await.unwrap().unwrap();
    for number in (2..=6).rev() {
        let header = legacy.chain_get_header(Some(hash)).await.unwrap().unwrap();
        assert_eq!(header.number(), number);
        let encoded = sp_crypto_hashing::blake2_256(&header.encode());
        assert_eq!(H256(encoded), hash);
        let number = Some(number.into());
        assert_eq!(
            legacy.chain_get_block_hash(number).await.unwrap(),
            Some(hash)
        );
        hash = header.parent_hash;
    }
    let missing = Some(99u64.into());
    assert_eq!(legacy.chain_get_block_hash(missing).await.unwrap(), None);
    assert_eq!(
        legacy.chain_get_header(Some(H256([7; 32]))).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn every_block_tells_its_time() {
    let chain = StandinChain::start(Options {
        start_time_ms: Some(1_700_000_000_000),
        ..prompt_options()
    })
    .await
    .unwrap();
    chain.advance(2).await;
    let client = client::connect(&chain).await;
    let reader = Reader::new(&client).await;
    let now: Option<u64> = reader.decoded(("Timestamp", "Now"), vec![]).await;
    assert_eq!(now, Some(1_700_000_024_000));
    let number: Option<u32> = reader.decoded(("System", "Number"), vec![]).await;
    assert_eq!(number, Some(3));
    let events = client.at_current_block().await.unwrap();
    let events = events.events().fetch().await.unwrap();
    assert_eq!(events.iter().count(), 1, "the inherent's success");
}

#[tokio::test]
async fn metadata_says_the_same_in_all_versions() {
    let chain = prompt_chain().await;
    let legacy = Legacy::new(client::rpc(&chain).await);
    let opaque = |bytes: Vec<u8>| Vec::<u8>::decode(&mut bytes.as_slice()).unwrap();
    let at_version = async |version: u32| {
        let argument = version.encode();
        let answer = legacy
            .state_call("Metadata_metadata_at_version", Some(&argument), None)
            .await
            .unwrap();
        Option::<Vec<u8>>::decode(&mut answer.as_slice()).unwrap()
    };
    let versions = legacy.state_call("Metadata_metadata_versions", None, None);
    let versions = Vec::<u32>::decode(&mut versions.await.unwrap().as_slice()).unwrap();
    assert_eq!(versions, [14, 15, 16]);
    let hash = |bytes: &[u8]| {
        let metadata = Metadata::decode_from(bytes).unwrap();
        let commitments = metadata.pallet_by_name("Commitments").unwrap();
        let call = commitments.call_hash("set_commitment").unwrap();
        let entry = commitments.storage_hash("CommitmentOf").unwrap();
        let extensions = metadata.extrinsic();
        let extensions: Vec<String> = extensions
            .transaction_extensions_by_version(0)
            .unwrap()
            .map(|extension| extension.identifier().to_owned())
            .collect();
        (call, entry, extensions)
    };
    let newest = hash(&at_version(16).await.unwrap());
    assert_eq!(hash(&at_version(15).await.unwrap()), newest);
    assert_eq!(hash(&at_version(14).await.unwrap()), newest);
    assert_eq!(at_version(13).await, None);
    let plain = legacy.state_call("Metadata_metadata", None, None).await;
    let plain = opaque(plain.unwrap());
    let by_method = legacy.state_get_metadata(None).await.unwrap().into_raw();
    assert_eq!(by_method, plain);
    assert_eq!(hash(&plain), newest);
}

#[tokio::test]
async fn commitments_are_iterated_page_by_page() {
    for methods in [Methods::Legacy, Methods::All] {
        let chain = StandinChain::start(Options {
            methods,
            ..Options::default()
        })
        .await
        .unwrap();
        for seed in 0..150 {
            chain.set_commitment(Dev::of(seed).public(), &format!("commitment {seed}"));
        }
        chain.set_commitment_raw([9; 32], 7, &[4, 255, 1]);
        let client = client::connect(&chain).await;
        let block = client.at_current_block().await.unwrap();
        let address = subxt::dynamic::storage::<Vec<Value>, Value>("Commitments", "CommitmentOf");
        let netuid = vec![Value::u128(9)];
        let mut entries = block.storage().iter(address, netuid).await.unwrap();
        let mut values = 0;
        while let Some(entry) = entries.next().await {
            let bytes = entry.unwrap().value().bytes().to_vec();
            if bytes.ends_with(&[4, 255, 1]) {
                assert_eq!(bytes[8..12], 7u32.to_le_bytes());
            }
            values += 1;
        }
        assert_eq!(values, 151);
    }
}

#[tokio::test]
async fn a_batch_of_values_is_read_at_one_block() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let legacy = Legacy::new(rpc.clone());
    let key = [
        sp_crypto_hashing::twox_128(b"System"),
        sp_crypto_hashing::twox_128(b"Number"),
    ]
    .concat();
    let missing = vec![1u8; 32];
    let first = legacy.chain_get_block_hash(None).await.unwrap().unwrap();
    chain.advance(2).await;
    let keys = [key.as_slice(), missing.as_slice()];
    let sets = legacy
        .state_query_storage_at(keys, Some(first))
        .await
        .unwrap();
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].block, first);
    let values: Vec<Option<Vec<u8>>> = sets[0]
        .changes
        .iter()
        .map(|(_, value)| value.as_ref().map(|value| value.0.clone()))
        .collect();
    assert_eq!(values, [Some(vec![1, 0, 0, 0]), None]);
    let history = legacy.state_query_storage(keys, first, None).await.unwrap();
    assert_eq!(history.len(), 3, "every block has another number");
}

#[tokio::test]
async fn states_are_discarded_but_headers_stay() {
    let chain = StandinChain::start(Options {
        state_pruning: 3,
        ..prompt_options()
    })
    .await
    .unwrap();
    chain.advance(10).await;
    let legacy = Legacy::new(client::rpc(&chain).await);
    let old = legacy
        .chain_get_block_hash(Some(4u64.into()))
        .await
        .unwrap();
    assert!(legacy.chain_get_header(old).await.unwrap().is_some());
    let refused = legacy.state_get_storage(&[1], old).await.unwrap_err();
    let (code, message, _) = refusal(refused);
    assert_eq!(code, 4003);
    assert!(message.contains("State already discarded"), "{message}");
    let recent = legacy
        .chain_get_block_hash(Some(8u64.into()))
        .await
        .unwrap();
    assert_eq!(legacy.state_get_storage(&[1], recent).await.unwrap(), None);
    let unknown = legacy.state_get_storage(&[1], Some(H256([1; 32]))).await;
    assert_eq!(refusal(unknown.unwrap_err()).0, 4003);
}

#[tokio::test]
async fn a_chain_opens_at_a_given_height() {
    let chain = StandinChain::start(Options {
        start_block: 2_500_000,
        ..prompt_options()
    })
    .await
    .unwrap();
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    assert_eq!(Reader::new(&client).await.block(), 2_500_000);
    assert_eq!(client::commit(&chain, &client, &alice, b"x").await, Ok(()));
    assert_eq!(chain.commitments()[0].block, 2_500_001);
    let legacy = Legacy::new(client::rpc(&chain).await);
    let between = legacy.chain_get_block_hash(Some(77u64.into())).await;
    assert_eq!(between.unwrap(), None);
    assert_eq!(client.genesis_hash(), legacy.genesis_hash().await.unwrap());
}

#[tokio::test]
async fn an_extrinsic_can_be_tried_without_submitting_it() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let alice = Dev::alice();
    let transactions = client.tx().await.unwrap();
    let extrinsic = signed(&client, &alice, &commit_call(9, b"x"), Params::new()).await;
    let extrinsic = transactions.from_bytes(extrinsic);
    assert!(extrinsic.validate().await.unwrap().is_valid());
    let mut broken = extrinsic.encoded().to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let broken = transactions.from_bytes(broken);
    assert!(!broken.validate().await.unwrap().is_valid());
    assert_eq!(chain.submissions(), []);
    let rpc = client::rpc(&chain).await;
    let fee: Json = rpc
        .request(
            "payment_queryInfo",
            rpc_params![client::hex(extrinsic.encoded())],
        )
        .await
        .unwrap();
    assert_eq!(fee["partialFee"], "0");
}

#[tokio::test]
async fn what_there_is_not_is_said_so() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let code = async |method: &str, params| {
        let answer: Result<Json, _> = rpc.request(method, params).await;
        refusal(answer.unwrap_err()).0
    };
    assert_eq!(code("chain_getNonsense", rpc_params![]).await, -32_601);
    let legacy_only = code("chainHead_v1_follow", rpc_params![false]).await;
    assert_eq!(legacy_only, -32_601);
    assert_eq!(code("state_getStorage", rpc_params![]).await, -32_602);
    let function = rpc_params!["Nonsense_api", "0x"];
    assert_eq!(code("state_call", function).await, 4003);
    let trap = rpc_params!["AccountNonceApi_account_nonce", "0x00"];
    assert_eq!(code("state_call", trap).await, 4003);
    let page = rpc_params!["0x", 1001u32];
    assert_eq!(code("state_getKeysPaged", page).await, 4002);
}

#[tokio::test]
async fn requests_come_over_http_too() {
    let chain = prompt_chain().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "system_chain", "params": [] },
        { "jsonrpc": "2.0", "id": 2, "method": "chain_subscribeNewHeads" },
    ]);
    let answers = post(&chain, &batch.to_string()).await;
    assert_eq!(answers[0]["result"], "Bittensor stand-in");
    assert_eq!(answers[1]["error"]["code"], -32_601, "no subscriptions");
    let single = json!({ "id": 3, "method": "system_properties" });
    let answer = post(&chain, &single.to_string()).await;
    assert_eq!(answer["result"]["ss58Format"], 42);
    let broken = post(&chain, "{").await;
    assert_eq!(broken["error"]["code"], -32_700);
}

/// Sends one HTTP request and returns its body.
async fn post(chain: &StandinChain, body: &str) -> Json {
    let mut stream = tokio::net::TcpStream::connect(chain.address())
        .await
        .unwrap();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: chain\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn scripts_turn_the_crank() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let alice = subxt::utils::AccountId32(Dev::alice().public()).to_string();
    let neuron = json!({ "hotkey": alice, "incentive": 0.5 });
    let uid: u16 = rpc
        .request("standin_register", rpc_params![neuron])
        .await
        .unwrap();
    assert_eq!(uid, 0);
    let commitment = json!({ "hotkey": alice, "text": "a:b:c:d" });
    let _: Json = rpc
        .request("standin_commitment", rpc_params![commitment])
        .await
        .unwrap();
    let status: Json = rpc
        .request("standin_advance", rpc_params![4])
        .await
        .unwrap();
    assert_eq!(status["best"], 5);
    let commitments: Json = rpc
        .request("standin_commitments", rpc_params![])
        .await
        .unwrap();
    assert_eq!(commitments[0]["text"], "a:b:c:d");
    assert_eq!(commitments[0]["hotkey"], alice);
    let stall = json!({ "kind": "stall_finality", "stalled": true });
    let _: Json = rpc
        .request("standin_fault", rpc_params![stall])
        .await
        .unwrap();
    let status: Json = rpc.request("standin_advance", rpc_params![]).await.unwrap();
    assert_eq!(
        (&status["best"], &status["finalized"]),
        (&json!(6), &json!(5))
    );
    let nonsense = json!({ "kind": "nonsense" });
    let refused: Result<Json, _> = rpc.request("standin_fault", rpc_params![nonsense]).await;
    assert_eq!(refusal(refused.unwrap_err()).0, -32_602);
}
