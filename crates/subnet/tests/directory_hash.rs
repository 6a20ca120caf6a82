//! The hash of directories that transformers wrote, and of ones that no
//! validator would accept.

#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};

use subnet::{Criteria, HashError, ModelFacts, Violation, hash_directory};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A copy of a fixture that a test may change.
fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn hash_of(directory: &Path) -> String {
    hash_directory(directory).unwrap().hash.to_string()
}

// Computed in Python over what `from_pretrained` downloads.
const GPT2_TINY: &str = "742cKw8Gf0IdCfP7/klmgDo314hDVgQTorr0y5uYJTU=";

#[test]
fn hashes_are_those_that_validators_compute() {
    assert_eq!(hash_of(&fixture("gpt2-tiny")), GPT2_TINY);
    assert_eq!(
        hash_of(&fixture("gpt2-tiny-sharded")),
        "kFdQg+4lRNxLAg+mjqcDkqXRMeey1cxRKDIPyE1fLAg="
    );
    assert_eq!(
        hash_of(&fixture("llama-tiny")),
        "jU42MkJkfa9ACOMzB1JVyVgBJnPXApCypQhxFUmXzoE="
    );
}

#[test]
fn every_file_that_counts_is_reported_by_name_with_its_length() {
    let hashed = hash_directory(&fixture("gpt2-tiny")).unwrap();
    let listed: Vec<(&str, u64)> = hashed
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.bytes))
        .collect();
    assert_eq!(
        listed,
        [
            ("config.json", 742),
            ("generation_config.json", 119),
            ("model.safetensors", 11072)
        ]
    );
}

#[test]
fn files_that_do_not_count_change_nothing() {
    let copy = copy_of("gpt2-tiny");
    for name in [
        "README.md",
        ".gitattributes",
        "tokenizer.json",
        "vocab.json",
    ] {
        fs::write(copy.path().join(name), "text").unwrap();
    }
    assert_eq!(hash_of(copy.path()), GPT2_TINY);
}

#[test]
fn symbolic_links_count_as_what_they_point_to() {
    let linked = tempfile::tempdir().unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        let target = fixture("gpt2-tiny").join(name);
        std::os::unix::fs::symlink(target, linked.path().join(name)).unwrap();
    }
    assert_eq!(hash_of(linked.path()), GPT2_TINY);
}

#[test]
fn one_changed_byte_changes_the_hash() {
    let copy = copy_of("gpt2-tiny");
    let weights = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_ne!(hash_of(copy.path()), GPT2_TINY);
}

#[test]
fn an_adapter_is_refused() {
    let copy = copy_of("gpt2-tiny");
    fs::write(copy.path().join("adapter_config.json"), "{}").unwrap();
    let error = hash_directory(copy.path()).unwrap_err();
    assert!(matches!(error, HashError::Forbidden(_)), "{error}");
}

#[test]
fn identical_files_are_refused_by_name() {
    let copy = copy_of("gpt2-tiny");
    let config = copy.path().join("config.json");
    fs::copy(config, copy.path().join("generation_config.json")).unwrap();
    let text = hash_directory(copy.path()).unwrap_err().to_string();
    assert!(
        text.contains("config.json and generation_config.json"),
        "{text}"
    );
}

#[test]
fn a_directory_without_a_model_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = hash_directory(empty.path()).unwrap_err();
    assert!(matches!(error, HashError::Layout(_)), "{error}");
}

#[test]
fn the_facts_about_a_directory_are_read_from_its_headers() {
    let model = layout::ModelDir::open(fixture("gpt2-tiny")).unwrap();
    let facts = ModelFacts::of(&model).unwrap();
    assert_eq!(facts.model_type, "gpt2");
    assert_eq!(facts.parameters, 2144);
    assert_eq!(facts.repository_bytes, 742 + 119 + 11072);
    let violations = Criteria::JANUARY_2024.check(&facts);
    assert_eq!(
        violations,
        [
            Violation::Context {
                found: 16,
                least: 1024
            },
            Violation::Vocabulary {
                found: 32,
                least: 50_257
            }
        ]
    );
}
