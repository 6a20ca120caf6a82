//! A publisher that starts again goes on where it was.

use std::fs;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::Checkpoint;
use crate::fake::FakeCoordinator;

const WEIGHTS: &str = "model/model.safetensors";

#[tokio::test]
async fn a_restart_within_a_download_reads_only_the_rest() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::start().await;
    coordinator.stall(&best, WEIGHTS);
    coordinator.announce(&best, true);
    let state_dir = TempDir::new().unwrap();
    let partial = state_dir
        .path()
        .join("downloads/c1/model.safetensors.partial");

    let shutdown = CancellationToken::new();
    let config = coordinator.config(state_dir.path());
    let publishing = tokio::spawn(publisher::run(config, shutdown.clone()));
    coordinator.stalled.notified().await;
    // The first chunk is on its way; it has arrived when it is in the file.
    while fs::metadata(&partial).map_or(0, |metadata| metadata.len()) == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    let stopped = publishing.await.unwrap().unwrap();
    assert_eq!(stopped.chain_string, None);
    assert!(!state_dir.path().join("staged/c1").exists());

    let arrived = fs::metadata(&partial).unwrap().len();
    coordinator.no_stall();
    coordinator.take_reads();
    let summary = coordinator.publish(state_dir.path()).await.unwrap();
    assert!(summary.chain_string.is_some());
    let rest = ("c1".to_owned(), WEIGHTS.to_owned(), arrived);
    assert_eq!(coordinator.take_reads(), [rest]);
}

#[tokio::test]
async fn what_is_staged_is_not_downloaded_again() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    let first = coordinator.publish(state_dir.path()).await.unwrap();
    coordinator.take_reads();
    let second = coordinator.publish(state_dir.path()).await.unwrap();
    assert_eq!(second, first);
    assert_eq!(coordinator.take_reads(), []);
}

#[tokio::test]
async fn a_crash_between_staging_and_its_record_is_mended() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    coordinator.publish(state_dir.path()).await.unwrap();
    let record = state_dir.path().join("publications/c1.json");
    fs::remove_file(&record).unwrap();
    coordinator.take_reads();
    coordinator.publish(state_dir.path()).await.unwrap();
    assert!(record.exists());
    assert_eq!(coordinator.take_reads(), []);
}

#[tokio::test]
async fn a_staged_file_that_was_changed_is_found_out_and_replaced() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    let first = coordinator.publish(state_dir.path()).await.unwrap();
    let weights = first
        .checkpoint_dir
        .clone()
        .unwrap()
        .join("model.safetensors");
    let mut changed = fs::read(&weights).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::remove_file(&weights).unwrap();
    fs::write(&weights, changed).unwrap();
    let second = coordinator.publish(state_dir.path()).await.unwrap();
    assert_eq!(second, first);
    assert!(fs::read(&weights).unwrap() == best.content(WEIGHTS));
}

#[tokio::test]
async fn a_staged_directory_follows_a_change_of_repository() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    coordinator.publish(state_dir.path()).await.unwrap();
    let status = |dir: &TempDir| publisher::status(dir.path()).unwrap().publications;
    assert_eq!(status(&state_dir)[0].record.repo.namespace(), "falconry");
    let record = state_dir.path().join("publications/c1.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("falconry/", "elsewhere/")).unwrap();
    coordinator.publish(state_dir.path()).await.unwrap();
    assert_eq!(status(&state_dir)[0].record.repo.namespace(), "falconry");
    assert_eq!(status(&state_dir).len(), 1);
}
