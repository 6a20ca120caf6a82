//! What is refused before anything starts: by name, with a remedy, with exit
//! code 2, and without a trace.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use cluster_tests::{LIMIT, Run, TestCluster, models, text};
use layout::Gpt2Config;

/// The flags of a coordinator on a free port, with a state folder that must not
/// come into being.
fn flags(cluster: &TestCluster, run: &Run) -> Vec<String> {
    let mut flags = run.flags();
    flags.push("--listen=127.0.0.1:0".to_owned());
    flags.push(format!("--state-dir={}", cluster.state_dir().display()));
    flags
}

fn refuse_run(change: impl FnOnce(&mut Run), named: &[&str]) {
    let cluster = TestCluster::new();
    let mut run = Run::of(&cluster.text());
    change(&mut run);
    cluster.refused("coordinator", &flags(&cluster, &run), named);
    assert!(!cluster.state_dir().exists(), "a state folder was left");
}

#[test]
fn a_coordinator_without_workers() {
    refuse_run(|run| run.workers = 0, &["--workers", "at least 1"]);
}

#[test]
fn a_sequence_longer_than_the_model_takes() {
    refuse_run(|run| run.sl = 129, &["--sl", "129", "at most 128"]);
}

#[test]
fn a_global_batch_that_micro_batches_do_not_divide() {
    refuse_run(
        |run| (run.bs, run.global_batch) = (5, 12),
        &["--global-batch", "12", "give 10 or 15"],
    );
}

#[test]
fn more_pages_per_epoch_than_there_are() {
    refuse_run(
        |run| run.pages_per_epoch = 1000,
        &["--pages_per_epoch", "1000"],
    );
}

#[test]
fn a_dataset_that_is_not_there() {
    refuse_run(
        |run| run.data = vec!["--data=/nowhere/text.jsonl".to_owned()],
        &["--data", "/nowhere/text.jsonl"],
    );
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    let cluster = TestCluster::new();
    let run = Run::of(&cluster.text());
    let file = cluster.file("a-file");
    fs::write(&file, "").unwrap();
    let mut flags = run.flags();
    flags.push("--listen=127.0.0.1:0".to_owned());
    flags.push(format!("--state-dir={}", file.join("below").display()));
    cluster.refused("coordinator", &flags, &["--state-dir", "a-file"]);
}

#[test]
fn a_disk_too_small_for_the_runs_checkpoints() {
    let cluster = TestCluster::new();
    // Ten trillion parameters: no disk that this test meets holds three copies.
    let giant = Gpt2Config {
        n_layer: 1000,
        n_head: 1,
        n_embd: 30_000,
        ..Gpt2Config::default()
    };
    let config = cluster.file("config.json");
    fs::write(&config, giant.to_json()).unwrap();
    let run = Run {
        model: format!("--model_config={}", config.display()),
        ..Run::of(&cluster.text())
    };
    let flags = flags(&cluster, &run);
    cluster.refused("coordinator", &flags, &["--state-dir", "free"]);
    assert!(!cluster.state_dir().exists(), "a state folder was left");
}

#[test]
fn a_port_in_use() {
    let cluster = TestCluster::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut flags = Run::of(&cluster.text()).flags();
    flags.push(format!("--listen={address}"));
    flags.push(format!("--state-dir={}", cluster.state_dir().display()));
    cluster.refused("coordinator", &flags, &["--listen", &address]);
    assert!(!cluster.state_dir().exists(), "a state folder was left");
}

#[test]
fn weights_with_missing_and_misshapen_tensors() {
    let cluster = TestCluster::new();
    let config = models::tiny();
    let dir = cluster.file("model");
    models::write(&dir, &config);
    let (missing, misshapen) = ("transformer.h.0.mlp.c_fc.bias", "transformer.wpe.weight");
    models::break_weights(&dir, &config, missing, misshapen);
    let run = Run {
        model: format!("--load_model_dir={}", dir.display()),
        ..Run::of(&cluster.text())
    };
    let flags = flags(&cluster, &run);
    cluster.refused(
        "coordinator",
        &flags,
        &["--load_model_dir", missing, misshapen],
    );
    assert!(!cluster.state_dir().exists(), "a state folder was left");

    let score = [
        "score".to_owned(),
        format!("--load_model_dir={}", dir.display()),
        format!("--data={}", cluster.text().display()),
        "--pages=1".to_owned(),
    ];
    cluster.refused("worker", &score, &["--load_model_dir", missing, misshapen]);
}

#[test]
fn a_resume_that_contradicts_its_run() {
    let mut cluster = TestCluster::new();
    let run = Run::of(&cluster.text());
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.stop(LIMIT).unwrap();

    let other = Run {
        seed: run.seed + 1,
        sl: 64,
        ..run.clone()
    };
    let said = cluster.refused(
        "coordinator",
        &flags(&cluster, &other),
        &["--seed", "11", "12", "--sl", "32", "64", "--state-dir"],
    );
    assert!(
        !said.contains("--bs"),
        "only what contradicts is named:\n{said}"
    );

    // Refusing has changed nothing: the run goes on as it was.
    cluster.start(&run);
    cluster.complete();
    cluster.audited_steps();
}

#[test]
fn a_second_coordinator_on_the_same_state() {
    let mut cluster = TestCluster::new();
    let run = Run::of(&cluster.text());
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.refused("coordinator", &flags(&cluster, &run), &["--state-dir"]);
    cluster.coordinator().unwrap().expect_running().unwrap();
}

#[test]
fn a_device_that_does_not_exist() {
    let cluster = TestCluster::new();
    let flags = ["--coordinator=127.0.0.1:1", "--device=cuda:99"];
    cluster.refused("worker", &flags, &["--device", "cuda:99"]);
    assert_empty(cluster.folder());
}

#[test]
fn a_cache_folder_that_cannot_be_written() {
    let cluster = TestCluster::new();
    let file = cluster.file("a-file");
    fs::write(&file, "").unwrap();
    let cache = format!("--cache-dir={}", file.join("below").display());
    let flags = ["--coordinator=127.0.0.1:1", "--device=cpu", &cache];
    cluster.refused("worker", &flags, &["--cache-dir", "a-file"]);
}

#[test]
fn a_store_port_in_use() {
    let cluster = TestCluster::new();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let store_port = format!("--store-port={port}");
    let flags = ["--coordinator=127.0.0.1:1", "--device=cpu", &store_port];
    cluster.refused("worker", &flags, &["--store-port", &port.to_string()]);
}

#[test]
fn a_worker_with_other_text_than_the_runs() {
    let mut cluster = TestCluster::new();
    let run = Run::of(&cluster.text());
    cluster.start_coordinator(&run.flags()).unwrap();
    let other = cluster.file("other.jsonl");
    text::write_jsonl(&other, &text::rows(30, 6));
    let flags = [
        format!("--coordinator={}", cluster.address()),
        "--device=cpu".to_owned(),
        format!("--data={}", other.display()),
    ];
    cluster.refused("worker", &flags, &["--data", "other.jsonl"]);
}

fn assert_empty(folder: &Path) {
    // Where programs may put temporary files is the cluster's own, and empty too.
    let temporary = folder.join("tmp");
    let left = [folder, &temporary].map(fs::read_dir).into_iter().flatten();
    let left: Vec<_> = left.flatten().flatten().collect();
    let left: Vec<_> = left.iter().filter(|e| e.path() != temporary).collect();
    assert!(left.is_empty(), "{left:?}");
}
