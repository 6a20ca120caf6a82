//! `GET /api/models/R[/revision/REV]` and `GET /api/models/R/tree/REV`: what a
//! repository is, and which files it holds.

use serde::Deserialize;
use serde_json::Value;
use subnet::CommitId;

use super::{AnswerError, MAX_TEXT_BYTES, json, quoted, text};
use crate::git::BlobId;

/// What the Hub says of a repository at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryInfo {
    /// Its name, as the Hub spells it.
    pub id: Option<String>,
    /// The commit that the revision stands for.
    pub commit: CommitId,
    /// Whether only its owner can see it.
    pub private: bool,
    /// Whether readers must ask for access.
    pub gated: bool,
    /// Whether the Hub has switched it off.
    pub disabled: bool,
}

#[derive(Deserialize)]
struct InfoBody {
    #[serde(default)]
    id: Option<String>,
    sha: String,
    #[serde(default)]
    private: bool,
    /// `false`, or the kind of approval as a text.
    #[serde(default)]
    gated: Option<Value>,
    #[serde(default)]
    disabled: Option<bool>,
}

impl RepositoryInfo {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let body: InfoBody = json(body)?;
        Ok(Self {
            id: body.id.map(|id| text("name", id)).transpose()?,
            commit: commit(&body.sha)?,
            private: body.private,
            gated: !matches!(body.gated, None | Some(Value::Null | Value::Bool(false))),
            disabled: body.disabled.unwrap_or(false),
        })
    }
}

pub(super) fn commit(text: &str) -> Result<CommitId, AnswerError> {
    text.parse()
        .map_err(|_| AnswerError::new("its commit is not 40 lowercase hexadecimal digits"))
}

/// A file of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path, which leads nowhere but down.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its contents; the Hub knows it of large files alone.
    pub sha256: Option<[u8; 32]>,
    /// Git's id of what the repository stores under the path: of the contents,
    /// or, for large files, of a pointer to them.
    pub oid: BlobId,
    /// The name of the contents in Xet's storage, if they are there: 64
    /// hexadecimal digits.
    pub xet_hash: Option<String>,
}

/// One page of a listing. Folders are left out: the listing is recursive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePage {
    /// The files on it.
    pub files: Vec<RemoteFile>,
}

#[derive(Deserialize)]
struct EntryBody {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<LfsBody>,
    #[serde(default, rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct LfsBody {
    /// `paths-info` and `tree` say `oid`, the model's own record `sha256`.
    #[serde(alias = "sha256")]
    oid: String,
    size: u64,
}

impl TreePage {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let entries: Vec<EntryBody> = json(body)?;
        let files = entries
            .into_iter()
            .filter(|entry| entry.kind == "file")
            .map(RemoteFile::read)
            .collect::<Result<_, _>>()?;
        Ok(Self { files })
    }
}

impl RemoteFile {
    fn read(entry: EntryBody) -> Result<Self, AnswerError> {
        let path = entry.path;
        if !is_plain_path(&path) {
            return Err(AnswerError::new(format!(
                "it lists {}, which is no path within a repository",
                quoted(&path)
            )));
        }
        let lacks = |what: &str| AnswerError::new(format!("it lists {path} without {what}"));
        let oid = entry.oid.as_deref().and_then(BlobId::from_hex);
        let oid = oid.ok_or_else(|| lacks("a git object id"))?;
        let (bytes, sha256) = match entry.lfs {
            Some(lfs) => {
                let mut sha256 = [0; 32];
                hex::decode_to_slice(&lfs.oid, &mut sha256).map_err(|_| lacks("a SHA-256"))?;
                (lfs.size, Some(sha256))
            }
            None => (entry.size.ok_or_else(|| lacks("a size"))?, None),
        };
        let is_hash =
            |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(Self {
            path,
            bytes,
            sha256,
            oid,
            xet_hash: entry.xet_hash.filter(is_hash),
        })
    }
}

/// Whether every part of a path leads down.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.len() <= MAX_TEXT_BYTES
        && !path.contains(|c: char| c == '\\' || c.is_control())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn a_repository_is_described() {
        let body = format!(
            r#"{{"_id":"x","id":"falconer/m","private":true,"gated":"auto","sha":"{OID}","siblings":[]}}"#
        );
        let info = RepositoryInfo::parse(body.as_bytes()).unwrap();
        assert_eq!(info.id.as_deref(), Some("falconer/m"));
        assert_eq!(info.commit.to_string(), OID);
        assert!(info.private && info.gated && !info.disabled);
        let public = format!(r#"{{"private":false,"gated":false,"sha":"{OID}"}}"#);
        let info = RepositoryInfo::parse(public.as_bytes()).unwrap();
        assert!(!info.private && !info.gated);
        assert!(RepositoryInfo::parse(br#"{"id":"falconer/m"}"#).is_err());
    }

    #[test]
    fn files_are_listed_with_the_digest_there_is() {
        let sha256 = "ab".repeat(32);
        let body = format!(
            r#"[{{"type":"directory","oid":"{OID}","size":0,"path":"onnx"}},
                {{"type":"file","oid":"{OID}","size":6,"path":"config.json"}},
                {{"type":"file","oid":"{OID}","size":9,"path":"onnx/model.onnx",
                  "lfs":{{"oid":"{sha256}","size":9,"pointerSize":130}},"xetHash":"x"}}]"#
        );
        let files = TreePage::parse(body.as_bytes()).unwrap().files;
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].bytes, files[0].sha256), (6, None));
        assert_eq!((files[1].bytes, files[1].sha256), (9, Some([0xab; 32])));
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in [
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a//b",
            "",
            "./a",
            "a\\\\b",
            "a\\u0000",
        ] {
            let body = format!(r#"[{{"type":"file","oid":"{OID}","size":1,"path":"{path}"}}]"#);
            assert!(TreePage::parse(body.as_bytes()).is_err(), "{path:?}");
        }
    }
}
