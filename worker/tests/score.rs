//! `worker score` prints what a validator computes, or refuses by name.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// Runs `worker score --json` and reads what it prints.
fn scored(arguments: &[&str]) -> Value {
    let output = score(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn numbers(array: &Value) -> Vec<f64> {
    let array = array.as_array().unwrap().iter();
    array.map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn several_models_are_scored_on_the_same_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let (ids, expected) = golden_ids(folder.path(), "gpt2-tiny");
    let ids = ids.to_str().unwrap();
    let first = fixtures().join("gpt2-tiny");
    let second = fixtures().join("gpt2-tiny-sharded");
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let alone = |model| scored(&["--load_model_dir", model, "--ids", ids]);
    let together = scored(&[
        "--load_model_dir",
        first,
        "--load_model_dir",
        second,
        "--ids",
        ids,
    ]);
    for (at, model) in [first, second].into_iter().enumerate() {
        assert_eq!(together["models"][at], alone(model)["models"][0]);
        assert_eq!(together["models"][at]["load_model_dir"], model);
    }
    assert_eq!(together["loss"], together["models"][0]["loss"]);
    let losses = numbers(&together["models"][0]["sequence_losses"]);
    assert_eq!(losses.len(), 2);
    let mean = losses.iter().sum::<f64>() / 2.0;
    assert!((mean / expected - 1.0).abs() < 1e-5, "{mean}");
}

/// A dataset of 300 rows, and a model with GPT-2's vocabulary.
fn dataset_and_model(folder: &Path) -> (String, String) {
    let rows: String = (0..300)
        .map(|row| {
            let text = format!("row {row} tells of {} and {} more\n", row * 7, row % 13);
            serde_json::json!({ "content": text.repeat(3) }).to_string() + "\n"
        })
        .collect();
    let data = folder.join("rows.jsonl");
    fs::write(&data, rows).unwrap();
    let config = layout::Gpt2Config {
        n_layer: 1,
        n_head: 1,
        n_embd: 2,
        ..layout::Gpt2Config::default()
    };
    let specs = layout::tensors(&config);
    let model = folder.join("model");
    layout::write_model_dir(&model, &config, None, |name, out| {
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        (0..spec.elements()).try_for_each(|at| {
            let weight = (at % 1000) as f32 * 1e-3;
            out.write_all(&weight.to_le_bytes())
        })
    })
    .unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    (text(data), text(model))
}

/// The configuration of a run on these rows, with two evaluation pages.
fn run_on(data: &str, folder: &Path) -> String {
    let fixture = "../crates/run/tests/fixtures/run.json";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    let mut run: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    let files = pages::LocalFiles::open(Path::new(data), "content").unwrap();
    run["data"]["source"] = serde_json::json!({
        "kind": "files",
        "path": data,
        "column": "content",
        "revision": files.info().revision,
    });
    run["data"]["rows"] = 300.into();
    run["data"]["tokenizer"] = pages::Tokenizer::gpt2().unwrap().identity().into();
    run["sl"] = 64.into();
    run["eval_pages"] = 2.into();
    run["pages_per_epoch"] = 1.into();
    let file = folder.join("run.json");
    fs::write(&file, run.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_run_says_which_pages_it_keeps_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = dataset_and_model(folder.path());
    let run = run_on(&data, folder.path());
    let seed: Value = serde_json::from_str(&fs::read_to_string(&run).unwrap()).unwrap();
    let seed = seed["seed"].to_string();
    let by_run = scored(&["--load_model_dir", &model, "--run", &run, "--pages", "2"]);
    let by_flags = scored(&[
        "--load_model_dir",
        &model,
        "--data",
        &data,
        "--seed",
        &seed,
        "--sl",
        "64",
        "--pages",
        "2",
    ]);
    assert_eq!(by_run, by_flags);
    let sequences = numbers(&by_run["page_sequences"]);
    assert_eq!(sequences.len(), 2);
    assert_eq!(
        sequences.iter().sum::<f64>(),
        by_run["sequences"].as_f64().unwrap()
    );

    // Rows that have changed since the run was planned are not scored.
    fs::write(&data, "{\"content\": \"other\"}\n").unwrap();
    let output = score(&["--load_model_dir", &model, "--run", &run, "--pages", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the data changed"), "{said}");
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
    let run_and_seed = [
        "--load_model_dir",
        model,
        "--run",
        ids,
        "--pages",
        "1",
        "--seed",
        "2",
    ];
    let cases: [(&[&str], &str); 9] = [
        (&["--load_model_dir", "/nowhere", "--ids", ids], "/nowhere"),
        (&["--load_model_dir", model, "--ids", &long], "17 ids"),
        (&["--load_model_dir", model, "--ids", &empty], "empty.json"),
        (&["--load_model_dir", model, "--ids", &text], "text.json"),
        (&["--load_model_dir", model, "--ids", &foreign], "99"),
        (&["--load_model_dir", model], "--ids"),
        (&["--ids", ids], "--load_model_dir"),
        (&run_and_seed, "--seed"),
        (&run_and_seed[..6], "ids.json"),
    ];
    for (arguments, named) in cases {
        let output = score(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} was accepted");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (ids, _) = golden_ids(folder.path(), "gpt2-tiny");
    for json in [None, Some("--json")] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(["score", "--device", "cpu", "--load_model_dir"])
            .arg(fixtures().join("gpt2-tiny"))
            .arg("--ids")
            .arg(&ids)
            .args(json)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
    }
}
