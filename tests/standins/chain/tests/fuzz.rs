//! Nonsense over the wire: the chain answers, and goes on.
#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use standin_chain::{Options, StandinChain, raw_commitment};
use subxt::rpcs::RpcClient;
use subxt::rpcs::client::rpc_params;

fn cases() -> ProptestConfig {
    let cases = std::env::var("PEREGRINE_FUZZ_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(2000);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A signed extrinsic in form: lengths, tags and extensions are right, keys and
/// signatures are not.
fn extrinsic() -> impl Strategy<Value = Vec<u8>> {
    let parts = (
        any::<[u8; 32]>(),
        any::<[u8; 64]>(),
        prop_oneof![Just(vec![0]), any::<[u8; 2]>().prop_map(Vec::from)],
        0u8..64,
        vec(any::<u8>(), 0..128),
        0u8..=6,
    );
    parts.prop_map(|(signer, signature, era, nonce, data, tag)| {
        let mut body = vec![0x84, 0];
        body.extend(signer);
        body.push(tag.min(1));
        body.extend(signature);
        body.extend(era);
        body.extend([nonce << 2, 0, 0]);
        body.extend([18, 0, 9, 0]);
        body.extend(raw_commitment(&data));
        // The compact length of 64 to 16383 bytes has two of its own.
        let length = u16::try_from(body.len()).unwrap() << 2 | 1;
        [length.to_le_bytes().to_vec(), body].concat()
    })
}

/// Bytes of any kind: an extrinsic, one with changes, or nothing of the sort.
fn submission() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        extrinsic(),
        vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    );
    let changed = changed.prop_map(|(mut bytes, changes)| {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    let cut = (extrinsic(), any::<prop::sample::Index>()).prop_map(|(mut bytes, length)| {
        bytes.truncate(length.index(bytes.len()));
        bytes
    });
    prop_oneof![extrinsic(), changed, cut, vec(any::<u8>(), 0..200)]
}

/// A request with parameters of the wrong kinds.
fn request() -> impl Strategy<Value = (String, Vec<Json>)> {
    let method = prop::sample::select(vec![
        "chain_getBlockHash",
        "chain_getBlock",
        "chain_getHeader",
        "state_getStorage",
        "state_getKeysPaged",
        "state_queryStorageAt",
        "state_call",
        "state_getMetadata",
        "author_submitExtrinsic",
        "system_accountNextIndex",
        "payment_queryInfo",
        "standin_fault",
        "standin_register",
        "standin_commitment",
        "chainHead_v1_storage",
        "chainHead_v1_unpin",
    ]);
    let function = prop::sample::select(vec![
        json!("Core_version"),
        json!("AccountNonceApi_account_nonce"),
        json!("TaggedTransactionQueue_validate_transaction"),
        json!("TransactionPaymentApi_query_info"),
        json!("SubnetInfoRuntimeApi_get_metagraph"),
        json!("SubnetInfoRuntimeApi_get_selective_metagraph"),
        json!("Metadata_metadata_at_version"),
    ]);
    let parameter = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0u32..20).prop_map(Json::from),
        "[0-9a-fx]{0,70}".prop_map(Json::from),
        vec(any::<u8>(), 0..80).prop_map(|bytes| json!(format!("0x{}", hex::encode(bytes)))),
        vec("0x[0-9a-f]{0,8}", 0..3).prop_map(|texts| json!(texts)),
        function,
    ];
    (method.prop_map(str::to_owned), vec(parameter, 0..5))
}

/// A chain, a client of it, and a runtime in which both live.
struct World {
    runtime: tokio::runtime::Runtime,
    chain: StandinChain,
    rpc: RpcClient,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (chain, rpc) = runtime.block_on(async {
            let chain = StandinChain::start(Options::default()).await.unwrap();
            let rpc = RpcClient::from_insecure_url(chain.endpoint())
                .await
                .unwrap();
            (chain, rpc)
        });
        Self {
            runtime,
            chain,
            rpc,
        }
    }

    /// Whether an answer comes: a result or an error answer.
    fn answers(&self, method: &str, params: Vec<Json>) -> Result<Json, i32> {
        let mut raw = rpc_params![];
        for param in params {
            raw.push(param).unwrap();
        }
        let answer = self.runtime.block_on(self.rpc.request(method, raw));
        answer.map_err(|error| match error {
            subxt::rpcs::Error::User(error) => error.code,
            other => panic!("{method} got no answer: {other}"),
        })
    }
}

#[test]
fn no_submission_is_believed_and_none_is_too_much() {
    let world = World::new();
    TestRunner::new(cases())
        .run(&submission(), |bytes| {
            let hex = format!("0x{}", hex::encode(bytes));
            let answer = world.answers("author_submitExtrinsic", vec![json!(hex)]);
            let code = answer.expect_err("nobody has signed it");
            prop_assert!([1001, 1002, 1010, 1012].contains(&code), "{code}");
            Ok(())
        })
        .unwrap();
    let advanced = world.runtime.block_on(world.chain.advance(1));
    assert_eq!(advanced, 2);
    assert_eq!(world.chain.extrinsics(), []);
}

#[test]
fn every_request_gets_an_answer() {
    let world = World::new();
    TestRunner::new(cases())
        .run(&request(), |(method, params)| {
            // Whether result or error: it answers.
            let _ = world.answers(&method, params);
            Ok(())
        })
        .unwrap();
    assert!(world.answers("system_chain", vec![]).is_ok());
}
