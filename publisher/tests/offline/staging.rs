//! What becomes of a checkpoint that is worth publishing.

use std::fs;

use publisher::{Stage, status};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::Checkpoint;
use crate::fake::FakeCoordinator;

const WEIGHTS: &str = "model/model.safetensors";

#[tokio::test]
async fn the_best_checkpoint_is_staged_with_its_chain_string() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    let summary = coordinator.publish(state_dir.path()).await.unwrap();

    let dir = summary.checkpoint_dir.unwrap();
    assert!(dir.is_absolute());
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let model_files = ["config.json", "generation_config.json", "model.safetensors"];
    assert_eq!(names, model_files, "the training state stays behind");
    let weights = fs::read(dir.join("model.safetensors")).unwrap();
    assert!(weights == best.content(WEIGHTS));

    let hash = subnet::hash_directory(&dir).unwrap().hash;
    let zeros = "0".repeat(40);
    assert_eq!(
        summary.chain_string.unwrap(),
        format!("falconry:peregrine:{zeros}:{hash}")
    );
    assert!(summary.commit_pending && summary.run_complete);
    assert_eq!(summary.checkpoint_id.as_deref(), Some("c1"));
    assert_eq!(summary.loss, Some(3.5));
    assert_eq!(summary.parameters, Some(best.manifest.parameters));
    let model_bytes: usize = model_files
        .map(|name| best.content(&format!("model/{name}")).len())
        .iter()
        .sum();
    assert_eq!(summary.size, Some(model_bytes as u64));
    assert_eq!(summary.reason, None);
    assert!(summary.violations.is_empty());
}

#[tokio::test]
async fn the_journal_says_where_a_publication_stands_and_what_it_waits_for() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    let summary = coordinator.publish(state_dir.path()).await.unwrap();

    let status = status(state_dir.path()).unwrap();
    let [publication] = &status.publications[..] else {
        panic!("one publication: {status:?}");
    };
    assert_eq!(publication.record.stage, Stage::Staged);
    assert_eq!(publication.record.step, 40);
    assert_eq!(
        Some(&publication.chain_string),
        summary.chain_string.as_ref()
    );
    assert!(publication.commit_pending && publication.checkpoint_dir.is_some());
    let waits_for = publication.waits_for.as_deref().unwrap();
    assert!(waits_for.contains("falconry/peregrine"), "{waits_for}");
}

#[tokio::test]
async fn a_better_checkpoint_supersedes_one_that_waits() {
    let first = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&first).await;
    let state_dir = TempDir::new().unwrap();
    let superseded = coordinator.publish(state_dir.path()).await.unwrap();

    let better = Checkpoint::with_weights("c2", 3.0, |index| index as f32 * 1e-6);
    coordinator.announce(&better, true);
    let summary = coordinator.publish(state_dir.path()).await.unwrap();
    assert_eq!(summary.checkpoint_id.as_deref(), Some("c2"));
    assert_ne!(summary.chain_string, superseded.chain_string);
    assert!(!superseded.checkpoint_dir.unwrap().exists());

    let status = status(state_dir.path()).unwrap();
    let [old, new] = &status.publications[..] else {
        panic!("two publications: {status:?}");
    };
    assert_eq!(old.record.superseded_by.as_deref(), Some("c2"));
    assert_eq!((&old.waits_for, &old.checkpoint_dir), (&None, &None));
    assert!(new.waits_for.is_some() && new.checkpoint_dir.is_some());
}

#[tokio::test]
async fn a_better_checkpoint_replaces_one_that_is_still_arriving() {
    let slow = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::start().await;
    coordinator.stall(&slow, WEIGHTS);
    coordinator.announce(&slow, false);
    let state_dir = TempDir::new().unwrap();
    let config = coordinator.config(state_dir.path());
    let publishing = tokio::spawn(publisher::run(config, CancellationToken::new()));
    coordinator.stalled.notified().await;
    coordinator.announce(&Checkpoint::publishable("c2", 3.0), true);
    let summary = publishing.await.unwrap().unwrap();
    assert_eq!(summary.checkpoint_id.as_deref(), Some("c2"));
    assert!(summary.chain_string.is_some());
    assert!(!state_dir.path().join("staged/c1").exists());
    assert!(!state_dir.path().join("downloads/c1").exists());
}

#[tokio::test]
async fn an_announcement_of_what_is_already_under_way_does_not_restart_it() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::start().await;
    coordinator.stall(&best, WEIGHTS);
    coordinator.announce(&best, false);
    let state_dir = TempDir::new().unwrap();
    let config = coordinator.config(state_dir.path());
    let publishing = tokio::spawn(publisher::run(config, CancellationToken::new()));
    coordinator.stalled.notified().await;
    coordinator.announce(&best, true);
    coordinator.go_on.notify_one();
    let summary = publishing.await.unwrap().unwrap();
    assert!(summary.chain_string.is_some());
    let reads_of_weights = coordinator.take_reads();
    let reads_of_weights = reads_of_weights
        .iter()
        .filter(|(_, name, _)| name == WEIGHTS);
    assert_eq!(reads_of_weights.count(), 1);
}

#[tokio::test]
async fn a_run_that_ends_without_a_checkpoint_says_so() {
    let coordinator = FakeCoordinator::start().await;
    coordinator.end_without_checkpoint();
    let state_dir = TempDir::new().unwrap();
    let summary = coordinator.publish(state_dir.path()).await.unwrap();
    assert!(summary.run_complete && !summary.commit_pending);
    assert_eq!(summary.checkpoint_id, None);
    assert!(
        summary
            .reason
            .unwrap()
            .contains("without an evaluated checkpoint")
    );
}

#[tokio::test]
async fn a_publisher_that_is_asked_to_stop_stops_while_it_waits() {
    let coordinator = FakeCoordinator::start().await;
    let state_dir = TempDir::new().unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let config = coordinator.config(state_dir.path());
    let summary = publisher::run(config, shutdown).await.unwrap();
    assert!(!summary.run_complete);
    assert!(summary.reason.is_some());
}
