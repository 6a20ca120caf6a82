//! Whatever a server answers, reading it does not panic, and what is accepted
//! makes sense.

use hub::RemoteFile;
use hub::answers::{
    Account, CommitAnswer, ContentRange, LfsBatch, MAX_TEXT_BYTES, RepositoryInfo, TreePage,
    UploadModes, XetAccess, next_page, shard_names, told_wait,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use reqwest::header::{HeaderMap, HeaderValue};

const OID: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

/// Good answers of every kind, to be damaged.
fn good_answers() -> Vec<Vec<u8>> {
    let sha256 = "ab".repeat(32);
    [
        format!(
            r#"{{"_id":"1","id":"falconer/m","private":false,"gated":"auto","disabled":false,"sha":"{OID}",
            "siblings":[{{"rfilename":"config.json"}}]}}"#
        ),
        format!(
            r#"[{{"type":"directory","oid":"{OID}","size":0,"path":"onnx"}},
            {{"type":"file","oid":"{OID}","size":6,"path":"config.json"}},
            {{"type":"file","oid":"{OID}","size":9,"path":"onnx/m.onnx",
            "lfs":{{"oid":"{sha256}","size":9,"pointerSize":130}}}}]"#
        ),
        r#"{"type":"user","name":"falconer","orgs":[{"name":"mews","roleInOrg":"write"}],
            "auth":{"accessToken":{"role":"fineGrained","fineGrained":{"scoped":[
            {"entity":{"type":"user","name":"falconer"},"permissions":["repo.write"]}]}}}}"#
            .to_owned(),
        r#"{"files":[{"path":"config.json","uploadMode":"regular"},
            {"path":"model.safetensors","uploadMode":"lfs"}]}"#
            .to_owned(),
        format!(r#"{{"transfer":"xet","objects":[{{"oid":"{sha256}","size":1,"error":{{"code":1,"message":"m"}}}}]}}"#),
        r#"{"casUrl":"https://cas.example","accessToken":"k","exp":1764000000}"#.to_owned(),
        format!(r#"{{"success":true,"commitOid":"{OID}","commitUrl":"u"}}"#),
        r#"{"metadata":{"total_size":1},"weight_map":{"a":"model-00001-of-00002.safetensors",
            "b":"model-00002-of-00002.safetensors"}}"#
            .to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// What damage is made of: the characters that JSON, paths and digests turn on.
const SPLICES: [&[u8]; 14] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"-1",
    b"1e99",
    b"../",
    b"\\u0000",
    b"\xff",
    b"18446744073709551616",
    b"A",
];

/// A good answer with a few bytes removed, repeated or replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), 0..8_usize, select(SPLICES.to_vec()));
    (select(good_answers()), vec(edit, 0..4)).prop_map(|(mut answer, edits)| {
        for (at, removed, inserted) in edits {
            let at = at.index(answer.len() + 1);
            let end = (at + removed).min(answer.len());
            answer.splice(at..end, inserted.iter().copied());
        }
        answer
    })
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => damaged(), 1 => vec(any::<u8>(), 0..300)]
}

fn leads_down(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    !parts.iter().any(|part| matches!(*part, "" | "." | ".."))
        && !path.contains(['\\', '\0'])
        && path.len() <= MAX_TEXT_BYTES
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PEREGRINE_FUZZ_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(2000);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bodies_are_read_or_refused(body in answer()) {
        if let Ok(page) = TreePage::parse(&body) {
            for RemoteFile { path, .. } in page.files {
                prop_assert!(leads_down(&path), "{path:?}");
            }
        }
        if let Ok(names) = shard_names(&body) {
            prop_assert!(!names.is_empty());
            for name in names {
                prop_assert!(leads_down(&name) && !name.contains('/'), "{name:?}");
            }
        }
        if let Ok(access) = XetAccess::parse(&body) {
            prop_assert!(access.cas_url.to_ascii_lowercase().starts_with("http"), "{access:?}");
        }
        if let Ok(account) = Account::parse(&body) {
            let _ = account.may_write(&"falconer/m".parse().unwrap());
            prop_assert!(!account.name.is_empty());
        }
        if let Ok(answer) = CommitAnswer::parse(&body) {
            prop_assert_eq!(answer.commit.to_string().len(), 40);
        }
        if let Ok(info) = RepositoryInfo::parse(&body) {
            prop_assert_eq!(info.commit.to_string().len(), 40);
        }
        if let Ok(modes) = UploadModes::parse(&body) {
            let _ = modes.is_large("config.json");
        }
        if let Ok(batch) = LfsBatch::parse(&body) {
            prop_assert!(batch.refusal.is_none_or(|refusal| refusal.len() <= 1000));
        }
    }

    #[test]
    fn a_listing_is_read_as_it_was_written(
        files in vec(("[a-z0-9._-]{1,8}", any::<u64>(), any::<Option<[u8; 32]>>()), 0..6)
    ) {
        let entries: Vec<serde_json::Value> = files
            .iter()
            .enumerate()
            .map(|(number, (name, bytes, sha256))| {
                let mut entry = serde_json::json!({
                    "type": "file", "path": format!("d/{number}{name}"), "size": bytes, "oid": OID,
                });
                if let Some(sha256) = sha256 {
                    entry["lfs"] = serde_json::json!({ "oid": hex::encode(sha256), "size": bytes });
                }
                entry
            })
            .collect();
        let page = TreePage::parse(&serde_json::to_vec(&entries).unwrap()).unwrap();
        prop_assert_eq!(page.files.len(), files.len());
        for (read, (name, bytes, sha256)) in page.files.iter().zip(&files) {
            prop_assert!(read.path.ends_with(name.as_str()));
            prop_assert_eq!((read.bytes, read.sha256), (*bytes, *sha256));
            prop_assert_eq!(read.oid.to_string(), OID);
        }
    }

    #[test]
    fn headers_are_read_or_ignored(
        value in prop_oneof![
            vec(any::<u8>(), 0..60),
            "[a-z\"0-9;=,<>/ .-]{0,60}".prop_map(String::into_bytes),
            "[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                .prop_map(String::into_bytes),
            "<https?://[a-z]{1,4}/[a-z?=&]{0,9}>; ?rel=\"?next\"?".prop_map(String::into_bytes),
            "\"?[a-z]{1,4}\"?; ?r=[0-9]{1,20}; ?t=[0-9]{1,20}".prop_map(String::into_bytes),
        ]
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            for name in ["date", "link", "ratelimit", "retry-after"] {
                headers.insert(name, value.clone());
            }
            let _ = told_wait(&headers);
            headers.remove("date");
            let _ = told_wait(&headers);
            if let Some(next) = next_page(&headers) {
                prop_assert!(value.to_str().unwrap().contains(&next));
            }
        }
    }

    #[test]
    fn a_content_range_is_read_as_it_was_written(
        first in any::<u64>(), length in 1..=u64::MAX, total in any::<Option<u64>>(), noise in "[ -~]{0,40}"
    ) {
        let last = first.saturating_add(length - 1);
        let text = match total {
            Some(total) => format!("bytes {first}-{last}/{total}"),
            None => format!("bytes {first}-{last}/*"),
        };
        match ContentRange::parse(&text) {
            Some(range) => prop_assert_eq!((range.first, range.last, range.total), (first, last, total)),
            None => prop_assert!(total.is_some_and(|total| total <= last)),
        }
        if let Some(range) = ContentRange::parse(&noise) {
            prop_assert!(range.first <= range.last);
        }
    }
}
