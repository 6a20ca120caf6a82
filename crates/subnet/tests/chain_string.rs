//! The chain string; tests/fuzz.rs has what strangers may write in its place.

use proptest::prelude::*;
use subnet::{CommitId, MAX_CHAIN_BYTES, ModelHash, ModelId, ModelIdError, RepoId};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const HASH: &str = "742cKw8Gf0IdCfP7/klmgDo314hDVgQTorr0y5uYJTU=";

fn parse(text: &str) -> Result<ModelId, ModelIdError> {
    text.parse()
}

#[test]
fn the_four_parts_are_read() {
    let id = parse(&format!("ns:my-model:{COMMIT}:{HASH}")).unwrap();
    assert_eq!(id.namespace(), "ns");
    assert_eq!(id.name(), "my-model");
    assert_eq!(id.commit, Some(COMMIT.parse().unwrap()));
    assert_eq!(id.hash, Some(HASH.parse().unwrap()));
}

#[test]
fn a_missing_part_reads_none() {
    let id = parse("ns:name:None:None").unwrap();
    assert_eq!((id.commit, id.hash), (None, None));
    assert_eq!(id.to_string(), "ns:name:None:None");
}

#[test]
fn a_repository_may_be_called_none() {
    let id = parse("None:None:None:None").unwrap();
    assert_eq!((id.namespace(), id.name()), ("None", "None"));
}

#[test]
fn the_longest_repository_fills_the_chain_exactly() {
    let id = ModelId {
        repo: RepoId::new(&"n".repeat(20), &"m".repeat(21)).unwrap(),
        commit: Some(CommitId::PENDING),
        hash: Some(HASH.parse().unwrap()),
    };
    assert_eq!(id.to_string().len(), MAX_CHAIN_BYTES);
    assert_eq!(parse(&id.to_string()), Ok(id));
}

#[test]
fn malformed_strings_are_refused_for_what_is_wrong_with_them() {
    let long = "x".repeat(129);
    assert_eq!(parse(&long), Err(ModelIdError::TooLong(129)));
    assert_eq!(parse(""), Err(ModelIdError::Parts(1)));
    assert_eq!(parse("a:b:None"), Err(ModelIdError::Parts(3)));
    assert_eq!(parse("a:b:None:None:7"), Err(ModelIdError::Parts(5)));
    for (text, part) in [
        (":b:None:None".to_owned(), "namespace"),
        ("a/b:c:None:None".to_owned(), "namespace"),
        (format!("a:{}:None:None", "b".repeat(41)), "41"),
        ("a:b:none:None".to_owned(), "commit"),
        (format!("a:b:{}:None", COMMIT.to_uppercase()), "commit"),
        ("a:b:None:".to_owned(), "hash"),
        (format!("a:b:None:{}", HASH.trim_end_matches('=')), "hash"),
    ] {
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn it_is_kept_in_json_as_the_string_it_is() {
    let text = format!("ns:name:{COMMIT}:{HASH}");
    let id = parse(&text).unwrap();
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("{text:?}"));
    assert_eq!(serde_json::from_str::<ModelId>(&json).unwrap(), id);
    assert!(serde_json::from_str::<ModelId>("\"a:b\"").is_err());
}

fn part() -> impl Strategy<Value = String> {
    // Letters and digits at the ends, and never two marks together: what the
    // Hub allows, up to the length that two of them may have.
    "[A-Za-z0-9_]{1,6}([-._][A-Za-z0-9_]{1,6}){0,2}"
}

fn model_id() -> impl Strategy<Value = ModelId> {
    let commit = proptest::option::of("[0-9a-f]{40}");
    let hash = proptest::option::of(any::<[u8; 32]>());
    (part(), part(), commit, hash).prop_filter_map(
        "a valid id",
        |(namespace, name, commit, sha)| {
            let hash = match sha {
                Some(sha) => Some(ModelHash::of_files(&[("model", sha)]).ok()?),
                None => None,
            };
            let commit = commit.and_then(|text| text.parse().ok());
            let repo = RepoId::new(&namespace, &name).ok()?;
            Some(ModelId { repo, commit, hash })
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(id in model_id()) {
        let text = id.to_string();
        prop_assert!(text.len() <= MAX_CHAIN_BYTES);
        prop_assert_eq!(parse(&text), Ok(id));
    }
}
