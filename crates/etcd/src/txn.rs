//! Short names for the parts of a transaction.

use crate::wire::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::request_op::Request;
use crate::wire::response_op::Response;
use crate::wire::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnResponse,
};

/// The key was created by this revision; 0: it is not there.
#[must_use]
pub fn created_by(key: &[u8], revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.to_vec(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// The key is there and has this value.
#[must_use]
pub fn value_is(key: &[u8], value: &[u8]) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: key.to_vec(),
        target_union: Some(TargetUnion::Value(value.to_vec())),
    }
}

/// Writes a key.
#[must_use]
pub fn put(key: Vec<u8>, value: Vec<u8>) -> RequestOp {
    put_with_lease(key, value, 0)
}

/// Writes a key that goes with a lease.
#[must_use]
pub fn put_with_lease(key: Vec<u8>, value: Vec<u8>, lease: i64) -> RequestOp {
    operation(Request::RequestPut(PutRequest { key, value, lease }))
}

/// Deletes a key, if it is there.
#[must_use]
pub fn delete(key: Vec<u8>) -> RequestOp {
    delete_range(key, Vec::new())
}

/// Deletes every key from `key` on and before `end`.
#[must_use]
pub fn delete_range(key: Vec<u8>, end: Vec<u8>) -> RequestOp {
    operation(Request::RequestDeleteRange(DeleteRangeRequest {
        key,
        range_end: end,
    }))
}

/// Reads.
#[must_use]
pub fn range(request: RangeRequest) -> RequestOp {
    operation(Request::RequestRange(request))
}

/// Reads one key.
#[must_use]
pub fn get(key: &[u8]) -> RequestOp {
    range(RangeRequest {
        key: key.to_vec(),
        ..RangeRequest::default()
    })
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// What each read of a transaction found, and whether it left some out; nothing
/// for other operations.
#[must_use]
pub fn found(response: TxnResponse) -> Vec<(Vec<KeyValue>, bool)> {
    let of = |response| match response {
        Some(Response::ResponseRange(range)) => (range.kvs, range.more),
        _ => (Vec::new(), false),
    };
    response
        .responses
        .into_iter()
        .map(|operation| of(operation.response))
        .collect()
}
