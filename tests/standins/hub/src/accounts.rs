//! Who asks, and what they may do.
//!
//! One account, its organizations, and its access tokens, each with a role:
//! `read`, `write`, or `fineGrained` with permissions for single namespaces or
//! repositories. Sources: the Hub's documentation on user access tokens; the
//! shape of `whoami-v2` as huggingface_hub's `HfApi.whoami` and hf-hub's `User`
//! read it. That a token which may not write is answered 403 is documented; the
//! sentences that go with it are ours.
//!
//! Not modelled: other accounts' tokens, OAuth, resource groups, expiry.

use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::store::Repository;

/// An access token of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What clients send.
    pub secret: String,
    /// What it may do.
    pub role: Role,
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Read whatever the account may read.
    Read,
    /// Write too.
    Write,
    /// What its scopes say.
    FineGrained(Vec<Scope>),
}

/// Permissions for one namespace or repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `namespace`, or `namespace/name`.
    pub entity: String,
    /// As the Hub names them: `repo.content.read`, `repo.write` and so on.
    pub permissions: Vec<String>,
}

impl Scope {
    fn covers(&self, repository: &str, permissions: &[&str]) -> bool {
        let namespace = repository
            .split_once('/')
            .map_or(repository, |(namespace, _)| namespace);
        (self.entity == repository || self.entity == namespace)
            && self
                .permissions
                .iter()
                .any(|permission| permissions.contains(&permission.as_str()))
    }
}

/// The account and its tokens.
pub(crate) struct Accounts {
    name: String,
    organizations: Vec<String>,
    tokens: Mutex<Vec<Token>>,
}

/// Who made a request.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    Anonymous,
    Account(Role),
}

impl Accounts {
    pub(crate) fn new(name: String, organizations: Vec<String>, token: Token) -> Accounts {
        Accounts {
            name,
            organizations,
            tokens: Mutex::new(vec![token]),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn add(&self, token: Token) {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(token);
    }

    /// Who sent these headers.
    ///
    /// # Errors
    /// 401 for a token that is not one of the account's.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(Caller::Anonymous);
        };
        let secret = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .iter()
            .find(|token| Some(token.secret.as_str()) == secret)
            .map(|token| Caller::Account(token.role.clone()))
            .ok_or_else(|| ApiError::unauthorized("Invalid credentials in Authorization header"))
    }

    /// Whether the account owns a namespace.
    pub(crate) fn owns(&self, namespace: &str) -> bool {
        self.name == namespace
            || self
                .organizations
                .iter()
                .any(|organization| organization == namespace)
    }

    /// Whether `caller` may know of a repository and list its files. A private
    /// one that they may not see does not exist for them.
    pub(crate) fn may_see(
        &self,
        caller: &Caller,
        id: &str,
        repository: &Repository,
    ) -> Result<(), ApiError> {
        if !repository.private || self.reads(caller, id) {
            return Ok(());
        }
        Err(ApiError::no_repository(caller))
    }

    /// Whether `caller` may read the files of a repository that they can see.
    pub(crate) fn may_read(
        &self,
        caller: &Caller,
        id: &str,
        repository: &Repository,
    ) -> Result<(), ApiError> {
        self.may_see(caller, id, repository)?;
        if repository.gate.is_none() || self.reads(caller, id) {
            return Ok(());
        }
        Err(ApiError::gated(caller, id))
    }

    /// Whether `caller` may write to a repository, or create it.
    pub(crate) fn may_write(&self, caller: &Caller, id: &str) -> Result<(), ApiError> {
        let Caller::Account(role) = caller else {
            return Err(ApiError::unauthorized("Invalid username or password."));
        };
        let namespace = id.split_once('/').map_or(id, |(namespace, _)| namespace);
        let allowed = self.owns(namespace)
            && match role {
                Role::Read => false,
                Role::Write => true,
                Role::FineGrained(scopes) => {
                    scopes.iter().any(|scope| scope.covers(id, &["repo.write"]))
                }
            };
        if allowed {
            return Ok(());
        }
        Err(ApiError::forbidden(match role {
            Role::Read => {
                "Forbidden: you must use a write token to upload to a repository.".to_owned()
            }
            _ => format!("Forbidden: pass a token that may write to {id}."),
        }))
    }

    fn reads(&self, caller: &Caller, id: &str) -> bool {
        let namespace = id.split_once('/').map_or(id, |(namespace, _)| namespace);
        match caller {
            Caller::Anonymous => false,
            Caller::Account(Role::Read | Role::Write) => self.owns(namespace),
            Caller::Account(Role::FineGrained(scopes)) => scopes
                .iter()
                .any(|scope| scope.covers(id, &["repo.content.read", "repo.write"])),
        }
    }

    /// The body of `whoami-v2`.
    pub(crate) fn whoami(&self, role: &Role) -> Value {
        let mut token =
            json!({ "displayName": "standin", "createdAt": "2026-01-01T00:00:00.000Z" });
        match role {
            Role::Read => token["role"] = json!("read"),
            Role::Write => token["role"] = json!("write"),
            Role::FineGrained(scopes) => {
                token["role"] = json!("fineGrained");
                let scoped: Vec<Value> = scopes.iter().map(|scope| self.scope(scope)).collect();
                token["fineGrained"] =
                    json!({ "canReadGatedRepos": false, "global": [], "scoped": scoped });
            }
        }
        let organizations: Vec<Value> = self
            .organizations
            .iter()
            .map(|name| {
                json!({
                    "type": "org", "id": id_of(name), "name": name, "fullname": name, "email": null,
                    "canPay": false, "periodEnd": null, "avatarUrl": "", "roleInOrg": "write",
                    "isEnterprise": false,
                })
            })
            .collect();
        json!({
            "type": "user", "id": id_of(&self.name), "name": self.name, "fullname": self.name,
            "email": null, "emailVerified": true, "canPay": false, "periodEnd": null, "isPro": false,
            "avatarUrl": "", "orgs": organizations,
            "auth": { "type": "access_token", "accessToken": token },
        })
    }

    fn scope(&self, scope: &Scope) -> Value {
        let kind = if scope.entity.contains('/') {
            "model"
        } else if scope.entity == self.name {
            "user"
        } else {
            "org"
        };
        json!({
            "entity": { "_id": id_of(&scope.entity), "type": kind, "name": scope.entity },
            "permissions": scope.permissions,
        })
    }
}

/// An id as the Hub's database gives them: 24 hexadecimal digits.
pub(crate) fn id_of(name: &str) -> String {
    use sha2::Digest as _;
    hex::encode(&sha2::Sha256::digest(name)[..12])
}
