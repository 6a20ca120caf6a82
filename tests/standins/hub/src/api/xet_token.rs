//! Tokens for the CAS.
//!
//! The same three values in the body and in headers: hf-hub reads the one,
//! huggingface_hub the other. The address of the CAS is given with the host name
//! by which the client reached the Hub. Source: the Xet protocol's page on
//! authentication.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{ApiError, Shared, at, with_port};
use crate::cas::{Access, issue};
use crate::hub::Hub;

type Target = Path<(String, String, String)>;

pub(super) async fn read(
    State(hub): Shared,
    Path(target): Target,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = format!("{}/{}", target.0, target.1);
    let caller = hub.accounts.caller(&headers)?;
    let repository = hub.visible(&caller, &id)?;
    hub.accounts.may_read(&caller, &id, &repository)?;
    at(&repository, &target.2)?;
    Ok(token(&hub, &headers, Access::Read))
}

pub(super) async fn write(
    State(hub): Shared,
    Path(target): Target,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = format!("{}/{}", target.0, target.1);
    let caller = hub.accounts.caller(&headers)?;
    let repository = hub.visible(&caller, &id)?;
    hub.accounts.may_write(&caller, &id)?;
    at(&repository, &target.2)?;
    Ok(token(&hub, &headers, Access::Write))
}

fn token(hub: &Arc<Hub>, headers: &HeaderMap, access: Access) -> Response {
    let (token, expires) = issue(access);
    let url = with_port(headers, hub.cas_port);
    let named = [
        ("X-Xet-Access-Token", token.clone()),
        ("X-Xet-Token-Expiration", expires.to_string()),
        ("X-Xet-Cas-Url", url.clone()),
    ];
    (
        named,
        Json(json!({ "accessToken": token, "exp": expires, "casUrl": url })),
    )
        .into_response()
}
