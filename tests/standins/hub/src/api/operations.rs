//! The body of a commit: one JSON object a line, `{"key": …, "value": …}`.
//!
//! The first line is the header; then come files (`file`, inline in base64, and
//! `lfsFile`, by SHA-256) and removals (`deletedFile`, `deletedFolder`). Source:
//! huggingface_hub's `_prepare_commit_payload`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::ApiError;

/// A commit as it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommitRequest {
    pub(super) title: String,
    pub(super) description: String,
    /// The commit that must be the head.
    pub(super) parent: Option<String>,
    pub(super) operations: Vec<Operation>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Inline {
        path: String,
        content: Vec<u8>,
    },
    Large {
        path: String,
        sha256: String,
        bytes: Option<u64>,
    },
    DeleteFile {
        path: String,
    },
    DeleteFolder {
        path: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Line {
    Header(Header),
    File(File),
    LfsFile(LfsFile),
    DeletedFile(Deleted),
    DeletedFolder(Deleted),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    summary: String,
    #[serde(default)]
    description: String,
    parent_commit: Option<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    content: String,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct LfsFile {
    path: String,
    algo: String,
    oid: String,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Deleted {
    path: String,
}

impl CommitRequest {
    pub(super) fn parse(body: &[u8]) -> Result<CommitRequest, ApiError> {
        let mut lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty());
        let first = lines
            .next()
            .ok_or_else(|| ApiError::bad_request("the commit is empty"))?;
        let Line::Header(header) = parse_line(first)? else {
            return Err(ApiError::bad_request(
                "the first line of a commit must be its header",
            ));
        };
        let operations = lines
            .map(|line| operation(parse_line(line)?))
            .collect::<Result<_, _>>()?;
        Ok(CommitRequest {
            title: header.summary,
            description: header.description,
            parent: header.parent_commit,
            operations,
        })
    }
}

fn parse_line(line: &[u8]) -> Result<Line, ApiError> {
    serde_json::from_slice(line)
        .map_err(|error| ApiError::bad_request(format!("Invalid line in commit: {error}")))
}

fn operation(line: Line) -> Result<Operation, ApiError> {
    Ok(match line {
        Line::Header(_) => return Err(ApiError::bad_request("a commit has one header")),
        Line::File(file) => {
            let path = checked(file.path)?;
            let content = match file.encoding.as_deref() {
                Some("base64") => STANDARD.decode(&file.content).map_err(|error| {
                    ApiError::bad_request(format!("Invalid base64 of {path}: {error}"))
                })?,
                None | Some("utf-8") => file.content.into_bytes(),
                Some(other) => {
                    return Err(ApiError::bad_request(format!(
                        "Unknown encoding of {path}: {other}"
                    )));
                }
            };
            Operation::Inline { path, content }
        }
        Line::LfsFile(file) => {
            let path = checked(file.path)?;
            let is_sha256 =
                file.oid.len() == 64 && file.oid.bytes().all(|byte| byte.is_ascii_hexdigit());
            if file.algo != "sha256" || !is_sha256 {
                return Err(ApiError::bad_request(format!(
                    "{path} is not named by its sha256"
                )));
            }
            Operation::Large {
                path,
                sha256: file.oid.to_ascii_lowercase(),
                bytes: file.size,
            }
        }
        Line::DeletedFile(deleted) => Operation::DeleteFile {
            path: checked(deleted.path)?,
        },
        Line::DeletedFolder(deleted) => Operation::DeleteFolder {
            path: checked(deleted.path.trim_end_matches('/').to_owned())?,
        },
    })
}

/// A path within the repository, as git would have it.
fn checked(path: String) -> Result<String, ApiError> {
    let refused = |part: &str| {
        part.is_empty() || part == "." || part == ".." || part.eq_ignore_ascii_case(".git")
    };
    if path.split('/').any(refused) || path.contains('\0') {
        return Err(ApiError::bad_request(format!(
            "Invalid path in commit: {path:?}"
        )));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_commit_is_read_line_by_line() {
        let body = concat!(
            r#"{"key":"header","value":{"summary":"s","description":"d","parentCommit":"p"}}"#,
            "\n\n",
            r#"{"key":"file","value":{"path":"a/b","content":"aGk=","encoding":"base64"}}"#,
            "\n",
            r#"{"key":"deletedFolder","value":{"path":"old/"}}"#,
        );
        let expected = CommitRequest {
            title: "s".to_owned(),
            description: "d".to_owned(),
            parent: Some("p".to_owned()),
            operations: vec![
                Operation::Inline {
                    path: "a/b".to_owned(),
                    content: b"hi".to_vec(),
                },
                Operation::DeleteFolder {
                    path: "old".to_owned(),
                },
            ],
        };
        assert_eq!(CommitRequest::parse(body.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_git_would_refuse_is_refused() {
        for line in [
            r#"{"key":"file","value":{"path":"../a","content":"","encoding":"base64"}}"#,
            r#"{"key":"file","value":{"path":"/a","content":"","encoding":"base64"}}"#,
            r#"{"key":"file","value":{"path":".git/config","content":"","encoding":"base64"}}"#,
            r#"{"key":"file","value":{"path":"a","content":"%","encoding":"base64"}}"#,
            r#"{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"12"}}"#,
            r#"{"key":"unheard","value":{}}"#,
            r#"{"key":"header","value":{"summary":"twice"}}"#,
        ] {
            let body = format!("{}\n{line}", r#"{"key":"header","value":{"summary":"s"}}"#);
            assert!(CommitRequest::parse(body.as_bytes()).is_err(), "{line}");
        }
        assert!(CommitRequest::parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(
            body in prop::collection::vec(any::<u8>(), 0..200),
            key in "header|file|lfsFile|deletedFile|deletedFolder|[a-z]{0,5}",
            path in ".{0,20}",
            text in ".{0,20}",
        ) {
            let _ = CommitRequest::parse(&body);
            let value = json!({ "summary": text, "path": path, "content": text, "encoding": "base64", "algo": "sha256", "oid": text });
            let lines = format!("{}\n{}", r#"{"key":"header","value":{"summary":"s"}}"#, json!({ "key": key, "value": value }));
            if let Ok(request) = CommitRequest::parse(lines.as_bytes()) {
                prop_assert_eq!(request.operations.len(), 1);
            }
        }
    }
}
