//! `worker score` prints what a validator computes, or refuses by name.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/layout/tests/fixtures")
}

fn score(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .arg("score")
        .args(arguments)
        .args(["--device", "cpu"])
        .output()
        .unwrap()
}

/// Writes the golden file's sequences where `--ids` can read them.
fn golden_ids(folder: &Path, name: &str) -> (PathBuf, f64) {
    let golden = fs::read_to_string(fixtures().join(format!("{name}.json"))).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let file = folder.join("ids.json");
    fs::write(&file, golden["ids"].to_string()).unwrap();
    (file, golden["loss"].as_f64().unwrap())
}

#[test]
fn the_loss_is_transformers_for_one_file_and_for_shards() {
    for name in ["gpt2-tiny", "gpt2-tiny-sharded"] {
        let folder = tempfile::tempdir().unwrap();
        let (ids, expected) = golden_ids(folder.path(), name);
        let model = fixtures().join(name);
        let output = score(&[
            "--load_model_dir",
            model.to_str().unwrap(),
            "--ids",
            ids.to_str().unwrap(),
            "--json",
        ]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Value = serde_json::from_str(&printed)
            .unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)));
        let loss = printed["loss"].as_f64().unwrap();
        assert!(
            (loss / expected - 1.0).abs() < 1e-5,
            "{name}: {loss}, transformers {expected}"
        );
        assert_eq!(printed["sequences"], 2);
        assert_eq!(printed["tokens"], 30);
    }
}

#[test]
fn what_cannot_be_scored_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("gpt2-tiny");
    let model = model.to_str().unwrap();
    let (ids, _) = golden_ids(folder.path(), "gpt2-tiny");
    let ids = ids.to_str().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let long = write("long.json", &format!("[{:?}]", vec![1; 17]));
    let empty = write("empty.json", "[]");
    let text = write("text.json", "hello");
    let foreign = write("foreign.json", "[[1, 99]]");
    let cases: [(&[&str], &str); 6] = [
        (&["--load_model_dir", "/nowhere", "--ids", ids], "/nowhere"),
        (&["--load_model_dir", model, "--ids", &long], "17 ids"),
        (&["--load_model_dir", model, "--ids", &empty], "empty.json"),
        (&["--load_model_dir", model, "--ids", &text], "text.json"),
        (&["--load_model_dir", model, "--ids", &foreign], "99"),
        (&["--load_model_dir", model], "--ids"),
    ];
    for (arguments, named) in cases {
        let output = score(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} was accepted");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    }
}
