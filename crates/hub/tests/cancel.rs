//! A publication that is dropped or fails leaves nothing running. Alone in its
//! process, so that every thread of a transfer is this one's.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what cannot be prepared fails the test")]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cli::Secret;
use hub::{Hub, HubConfig, LocalFile, Publish};
use sha2::{Digest as _, Sha256};
use standin_hub::{Action, Fault, Moment, Options, Route, StandinHub};
use subnet::RepoId;

/// The threads of transfers in this process, by their name.
fn transfer_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("hub-transfer"))
        .count()
}

async fn no_transfer_is_running() {
    for _ in 0..6000 {
        if transfer_threads() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited a minute for {} threads to end", transfer_threads());
}

#[tokio::test]
async fn a_dropped_or_failed_publication_leaves_nothing_running() {
    let temp = tempfile::tempdir().unwrap();
    let server = StandinHub::start(Options::new(temp.path().join("hub")))
        .await
        .unwrap();
    let token = Some(Secret::new(server.token()));
    let mut config = HubConfig::new(&server.endpoint(), token, temp.path().join("cache"));
    let patient = Hub::new(config.clone()).unwrap();
    config.timeouts.stall = Duration::from_millis(200);
    config.waits.attempts = 1;
    let impatient = Hub::new(config).unwrap();
    let repo = RepoId::new("standin", "model").unwrap();
    patient.create_repository(&repo, false).await.unwrap();
    let contents = b"weights".repeat(20_000);
    fs::write(temp.path().join("model.safetensors"), &contents).unwrap();
    let files = [LocalFile {
        name: "model.safetensors".to_owned(),
        bytes: contents.len() as u64,
        sha256: Sha256::digest(&contents).into(),
    }];
    let publish = Publish {
        repo: &repo,
        dir: temp.path(),
        files: &files,
        message: "Publish",
        parent: None,
    };
    let held = server
        .faults()
        .add(Fault::new(Route::Cas, Action::Hold(Moment::Before)).always());
    let events = AtomicUsize::new(0);
    let tell = |_| {
        events.fetch_add(1, Ordering::SeqCst);
    };

    tokio::select! {
        published = patient.publish(&publish, &tell) => panic!("published: {published:?}"),
        () = held.arrived() => {}
    }
    let told = events.load(Ordering::SeqCst);
    no_transfer_is_running().await;
    assert_eq!(events.load(Ordering::SeqCst), told);

    let failed = impatient.publish(&publish, &tell).await;
    assert!(failed.is_err(), "{failed:?}");
    let told = events.load(Ordering::SeqCst);
    no_transfer_is_running().await;
    assert_eq!(events.load(Ordering::SeqCst), told);

    let asked = server.requests().len();
    server.faults().clear();
    assert_eq!(server.count(Route::Commit), 0);
    assert_eq!(server.requests().len(), asked);
}
