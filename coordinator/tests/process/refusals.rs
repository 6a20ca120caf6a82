//! What a coordinator refuses before it starts: each names the flag or the
//! file, and leaves nothing behind.

use std::net::TcpListener;

use crate::bench::{Bench, tiny_model, with, write_model};
use crate::worker::{FakeWorker, Quirks};
use layout::Gpt2Config;

fn refused(bench: &Bench, flag: &str, value: &str, expected: &[&str]) {
    let said = bench.refusal(&with(bench.flags(1), flag, value));
    for words in expected {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!bench.state_dir().exists(), "something is left behind");
}

#[test]
fn values_that_cannot_be() {
    let bench = Bench::new();
    refused(&bench, "--workers", "0", &["--workers 0", "at least 1"]);
    refused(&bench, "--sl", "9", &["--sl 9", "n_positions"]);
    let flags = with(with(bench.flags(1), "--bs", "3"), "--global-batch", "4");
    let said = bench.refusal(&flags);
    assert!(
        said.contains("--global-batch 4") && said.contains("--bs 3"),
        "{said}"
    );
    refused(
        &bench,
        "--pages_per_epoch",
        "30",
        &["--pages_per_epoch 30", "29"],
    );
    refused(&bench, "--data", "nowhere", &["--data", "nowhere"]);
    refused(
        &bench,
        "--lease-ms",
        "200",
        &["--lease-ms 200", "--heartbeat-ms"],
    );
    refused(&bench, "--run-id", "a b", &["--run-id"]);
}

#[test]
fn a_port_in_use() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(
        &bench,
        "--listen",
        &address,
        &["--listen", &address, "port 0"],
    );
}

#[test]
fn a_folder_that_cannot_be_written() {
    let bench = Bench::new();
    std::fs::write(bench.path("file"), "").unwrap();
    let said = bench.refusal(&with(bench.flags(1), "--state-dir", "file/state"));
    assert!(said.contains("--state-dir file/state"), "{said}");
}

#[test]
fn too_little_disk() {
    let bench = Bench::new();
    let huge = Gpt2Config {
        n_embd: 1 << 16,
        n_layer: 4000,
        ..tiny_model()
    };
    std::fs::write(bench.path("huge.json"), huge.to_json()).unwrap();
    refused(
        &bench,
        "--model_config",
        "huge.json",
        &["--state-dir", "are free"],
    );
}

#[test]
fn a_model_directory_with_missing_or_misshapen_tensors() {
    let bench = Bench::new();
    let mut flags = bench.flags(1);
    let index = flags
        .iter()
        .position(|flag| flag == "--model_config")
        .unwrap();
    flags.drain(index..index + 2);
    let model = bench.path("model");
    write_model(&model, &tiny_model(), 0.5);
    let other = Gpt2Config {
        n_layer: 2,
        n_positions: 16,
        ..tiny_model()
    };
    std::fs::write(model.join("config.json"), other.to_json()).unwrap();
    let said = bench.refusal(&with(flags.clone(), "--load_model_dir", "model"));
    for words in [
        "--load_model_dir",
        "transformer.h.1.",
        "is missing",
        "transformer.wpe.weight",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    let said = bench.refusal(&with(flags, "--load_model_dir", "nowhere"));
    assert!(said.contains("nowhere"), "{said}");
    assert!(!bench.state_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_contradicts_its_run() {
    let bench = Bench::new();
    bench.start(&bench.flags(1)).await.kill();
    let flags = with(with(bench.flags(1), "--lr", "0.125"), "--seed", "9");
    let said = bench.refusal(&flags);
    for words in ["--state-dir", "--lr", "0.125", "--seed", "9", "--run-id"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    // Left out, the flags take the stored run's values.
    let running = bench.start(&["--workers".to_owned(), "2".to_owned()]).await;
    running.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_on_one_state_dir() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let said = bench.refusal(&bench.flags(1));
    assert!(said.contains("in use by another coordinator"), "{said}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_another_digest() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(2)).await;
    // One of two workers prepares pages, and no step is ever taken.
    let a = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    let order = ledger::Order::new(ledger::OrderConfig {
        seed: 0,
        total_pages: 30,
        evaluation_pages: 1,
        pages_per_epoch: 3,
    });
    let page = order.unwrap().page_at(ledger::Ordinal(0));
    let slot = ledger::Slot::Training(ledger::Ordinal(0)).into();
    let good = crate::worker::packed(page);
    a.put_page(Some(slot), &good).await.unwrap();
    a.put_page(Some(slot), &good).await.unwrap();

    let mut ids = good.ids().to_vec();
    ids[0] += 1;
    let other = ledger::PackedPage::new(page, crate::bench::SL, 0, ids).unwrap();
    let status = a.put_page(Some(slot), &other).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(
        status.message().contains("must pack to the same"),
        "{status}"
    );

    let longer = ledger::PackedPage::new(page, 2 * crate::bench::SL, 0, vec![1; 16]).unwrap();
    let status = a.put_page(Some(slot), &longer).await.unwrap_err();
    assert!(status.message().contains("--sl 4"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_records_are_gone() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let worker = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    worker.work().await;
    assert!(running.ended().await.success(), "{}", bench.log());
    let checkpoints = || {
        let entries = std::fs::read_dir(bench.state_dir().join("checkpoints")).unwrap();
        entries.count()
    };
    let before = checkpoints();
    assert!(before > 0);
    std::fs::remove_file(bench.state_dir().join("ledger.redb")).unwrap();
    let refused = bench.refusal(&bench.flags(1));
    assert!(refused.contains("coordinator restore"), "{refused}");
    assert_eq!(checkpoints(), before);
}
