//! The answers on the way to a commit: `preupload`, the LFS batch, the access
//! to Xet's storage, and the commit itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use subnet::CommitId;

use super::repository::commit;
use super::{AnswerError, json, quoted, text};

/// `POST /api/models/R/preupload/REV`: how each file is to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadModes(BTreeMap<String, bool>);

#[derive(Deserialize)]
struct ModesBody {
    files: Vec<ModeBody>,
}

#[derive(Deserialize)]
struct ModeBody {
    path: String,
    #[serde(rename = "uploadMode")]
    upload_mode: String,
}

impl UploadModes {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: ModesBody = json(body)?;
        let mode = |file: ModeBody| match file.upload_mode.as_str() {
            "lfs" => Ok((file.path, true)),
            "regular" => Ok((file.path, false)),
            other => Err(AnswerError::new(format!(
                "it wants a file to travel as {}",
                quoted(other)
            ))),
        };
        let modes = body.files.into_iter().map(mode).collect::<Result<_, _>>()?;
        Ok(Self(modes))
    }

    /// Whether the file is to be stored as a large one. `None` if the answer
    /// does not mention it.
    #[must_use]
    pub fn is_large(&self, path: &str) -> Option<bool> {
        self.0.get(path).copied()
    }
}

/// `POST /R.git/info/lfs/objects/batch`: how large files are to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LfsBatch {
    /// Whether by Xet.
    pub xet: bool,
    /// Why the server will not take one of them, if so.
    pub refusal: Option<String>,
}

#[derive(Deserialize)]
struct BatchBody {
    #[serde(default)]
    transfer: Option<String>,
    #[serde(default)]
    objects: Vec<ObjectBody>,
}

#[derive(Deserialize)]
struct ObjectBody {
    #[serde(default)]
    error: Option<ObjectErrorBody>,
}

#[derive(Deserialize)]
struct ObjectErrorBody {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl LfsBatch {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: BatchBody = json(body)?;
        let error = body.objects.into_iter().find_map(|object| object.error);
        Ok(Self {
            xet: body.transfer.as_deref() == Some("xet"),
            refusal: error.map(|error| {
                let message: String = error.message.chars().take(200).collect();
                format!("{} {message}", error.code)
            }),
        })
    }
}

/// `GET /api/models/R/xet-write-token/REV`: where Xet's storage is, and the key
/// to it.
#[derive(Clone, PartialEq, Eq)]
pub struct XetAccess {
    /// The storage's address: http or https, never the local folders that the
    /// transfer library would take as well.
    pub cas_url: String,
    /// A key of a quarter of an hour or so.
    pub token: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

impl std::fmt::Debug for XetAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XetAccess")
            .field("cas_url", &self.cas_url)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct XetBody {
    #[serde(rename = "casUrl")]
    cas_url: String,
    #[serde(rename = "accessToken")]
    access_token: String,
    exp: u64,
}

impl XetAccess {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one, or names a storage that is no web server.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: XetBody = json(body)?;
        let url = reqwest::Url::parse(&body.cas_url).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(AnswerError::new("its storage's address is no web address"));
        }
        Ok(Self {
            cas_url: text("address", body.cas_url)?,
            token: text("key", body.access_token)?,
            expires: body.exp,
        })
    }
}

/// `POST /api/models/R/commit/REV`: the commit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitAnswer {
    /// Its id.
    pub commit: CommitId,
}

#[derive(Deserialize)]
struct CommitBody {
    #[serde(rename = "commitOid")]
    commit_oid: String,
}

impl CommitAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: CommitBody = json(body)?;
        Ok(Self {
            commit: commit(&body.commit_oid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_by_path() {
        let body =
            br#"{"files":[{"path":"config.json","uploadMode":"regular","shouldIgnore":false},
            {"path":"model.safetensors","uploadMode":"lfs"}]}"#;
        let modes = UploadModes::parse(body).unwrap();
        assert_eq!(modes.is_large("model.safetensors"), Some(true));
        assert_eq!(modes.is_large("config.json"), Some(false));
        assert_eq!(modes.is_large("other"), None);
        let pigeon = br#"{"files":[{"path":"a","uploadMode":"pigeon"}]}"#;
        assert!(UploadModes::parse(pigeon).is_err());
    }

    #[test]
    fn a_batch_says_whether_xet_carries_the_files() {
        let xet = LfsBatch::parse(br#"{"transfer":"xet","objects":[{"oid":"a","size":1}]}"#);
        assert!(xet.unwrap().xet);
        assert!(!LfsBatch::parse(br#"{"objects":[]}"#).unwrap().xet);
        let refused =
            br#"{"transfer":"xet","objects":[{"error":{"code":422,"message":"too big"}}]}"#;
        let refusal = LfsBatch::parse(refused).unwrap().refusal;
        assert_eq!(refusal.as_deref(), Some("422 too big"));
    }

    #[test]
    fn a_storage_is_a_web_server_and_its_key_is_not_shown() {
        let access = |url: &str| {
            let body = format!(r#"{{"casUrl":"{url}","accessToken":"k-0123","exp":1}}"#);
            XetAccess::parse(body.as_bytes())
        };
        let good = access("https://cas.example:8080").unwrap();
        assert!(!format!("{good:?}").contains("k-0123"));
        for url in [
            "local:///etc",
            "memory://",
            "file:///tmp",
            "cas.example",
            "",
        ] {
            assert!(access(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_commit_without_its_id_is_none() {
        let oid = "ce013625030ba8dba906f756967f9e9ca394464a";
        let body = format!(r#"{{"success":true,"commitOid":"{oid}","commitUrl":"u"}}"#);
        let answer = CommitAnswer::parse(body.as_bytes()).unwrap();
        assert_eq!(answer.commit.to_string(), oid);
        assert!(CommitAnswer::parse(br#"{"success":true}"#).is_err());
    }
}
