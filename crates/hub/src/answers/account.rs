//! `GET /api/whoami-v2`: whose token this is, and what it may do.

use serde::Deserialize;
use subnet::RepoId;

use super::{AnswerError, json, text};

/// Whom a token belongs to, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name, which is also a namespace.
    pub name: String,
    /// The organisations that the user belongs to.
    pub organizations: Vec<Membership>,
    /// What the token is good for.
    pub scope: TokenScope,
}

/// A user's part in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The organisation's name, which is also a namespace.
    pub name: String,
    /// `admin`, `write`, `contributor` or `read`, where the Hub says it.
    pub role: Option<String>,
}

/// The kinds of token that the Hub gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenScope {
    /// Reads what its owner may read.
    Read,
    /// Writes what its owner may write.
    Write,
    /// Does what it was made for.
    FineGrained(Vec<Grant>),
    /// The Hub does not say, or says something new.
    Unknown,
}

/// What a fine-grained token may do with one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A namespace, or `namespace/name` of one repository.
    pub on: String,
    /// Such as `repo.write`.
    pub permissions: Vec<String>,
}

/// Whether a token may write to a repository, as far as can be told beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAccess {
    /// It may.
    Yes,
    /// It may write, but not create: the repository must exist already.
    OnlyIfExists,
    /// It may not, and why.
    No(String),
    /// Only trying will tell.
    Unknown,
}

/// The permission of a fine-grained token to change a repository.
const REPO_WRITE: &str = "repo.write";

#[derive(Deserialize)]
struct Body {
    name: String,
    #[serde(default)]
    orgs: Vec<OrganizationBody>,
    #[serde(default)]
    auth: Option<AuthBody>,
}

#[derive(Deserialize)]
struct OrganizationBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "roleInOrg")]
    role: Option<String>,
}

#[derive(Deserialize)]
struct AuthBody {
    #[serde(default, rename = "accessToken")]
    access_token: Option<TokenBody>,
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    role: Option<String>,
    #[serde(default, rename = "fineGrained")]
    fine_grained: Option<FineGrainedBody>,
}

#[derive(Deserialize)]
struct FineGrainedBody {
    #[serde(default)]
    scoped: Vec<ScopeBody>,
}

#[derive(Deserialize)]
struct ScopeBody {
    entity: EntityBody,
    #[serde(default)]
    permissions: Vec<String>,
}

#[derive(Deserialize)]
struct EntityBody {
    #[serde(default)]
    name: Option<String>,
}

impl Account {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: Body = json(body)?;
        let organizations = body
            .orgs
            .into_iter()
            .filter_map(|organization| Some((organization.name?, organization.role)))
            .map(|(name, role)| {
                let name = text("organisation's name", name)?;
                Ok(Membership { name, role })
            })
            .collect::<Result<_, AnswerError>>()?;
        Ok(Self {
            name: text("user's name", body.name)?,
            organizations,
            scope: scope(body.auth.and_then(|auth| auth.access_token)),
        })
    }

    /// Whether the token may write to `repo`.
    #[must_use]
    pub fn may_write(&self, repo: &RepoId) -> WriteAccess {
        let grants = match &self.scope {
            TokenScope::Read => {
                return WriteAccess::No("the token may only read".to_owned());
            }
            TokenScope::Write => return self.may_write_to_namespace(repo.namespace()),
            TokenScope::Unknown => return WriteAccess::Unknown,
            TokenScope::FineGrained(grants) => grants,
        };
        let full_name = repo.to_string();
        let writes = |on: &str| {
            grants.iter().any(|grant| {
                same_name(&grant.on, on) && grant.permissions.iter().any(|p| p == REPO_WRITE)
            })
        };
        if writes(repo.namespace()) {
            return WriteAccess::Yes;
        }
        if writes(&full_name) {
            return WriteAccess::OnlyIfExists;
        }
        WriteAccess::No(format!(
            "the fine-grained token has no permission {REPO_WRITE} on {} or {full_name}",
            repo.namespace()
        ))
    }

    fn may_write_to_namespace(&self, namespace: &str) -> WriteAccess {
        if same_name(&self.name, namespace) {
            return WriteAccess::Yes;
        }
        let membership = self
            .organizations
            .iter()
            .find(|organization| same_name(&organization.name, namespace));
        match membership.map(|membership| membership.role.as_deref()) {
            None => WriteAccess::No(format!(
                "the token is {}'s, who does not belong to {namespace}",
                self.name
            )),
            Some(Some("read")) => WriteAccess::No(format!(
                "{} may only read what belongs to {namespace}",
                self.name
            )),
            Some(Some("admin" | "write")) => WriteAccess::Yes,
            // A contributor writes to repositories of their own making.
            Some(_) => WriteAccess::Unknown,
        }
    }
}

/// The Hub takes names in any case for the same.
fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn scope(token: Option<TokenBody>) -> TokenScope {
    let Some(token) = token else {
        return TokenScope::Unknown;
    };
    match token.role.as_deref() {
        Some("read") => TokenScope::Read,
        Some("write") => TokenScope::Write,
        Some("fineGrained") => {
            let scoped = token
                .fine_grained
                .map(|fine| fine.scoped)
                .unwrap_or_default();
            let grant = |scope: ScopeBody| {
                Some(Grant {
                    on: scope.entity.name?,
                    permissions: scope.permissions,
                })
            };
            TokenScope::FineGrained(scoped.into_iter().filter_map(grant).collect())
        }
        _ => TokenScope::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(auth: &str) -> Account {
        let body = format!(
            r#"{{"type":"user","id":"1","name":"falconer","orgs":[
                {{"name":"mews","roleInOrg":"write"}},{{"name":"museum","roleInOrg":"read"}}],
                "auth":{{"type":"access_token","accessToken":{auth}}}}}"#
        );
        Account::parse(body.as_bytes()).unwrap()
    }

    fn access(account: &Account, repo: &str) -> WriteAccess {
        account.may_write(&repo.parse().unwrap())
    }

    #[test]
    fn a_write_token_writes_where_its_owner_may() {
        let account = account(r#"{"displayName":"t","role":"write"}"#);
        assert_eq!(access(&account, "falconer/m"), WriteAccess::Yes);
        assert_eq!(access(&account, "Falconer/m"), WriteAccess::Yes);
        assert_eq!(access(&account, "mews/m"), WriteAccess::Yes);
        assert!(matches!(access(&account, "museum/m"), WriteAccess::No(_)));
        let WriteAccess::No(reason) = access(&account, "stranger/m") else {
            panic!("a stranger's namespace is writable");
        };
        assert!(reason.contains("does not belong to stranger"), "{reason}");
    }

    #[test]
    fn a_read_token_writes_nowhere() {
        let account = account(r#"{"role":"read"}"#);
        assert!(matches!(access(&account, "falconer/m"), WriteAccess::No(_)));
    }

    #[test]
    fn a_fine_grained_token_writes_where_it_was_made_for() {
        let account = account(
            r#"{"role":"fineGrained","fineGrained":{"global":[],"scoped":[
                {"entity":{"_id":"1","type":"user","name":"falconer"},"permissions":["repo.content.read"]},
                {"entity":{"_id":"2","type":"org","name":"mews"},"permissions":["repo.write"]},
                {"entity":{"_id":"3","type":"model","name":"falconer/m"},"permissions":["repo.write"]}]}}"#,
        );
        assert_eq!(access(&account, "mews/any"), WriteAccess::Yes);
        assert_eq!(access(&account, "falconer/m"), WriteAccess::OnlyIfExists);
        assert!(matches!(access(&account, "falconer/n"), WriteAccess::No(_)));
    }

    #[test]
    fn an_unknown_kind_of_token_is_tried() {
        let account = account(r#"{"role":"quantum"}"#);
        assert_eq!(access(&account, "falconer/m"), WriteAccess::Unknown);
        let bare = Account::parse(br#"{"name":"falconer"}"#).unwrap();
        assert_eq!(access(&bare, "falconer/m"), WriteAccess::Unknown);
    }
}
