//! What comes before a commit: which files are large, and where they go.
//!
//! `POST .../preupload/REV` sorts files into `lfs` and `regular` by
//! `.gitattributes`, size and content, and names the object that is there
//! already (`oid`), by which huggingface_hub leaves out unchanged files.
//! `POST /R.git/info/lfs/objects/batch` chooses the transfer: `xet` if the client
//! offers it. Sources: both clients' upload code and the Git LFS batch API.
//! huggingface_hub's `upload_folder` goes from preupload to the CAS without a
//! batch, so a commit must not rely on one.
//!
//! A Hub that does not offer Xet chooses `basic` and takes uploads by `PUT`.
//! Not modelled: multipart uploads, `.gitignore`, quotas.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{ApiError, Shared, at, base_url, parse};
use crate::attributes;
use crate::front::NoXet;

#[derive(Deserialize)]
struct Preupload {
    files: Vec<PreuploadFile>,
}

#[derive(Deserialize)]
struct PreuploadFile {
    path: String,
    size: u64,
    #[serde(default)]
    sample: String,
}

pub(super) async fn preupload(
    State(hub): Shared,
    Path((namespace, name, revision)): Path<(String, String, String)>,
    no_xet: Option<Extension<NoXet>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = format!("{namespace}/{name}");
    let caller = hub.accounts.caller(&headers)?;
    let repository = hub.visible(&caller, &id)?;
    hub.accounts.may_write(&caller, &id)?;
    let commit = at(&repository, &revision)?;
    let wanted: Preupload = parse(&body)?;
    let attributes = match commit.files.get(".gitattributes") {
        Some(entry) => String::from_utf8_lossy(&hub.store.read(entry)?).into_owned(),
        None => String::new(),
    };
    let mut files = Vec::new();
    for file in wanted.files {
        let sample = STANDARD.decode(&file.sample).map_err(|error| {
            ApiError::bad_request(format!("Invalid sample of {}: {error}", file.path))
        })?;
        let large =
            no_xet.is_none() && attributes::is_large(&attributes, &file.path, file.size, &sample);
        let there = commit.files.get(&file.path).map(|entry| match &entry.lfs {
            Some(lfs) => lfs.sha256.clone(),
            None => entry.oid.clone(),
        });
        files.push(json!({
            "path": file.path,
            "uploadMode": if large { "lfs" } else { "regular" },
            "shouldIgnore": false,
            "oid": there,
        }));
    }
    Ok(Json(json!({ "files": files, "commitOid": commit.id })))
}

#[derive(Deserialize)]
struct Batch {
    operation: String,
    #[serde(default)]
    transfers: Vec<String>,
    objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
struct BatchObject {
    oid: String,
    size: u64,
}

pub(super) async fn batch(
    State(hub): Shared,
    Path((namespace, git)): Path<(String, String)>,
    no_xet: Option<Extension<NoXet>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let caller = hub.accounts.caller(&headers)?;
    let name = git
        .strip_suffix(".git")
        .ok_or_else(|| ApiError::no_repository(&caller))?;
    let id = format!("{namespace}/{name}");
    hub.visible(&caller, &id)?;
    hub.accounts.may_write(&caller, &id)?;
    let wanted: Batch = parse(&body)?;
    if wanted.operation != "upload" {
        return Err(ApiError::bad_request(
            "the stand-in's batch API takes uploads only",
        ));
    }
    let offers_xet = no_xet.is_none() && wanted.transfers.iter().any(|transfer| transfer == "xet");
    let mut objects = Vec::new();
    for object in &wanted.objects {
        let stored = hub.store.lfs_bytes(&object.oid).is_some();
        let mut answer = json!({ "oid": object.oid, "size": object.size });
        if !offers_xet && !stored {
            answer["actions"] = json!({ "upload": { "href": format!("{}/_lfs/{}", base_url(&headers), object.oid), "header": {} } });
        }
        objects.push(answer);
    }
    Ok(Json(
        json!({ "transfer": if offers_xet { "xet" } else { "basic" }, "objects": objects }),
    ))
}

/// Takes a large file without Xet. The address is the permit, as with the signed
/// addresses of the Hub's own storage.
pub(super) async fn store(
    State(hub): Shared,
    Path(sha256): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    if hex::encode(Sha256::digest(&body)) != sha256 {
        return Err(ApiError::bad_request(
            "the content does not have this SHA-256",
        ));
    }
    hub.store.put_lfs(&sha256, &body)?;
    Ok(StatusCode::OK)
}
