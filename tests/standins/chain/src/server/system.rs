//! `system_*` and `rpc_methods`.

use serde_json::{Value as Json, json};
use subxt::utils::AccountId32;

use super::control;
use super::rpc::{Params, RpcError};
use super::shared::{Inner, Outcome};
use crate::Methods;

/// The methods of every node.
const LEGACY: [&str; 54] = [
    "account_nextIndex",
    "author_pendingExtrinsics",
    "author_submitAndWatchExtrinsic",
    "author_submitExtrinsic",
    "author_unwatchExtrinsic",
    "chain_getBlock",
    "chain_getBlockHash",
    "chain_getFinalisedHead",
    "chain_getFinalizedHead",
    "chain_getHead",
    "chain_getHeader",
    "chain_getRuntimeVersion",
    "chain_subscribeAllHeads",
    "chain_subscribeFinalisedHeads",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeNewHead",
    "chain_subscribeNewHeads",
    "chain_subscribeRuntimeVersion",
    "chain_unsubscribeAllHeads",
    "chain_unsubscribeFinalisedHeads",
    "chain_unsubscribeFinalizedHeads",
    "chain_unsubscribeNewHead",
    "chain_unsubscribeNewHeads",
    "chain_unsubscribeRuntimeVersion",
    "payment_queryInfo",
    "rpc_methods",
    "state_call",
    "state_callAt",
    "state_getKeys",
    "state_getKeysPaged",
    "state_getKeysPagedAt",
    "state_getMetadata",
    "state_getRuntimeVersion",
    "state_getStorage",
    "state_getStorageAt",
    "state_getStorageHash",
    "state_getStorageSize",
    "state_queryStorage",
    "state_queryStorageAt",
    "state_subscribeRuntimeVersion",
    "state_subscribeStorage",
    "state_unsubscribeRuntimeVersion",
    "state_unsubscribeStorage",
    "system_accountNextIndex",
    "system_chain",
    "system_chainType",
    "system_health",
    "system_localPeerId",
    "system_name",
    "system_nodeRoles",
    "system_peers",
    "system_properties",
    "system_syncState",
    "system_version",
];

/// The methods of the new specification.
const NEW: [&str; 16] = [
    "chainHead_v1_body",
    "chainHead_v1_call",
    "chainHead_v1_continue",
    "chainHead_v1_follow",
    "chainHead_v1_header",
    "chainHead_v1_stopOperation",
    "chainHead_v1_storage",
    "chainHead_v1_unfollow",
    "chainHead_v1_unpin",
    "chainSpec_v1_chainName",
    "chainSpec_v1_genesisHash",
    "chainSpec_v1_properties",
    "transactionWatch_v1_submitAndWatch",
    "transactionWatch_v1_unwatch",
    "transaction_v1_broadcast",
    "transaction_v1_stop",
];

/// The chain's name.
pub(super) const CHAIN: &str = "Bittensor stand-in";

/// Token and address format, as mainnet's chain specification has them.
pub(super) fn properties() -> Json {
    json!({ "ss58Format": 42, "tokenDecimals": 9, "tokenSymbol": "TAO" })
}

pub(super) fn call(
    inner: &mut Inner,
    method: &str,
    params: &Params,
    methods: Methods,
) -> Result<Outcome, RpcError> {
    let best = inner.node.best().header.number;
    let result = match method {
        "rpc_methods" => {
            let mut names = LEGACY.to_vec();
            if methods == Methods::All {
                names.extend(NEW);
            }
            names.extend(control::METHODS);
            names.sort_unstable();
            json!({ "methods": names })
        }
        "system_accountNextIndex" | "account_nextIndex" => {
            let account: AccountId32 = params.required(0)?;
            Json::from(inner.node.next_nonce(&account))
        }
        "system_chain" => Json::from(CHAIN),
        "system_chainType" => Json::from("Development"),
        "system_name" => Json::from("standin-chain"),
        "system_version" => Json::from(env!("CARGO_PKG_VERSION")),
        "system_properties" => properties(),
        "system_health" => json!({ "peers": 1, "isSyncing": false, "shouldHavePeers": false }),
        "system_localPeerId" => Json::from("12D3KooWStandin"),
        "system_nodeRoles" => json!(["Full"]),
        "system_peers" => json!([]),
        "system_syncState" => json!({
            "startingBlock": 0,
            "currentBlock": best,
            "highestBlock": best,
        }),
        _ => return Err(RpcError::method_not_found()),
    };
    Ok(Outcome::of(result))
}
