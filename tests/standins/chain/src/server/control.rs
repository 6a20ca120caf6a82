//! `standin_*`: what scripts tell a stand-in that runs as a program.
//!
//! | method | parameters | answer |
//! |---|---|---|
//! | `standin_status` | | `{"best", "finalized", "pending", "connections"}` |
//! | `standin_advance` | number of blocks, 1 by default | as `standin_status` |
//! | `standin_register` | `{"hotkey", "uid"?, "incentive"?, "coldkey"?, "netuid"?, "validator"?}` | the uid |
//! | `standin_commitment` | `{"hotkey", "text" or "info", "block"?, "netuid"?}` | `null` |
//! | `standin_commitments` | | `[{"netuid", "hotkey", "block", "text", "info"}]` |
//! | `standin_fault` | a [`Fault`], as `{"kind": …}` | `null` |
//!
//! Accounts are ss58 addresses, `info` is an encoded `CommitmentInfo` in hexadecimal,
//! `incentive` is between 0 and 1.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use subxt::utils::AccountId32;

use super::gates::Gates;
use super::rpc::{Params, RpcError, unhex};
use super::shared::{Inner, Outcome};
use crate::Fault;
use crate::chain::{SLOT_MS, hex};
use crate::ledger::{self, Neuron};
use crate::runtime::{MAX_RAW, raw_field};

/// All of them.
pub(super) const METHODS: [&str; 6] = [
    "standin_advance",
    "standin_commitment",
    "standin_commitments",
    "standin_fault",
    "standin_register",
    "standin_status",
];

/// The code of what a stand-in cannot do.
const IMPOSSIBLE: i64 = -32_000;

/// The most blocks that one request makes.
const MAX_ADVANCE: u32 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    hotkey: AccountId32,
    coldkey: Option<AccountId32>,
    uid: Option<u16>,
    #[serde(default)]
    incentive: f64,
    netuid: Option<u16>,
    #[serde(default)]
    validator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commitment {
    hotkey: AccountId32,
    text: Option<String>,
    info: Option<String>,
    block: Option<u32>,
    netuid: Option<u16>,
}

pub(super) fn call(
    inner: &mut Inner,
    gates: &Gates,
    method: &str,
    params: &Params,
) -> Result<Outcome, RpcError> {
    let result = match method {
        "standin_status" => status(inner),
        "standin_advance" => {
            let blocks: u32 = params.optional(0)?.unwrap_or(1);
            if blocks > MAX_ADVANCE {
                return Err(RpcError::invalid_params(format!(
                    "at most {MAX_ADVANCE} blocks at once"
                )));
            }
            for _ in 0..blocks {
                let timestamp_ms = inner.node.best().timestamp_ms + SLOT_MS;
                inner.node.author(timestamp_ms);
                inner.deliver();
            }
            status(inner)
        }
        "standin_register" => {
            let register: Register = params.required(0)?;
            if !(0.0..=1.0).contains(&register.incentive) {
                return Err(RpcError::invalid_params("incentive is between 0 and 1"));
            }
            let neuron = Neuron {
                netuid: register.netuid.unwrap_or(inner.netuid),
                hotkey: register.hotkey.0,
                coldkey: register.coldkey.unwrap_or(register.hotkey).0,
                uid: register.uid,
                incentive: register.incentive,
                validator_permit: register.validator,
            };
            Json::from(ledger::register(&mut inner.node, &neuron))
        }
        "standin_commitment" => {
            set_commitment(inner, params.required(0)?)?;
            Json::Null
        }
        "standin_commitments" => {
            let commitments = ledger::commitments(&inner.node);
            commitments
                .iter()
                .map(|commitment| {
                    json!({
                        "netuid": commitment.netuid,
                        "hotkey": AccountId32(commitment.hotkey).to_string(),
                        "block": commitment.block,
                        "text": commitment.text(),
                        "info": hex(&commitment.info),
                    })
                })
                .collect()
        }
        "standin_fault" => {
            let fault: Fault = params.required(0)?;
            fault
                .inject(inner, gates)
                .map_err(|error| RpcError::new(IMPOSSIBLE, error.to_string()))?;
            Json::Null
        }
        _ => return Err(RpcError::method_not_found()),
    };
    Ok(Outcome::of(result))
}

fn status(inner: &Inner) -> Json {
    json!(inner.heads())
}

fn set_commitment(inner: &mut Inner, commitment: Commitment) -> Result<(), RpcError> {
    let info = match (commitment.text, commitment.info) {
        (Some(text), None) if text.len() <= MAX_RAW => raw_field(text.as_bytes()),
        (Some(_), None) => {
            return Err(RpcError::invalid_params(format!(
                "text has at most {MAX_RAW} bytes"
            )));
        }
        (None, Some(info)) => unhex(&info)?,
        _ => return Err(RpcError::invalid_params("give either text or info")),
    };
    let netuid = commitment.netuid.unwrap_or(inner.netuid);
    let block = commitment.block.unwrap_or(inner.node.best().header.number);
    ledger::set_commitment(&mut inner.node, netuid, &commitment.hotkey, block, &info);
    Ok(())
}
