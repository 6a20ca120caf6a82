//! Files that are gone or changed on the coordinator's disk.

use std::fs::{self, File};
use std::path::PathBuf;

use client::Download;
use ledger::Slot;
use proto::v1;

use crate::bench::{Bench, Running, until, until_told, with};
use crate::worker::{FakeWorker, Quirks, join_request};

async fn trained(bench: &Bench, flags: &[String]) -> Running {
    let running = bench.start(flags).await;
    let worker = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    worker.work().await;
    running
}

async fn status(running: &Running) -> v1::StatusResponse {
    let mut operator = running.connection.operator();
    operator
        .status(v1::StatusRequest {})
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_short_is_noticed_by_whoever_reads_it_and_the_checkpoint_is_dropped() {
    let bench = Bench::new();
    let mut flags = bench.flags(1);
    flags.push("--keep-serving".to_owned());
    let running = trained(&bench, &flags).await;
    // Workers hear of the run's end a moment before it is shown.
    let latest = until_told("the run's last checkpoint", async || {
        let shown = status(&running).await;
        (shown.state == "complete").then(|| shown.latest_checkpoint.unwrap())
    })
    .await;
    let folder = bench.state_dir().join("checkpoints");
    let file = folder
        .join(&latest.checkpoint_id)
        .join("model/model.safetensors");
    let file = File::options().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();

    let download = Download::new(&running.connection, &latest);
    let error = download
        .into_dir(&bench.path("downloaded"))
        .await
        .unwrap_err();
    assert!(error.is_damage(), "{error}");
    let before = until_told("the checkpoint to be dropped", async || {
        let now = status(&running).await.latest_checkpoint.unwrap();
        (now.checkpoint_id != latest.checkpoint_id).then_some(now)
    })
    .await;
    assert!(before.cursor.unwrap().step < latest.cursor.unwrap().step);
    until("the log to tell", || {
        bench.log().contains("is damaged and dropped").then_some(())
    })
    .await;
    // The one before is whole.
    let download = Download::new(&running.connection, &before);
    download.into_dir(&bench.path("before")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_page_that_is_gone_cannot_be_verified_and_is_no_pass() {
    let bench = Bench::new();
    let running = trained(&bench, &bench.flags(1)).await;
    assert!(running.ended().await.success());
    let (audit, clean) = bench.ask(&["audit", "--json"]);
    assert!(clean, "{audit}");

    for page in files_below(bench.state_dir().join("packed")) {
        fs::remove_file(page).unwrap();
    }
    let (audit, clean) = bench.ask(&["audit", "--json"]);
    assert!(!clean, "{audit}");
    let total = &audit["total"];
    assert_eq!(total["trained"], 0, "{audit}");
    assert_eq!(total["unverified"], total["planned"], "{audit}");
    let violations = audit["violations"].as_array().unwrap();
    assert_eq!(
        violations.len(),
        6,
        "one for each page of training: {audit}"
    );
    for violation in violations {
        let words = violation.as_str().unwrap();
        assert!(words.contains("cannot be verified"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_page_that_is_broken_is_none_and_can_be_brought_again() {
    let bench = Bench::new();
    let mut flags = bench.flags(1);
    flags.push("--keep-serving".to_owned());
    let running = trained(&bench, &flags).await;
    let ask = || async {
        let request = v1::GetPageRequest {
            context: Some(context(&running).await),
            slot: Some(Slot::Evaluation(0).into()),
        };
        running.connection.cluster().get_page(request).await
    };
    let whole = ask().await.unwrap().into_inner().packed;
    for page in files_below(bench.state_dir().join("packed")) {
        let mut bytes = fs::read(&page).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&page, bytes).unwrap();
    }
    // Whoever asks prepares it again, which it would not after another error.
    let error = ask().await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound, "{error}");
    let put = v1::PutPageRequest {
        context: Some(context(&running).await),
        slot: Some(Slot::Evaluation(0).into()),
        packed: whole.clone(),
    };
    running.connection.cluster().put_page(put).await.unwrap();
    assert_eq!(ask().await.unwrap().into_inner().packed, whole);
}

/// What a worker of the run would say of itself.
async fn context(running: &Running) -> v1::Context {
    let mut cluster = running.connection.cluster();
    let joined = cluster.join(join_request("a")).await.unwrap();
    joined.into_inner().context.unwrap()
}

fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn a_budget_that_holds_too_little_is_refused_and_says_how_much_is_needed() {
    let bench = Bench::new();
    let flags = with(bench.flags(1), "--checkpoint-disk-gib", "0.001");
    let said = bench.refusal(&flags);
    assert!(said.contains("--checkpoint-disk-gib"), "{said}");
    assert!(said.contains("0.01 GiB"), "{said}");
    assert!(!bench.state_dir().exists(), "something is left behind");
}
