//! A run's JSON and identity, which outlive the program that wrote them, and
//! what a resume may change.

mod common;

use common::{dataset, flags, run_of};
use run::{Contradiction, Dataset, RunConfig, RunError, Source, contradictions};

/// What earlier versions wrote. If this test fails, runs that were begun with
/// them cannot be continued: change the code, not the file.
const STORED: &str = include_str!("fixtures/run.json");
const STORED_IDENTITY: &str = include_str!("fixtures/run.identity");

#[test]
fn a_run_that_an_earlier_version_stored_is_the_same_run_today() {
    let run = RunConfig::from_json(STORED.trim()).unwrap();
    assert_eq!(run.to_json(), STORED.trim());
    assert_eq!(run.identity(), STORED_IDENTITY.trim());
    let asked = run_of("--num_epochs 4 --schedule cosine --total-steps 600 --recipe seed");
    assert_eq!(asked.unwrap(), run);
}

#[test]
fn json_that_is_no_run_is_refused() {
    let run = STORED.trim();
    let unknown = run.replacen('{', "{\"future\":1,", 1);
    let missing = run.replacen("\"bs\":1,", "", 1);
    let invalid = run.replacen("\"bs\":1,", "\"bs\":0,", 1);
    let contradictory = run.replacen("\"dropout\":0.1", "\"dropout\":0.2", 1);
    let other_packing = run.replacen("\"packing\":1", "\"packing\":2", 1);
    for text in [
        "",
        "{}",
        &unknown,
        &missing,
        &invalid,
        &contradictory,
        &other_packing,
    ] {
        assert_ne!(text, run, "the text was not changed");
        assert!(RunConfig::from_json(text).is_err(), "{text}");
    }
}

/// The flags of a resume, over a stored run, and the data set that is there now.
fn resume(stored: &RunConfig, line: &str, data: Dataset) -> Result<RunConfig, RunError> {
    let settings = flags(line).settings_over(stored, None)?;
    stored.resumed_as(settings.with_data(&stored.run_id, data)?)
}

fn contradicted_flags(error: &RunError) -> Vec<&'static str> {
    match error {
        RunError::Contradicts(found) => found.iter().map(|one| one.flag).collect(),
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn a_resume_without_flags_is_the_same_run() {
    for line in [
        "",
        "--recipe seed --lr 3e-4",
        "--schedule cosine --total-steps 99",
    ] {
        let stored = run_of(line).unwrap();
        assert_eq!(resume(&stored, "", dataset()).unwrap(), stored);
        assert_eq!(resume(&stored, line, dataset()).unwrap(), stored, "{line}");
    }
}

#[test]
fn a_resume_may_change_the_number_of_epochs() {
    let stored = run_of("--num_epochs 2").unwrap();
    let longer = resume(&stored, "--num_epochs 5", dataset()).unwrap();
    assert_eq!(longer.num_epochs, Some(5));
    assert_eq!(longer.identity(), stored.identity());
    let endless = resume(&stored, "--num_epochs -1", dataset()).unwrap();
    assert_eq!(endless.num_epochs, None);
}

#[test]
fn data_that_moved_is_the_same_data() {
    let stored = run_of("").unwrap();
    let mut moved = dataset();
    moved.source = Source::Files {
        path: "/elsewhere".to_owned(),
        column: "content".to_owned(),
        revision: "5eed".to_owned(),
    };
    let resumed = resume(&stored, "", moved).unwrap();
    assert_eq!(resumed.identity(), stored.identity());
    assert_eq!(resumed.data.digest(1024), stored.data.digest(1024));
    assert!(matches!(resumed.data.source, Source::Files { path, .. } if path == "/elsewhere"));
}

#[test]
fn accumulation_steps_do_not_change_a_stored_global_batch() {
    let stored = run_of("").unwrap();
    let resumed = resume(&stored, "--accumulation_steps 9", dataset()).unwrap();
    assert_eq!(resumed.global_batch, stored.global_batch);
}

#[test]
fn every_other_setting_contradicts_the_run_by_its_flag() {
    let stored = run_of("").unwrap();
    for (line, flag) in [
        ("--seed 1", "--seed"),
        ("--pages_per_epoch 5", "--pages_per_epoch"),
        ("--eval_pages 2", "--eval_pages"),
        ("--keep-long-documents", "--keep-long-documents"),
        ("--dropout 0.1", "--dropout"),
        ("--sl 512", "--sl"),
        ("--bs 2", "--bs"),
        ("--global-batch 12", "--global-batch"),
        ("--recipe seed", "--recipe"),
        ("--lr 1e-4", "--lr"),
        ("--warmup-steps 1", "--schedule and its steps"),
        ("--beta1 0.8", "--beta1"),
        ("--beta2 0.9", "--beta2"),
        ("--eps 1e-6", "--eps"),
        ("--weight-decay 0.2", "--weight-decay"),
        ("--decay everywhere", "--decay"),
        ("--clip-grad-norm 0", "--clip-grad-norm"),
    ] {
        let error = resume(&stored, line, dataset()).unwrap_err();
        assert_eq!(contradicted_flags(&error), [flag], "{line}");
        assert!(error.to_string().contains("--run-id"), "{error}");
    }
}

#[test]
fn another_model_contradicts_field_by_field() {
    let stored = run_of("").unwrap();
    let error = resume(&stored, "--preset gpt2-demo", dataset()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("the run has n_embd 760, and n_embd 128 was asked for"),
        "{said}"
    );
    assert!(!said.contains("vocab_size"), "{said}");
}

#[test]
fn other_data_contradicts_in_words() {
    let stored = run_of("").unwrap();
    let mut other = dataset();
    other.rows += 1;
    let error = resume(&stored, "", other).unwrap_err();
    assert_eq!(contradicted_flags(&error), ["the data set"]);

    let mut other = dataset();
    other.tokenizer = "mine 00".to_owned();
    let error = resume(&stored, "", other).unwrap_err();
    assert_eq!(contradicted_flags(&error), ["the tokenizer"]);
}

#[test]
fn several_contradictions_are_all_named() {
    let stored = run_of("").unwrap();
    let error = resume(&stored, "--lr 1 --seed 9", dataset()).unwrap_err();
    let RunError::Contradicts(found) = &error else {
        panic!("{error}");
    };
    let lr = Contradiction {
        flag: "--lr",
        stored: "0.0006".to_owned(),
        asked: "1".to_owned(),
    };
    assert!(found.contains(&lr), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn two_runs_contradict_each_other_exactly_if_their_identities_differ() {
    let lines = [
        "",
        "--num_epochs 3",
        "--seed 1",
        "--lr 0.00060000000000000001",
        "--lr 0.0006000000000000002",
        "--sl 1023",
        "--preset gpt2-demo --sl 1024 --lr 6e-4",
        "--schedule cosine --total-steps 50",
        "--schedule cosine --total-steps 51",
        "--keep-long-documents",
        "--clip-grad-norm 0",
    ];
    let runs: Vec<RunConfig> = lines.iter().map(|line| run_of(line).unwrap()).collect();
    for one in &runs {
        for other in &runs {
            let contradict = !contradictions(one, other).is_empty();
            assert_eq!(contradict, one.identity() != other.identity());
        }
    }
}

#[test]
fn the_manifests_digest_depends_on_all_that_decides_what_pages_pack_to() {
    let manifest = run_of("").unwrap().data;
    let base = manifest.digest(1024);
    assert_eq!(base.len(), 64);
    assert_ne!(base, manifest.digest(512));
    let mut other = manifest.clone();
    other.keep_long_documents = true;
    assert_ne!(base, other.digest(1024));
    let mut other = manifest.clone();
    other.tokenizer.push('x');
    assert_ne!(base, other.digest(1024));
    let mut other = manifest;
    other.packing += 1;
    assert_ne!(base, other.digest(1024));
}
