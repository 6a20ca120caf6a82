//! Errors as the Hub answers them: a status, a sentence, and a code.
//!
//! The codes in `X-Error-Code` and when they come are those that
//! huggingface_hub's `hf_raise_for_status` tells apart; the sentences are as
//! clients' issue trackers quote them, where they do, and ours elsewhere.

use std::io;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::rejection::FormRejection};
use serde_json::{Value, json};

use crate::accounts::Caller;
use crate::cas::CasError;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    code: Option<&'static str>,
    more: Value,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            message: message.into(),
            code: None,
            more: Value::Null,
        }
    }

    fn coded(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code: Some(code),
            ..ApiError::new(status, message)
        }
    }

    pub(crate) fn unauthorized(message: &str) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such repository, or `caller` may not know of it. Without a
    /// token the Hub does not say which, and answers 401.
    pub(crate) fn no_repository(caller: &Caller) -> ApiError {
        match caller {
            Caller::Anonymous => ApiError::coded(
                StatusCode::UNAUTHORIZED,
                "RepoNotFound",
                "Invalid username or password.",
            ),
            Caller::Account(_) => ApiError::coded(
                StatusCode::NOT_FOUND,
                "RepoNotFound",
                "Repository not found",
            ),
        }
    }

    pub(crate) fn gated(caller: &Caller, id: &str) -> ApiError {
        let status = match caller {
            Caller::Anonymous => StatusCode::UNAUTHORIZED,
            Caller::Account(_) => StatusCode::FORBIDDEN,
        };
        let message =
            format!("Access to model {id} is restricted and you are not in the authorized list.");
        ApiError::coded(status, "GatedRepo", message)
    }

    pub(crate) fn no_revision(revision: &str) -> ApiError {
        ApiError::coded(
            StatusCode::NOT_FOUND,
            "RevisionNotFound",
            format!("Invalid rev id: {revision}"),
        )
    }

    pub(crate) fn no_entry(path: &str) -> ApiError {
        ApiError::coded(
            StatusCode::NOT_FOUND,
            "EntryNotFound",
            format!("Entry not found: {path}"),
        )
    }

    /// Adds a field to the body.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.more = json!({ name: value.into() });
        self
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> ApiError {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the stand-in's storage failed: {error}"),
        )
    }
}

impl From<CasError> for ApiError {
    fn from(error: CasError) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<FormRejection> for ApiError {
    fn from(rejection: FormRejection) -> ApiError {
        ApiError::bad_request(rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(code) = self.code {
            headers.insert(
                HeaderName::from_static("x-error-code"),
                HeaderValue::from_static(code),
            );
        }
        if let Ok(message) = HeaderValue::from_str(&self.message) {
            headers.insert(HeaderName::from_static("x-error-message"), message);
        }
        let mut body = json!({ "error": self.message });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), self.more) {
            body.extend(more);
        }
        (self.status, headers, Json(body)).into_response()
    }
}
