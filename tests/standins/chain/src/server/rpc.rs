//! JSON-RPC 2.0: requests, parameters, errors.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use subxt::utils::H256;

use crate::chain::{Refused, StateError};
use crate::runtime::ApiError;

/// One request. The answer repeats its id.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    #[serde(default)]
    pub(crate) id: Json,
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) params: Params,
}

/// Parameters by position.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Params(Option<Vec<Json>>);

/// An error answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Json>,
}

impl Params {
    /// The parameter at `index`, or `None` if it is missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(
        &self,
        index: usize,
    ) -> Result<Option<T>, RpcError> {
        match self.0.as_ref().and_then(|params| params.get(index)) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(RpcError::invalid_params),
        }
    }

    /// The parameter at `index`.
    pub(crate) fn required<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        self.optional(index)?
            .ok_or_else(|| RpcError::invalid_params(format!("parameter {index} is missing")))
    }

    /// A block's hash.
    pub(crate) fn hash(&self, index: usize) -> Result<Option<H256>, RpcError> {
        self.optional(index)
    }

    /// Bytes in hexadecimal, with or without `0x`.
    pub(crate) fn bytes(&self, index: usize) -> Result<Vec<u8>, RpcError> {
        unhex(&self.required::<String>(index)?)
    }
}

/// Bytes in hexadecimal, with or without `0x`.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, RpcError> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(RpcError::invalid_params)
}

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn with_data(code: i64, message: impl Into<String>, data: impl Into<Json>) -> Self {
        Self {
            code,
            message: message.into(),
            data: Some(data.into()),
        }
    }

    pub(crate) fn invalid_params(reason: impl ToString) -> Self {
        Self::with_data(-32602, "Invalid params", reason.to_string())
    }

    pub(crate) fn method_not_found() -> Self {
        Self::new(-32601, "Method not found")
    }

    fn json(&self) -> Json {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}

impl From<StateError> for RpcError {
    fn from(error: StateError) -> Self {
        Self::new(4003, format!("Client error: {error}"))
    }
}

impl From<ApiError> for RpcError {
    fn from(error: ApiError) -> Self {
        Self::new(4003, format!("Client error: {error}"))
    }
}

/// Codes and texts of `sc-rpc-api`'s `author/error.rs`.
impl From<Refused> for RpcError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::BadFormat => Self::new(
                1001,
                "Extrinsic has invalid format: Codec error: Not enough data to fill buffer",
            ),
            Refused::Undecodable => {
                let reason = format!("Runtime error: {}", ApiError::Trap);
                Self::with_data(1002, format!("Verification Error: {reason}"), reason)
            }
            Refused::Invalid(invalid) => {
                Self::with_data(1010, "Invalid Transaction", invalid.message())
            }
            Refused::TemporarilyBanned => Self::new(1012, "Transaction is temporarily banned"),
            Refused::AlreadyImported(hash) => {
                Self::with_data(1013, "Transaction Already Imported", format!("[{hash:?}]"))
            }
            Refused::TooLowPriority { old, new } => Self::with_data(
                1014,
                format!("Priority is too low: ({old} vs {new})"),
                "The transaction has too low priority to replace another transaction already in \
                 the pool.",
            ),
            Refused::ImmediatelyDropped => Self::with_data(
                1016,
                "Immediately Dropped",
                "The transaction couldn't enter the pool because of the limit",
            ),
        }
    }
}

/// The answer to a request.
pub(crate) fn response(id: &Json, result: &Result<Json, RpcError>) -> Json {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.json() }),
    }
}
