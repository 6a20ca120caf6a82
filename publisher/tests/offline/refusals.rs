//! What is not published, and that everyone is told why.

use std::path::Path;
use std::time::Duration;

use cli::Exit;
use client::{Address, RetryPolicy};
use proto::v1::FileKind;
use publisher::Summary;
use subnet::Criteria;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::Checkpoint;
use crate::fake::FakeCoordinator;

const WEIGHTS: &str = "model/model.safetensors";

/// Publishes a finished run's best checkpoint and expects that it is not; what
/// is on disk afterwards must not look like a publication.
async fn refused(
    coordinator: &FakeCoordinator,
    config: impl FnOnce(&mut publisher::Config),
) -> Summary {
    let state_dir = TempDir::new().unwrap();
    let mut settings = coordinator.config(state_dir.path());
    config(&mut settings);
    let summary = publisher::run(settings, CancellationToken::new())
        .await
        .unwrap();
    assert!(summary.run_complete);
    assert_eq!(
        (&summary.chain_string, &summary.checkpoint_dir),
        (&None, &None)
    );
    assert!(!summary.commit_pending);
    for folder in ["staged", "publications", "downloads"] {
        let mut entries = state_dir.path().join(folder).read_dir().unwrap();
        if folder != "downloads" {
            assert!(entries.next().is_none(), "{folder} is not empty");
        }
    }
    summary
}

fn reason(summary: &Summary) -> &str {
    summary.reason.as_deref().unwrap()
}

#[tokio::test]
async fn a_loss_that_is_not_below_the_threshold_is_not_even_downloaded() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    for threshold in [3.5, 3.0, 0.0] {
        let summary = refused(&coordinator, |config| config.loss_threshold = threshold).await;
        assert!(
            reason(&summary).contains("its loss 3.5000 is not below --avg_loss_upload_threshold")
        );
        assert_eq!(
            reason(&summary).contains("no loss is below 0"),
            threshold == 0.0
        );
    }
    assert_eq!(coordinator.take_reads(), []);
}

#[tokio::test]
async fn a_loss_that_is_not_a_number_passes_no_threshold() {
    let best = Checkpoint::publishable("c1", f64::NAN);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |config| config.loss_threshold = f64::INFINITY).await;
    assert!(reason(&summary).contains("not below"));
}

#[tokio::test]
async fn weights_that_were_never_evaluated_are_not_published() {
    let mut best = Checkpoint::publishable("c1", 3.5);
    best.manifest.evaluation = None;
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |_| {}).await;
    assert!(reason(&summary).contains("no evaluation"));
}

#[tokio::test]
async fn too_many_parameters_are_refused_before_the_download_and_measured_after_it() {
    let mut best = Checkpoint::publishable("c1", 3.5);
    let limit = best.manifest.parameters - 1;
    for (claimed, downloads) in [(best.manifest.parameters, false), (1, true)] {
        best.manifest.parameters = claimed;
        let coordinator = FakeCoordinator::with_finished_run(&best).await;
        let summary = refused(&coordinator, |config| {
            config.criteria.max_parameters = limit
        })
        .await;
        assert_eq!(summary.violations.len(), 1);
        assert!(
            summary.violations[0].contains("parameters"),
            "{:?}",
            summary.violations
        );
        assert!(reason(&summary).contains(&summary.violations[0]));
        assert_eq!(!coordinator.take_reads().is_empty(), downloads);
    }
}

#[tokio::test]
async fn a_repository_that_would_be_too_large_is_refused_before_the_download() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |config| {
        config.criteria.max_repository_bytes = 1000
    })
    .await;
    assert!(
        summary.violations[0].contains("bytes"),
        "{:?}",
        summary.violations
    );
    assert_eq!(coordinator.take_reads(), []);
}

#[tokio::test]
async fn the_newest_criteria_do_not_take_gpt2() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let newest = Criteria::at_block(u64::MAX);
    let summary = refused(&coordinator, |config| config.criteria = newest).await;
    assert!(reason(&summary).contains("gpt2"));
    assert!(reason(&summary).contains("--criteria-block"));
}

#[tokio::test]
async fn a_model_too_small_for_validators_pages_is_refused() {
    let best = Checkpoint::golden("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |_| {}).await;
    assert_eq!(
        summary.violations.len(),
        2,
        "context and vocabulary: {summary:?}"
    );
}

#[tokio::test]
async fn weights_with_one_value_that_is_not_a_number_are_refused_by_name() {
    let best = Checkpoint::with_weights("c1", 3.5, |index| {
        // Only the token embedding is so long.
        if index == 100_000 { f32::NAN } else { 0.5 }
    });
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |_| {}).await;
    assert!(
        reason(&summary).contains("transformer.wte.weight"),
        "{summary:?}"
    );
}

#[tokio::test]
async fn bytes_that_contradict_the_manifest_are_refused() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let mut wrong = best.content(WEIGHTS).to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    coordinator.serve_instead(&best, WEIGHTS, wrong);
    let summary = refused(&coordinator, |_| {}).await;
    assert!(reason(&summary).contains("wrong bytes"), "{summary:?}");
    assert!(
        reason(&summary).contains("model.safetensors"),
        "{summary:?}"
    );
}

#[tokio::test]
async fn weights_that_do_not_fit_their_configuration_are_refused_by_name() {
    let mut best = Checkpoint::publishable("c1", 3.5);
    let config = String::from_utf8(best.content("model/config.json").to_vec()).unwrap();
    let config = config.replace("\"n_layer\": 1", "\"n_layer\": 2");
    best.replace("model/config.json", config.into_bytes());
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let summary = refused(&coordinator, |_| {}).await;
    assert!(
        reason(&summary).contains("transformer.h.1.attn.c_attn.weight"),
        "{summary:?}"
    );
}

#[tokio::test]
async fn files_that_do_not_belong_to_a_model_are_refused() {
    for (name, said) in [
        (
            "model/adapter_config.json",
            "adapter_config.json must not be published",
        ),
        ("model/README.md", "README.md does not belong"),
        ("model/../../escape", "is not a name for a file"),
    ] {
        let mut best = Checkpoint::publishable("c1", 3.5);
        best.add(name, FileKind::Model, b"{}".to_vec());
        let coordinator = FakeCoordinator::with_finished_run(&best).await;
        let summary = refused(&coordinator, |_| {}).await;
        assert!(reason(&summary).contains(said), "{name}: {summary:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_coordinator_no_longer_has_is_passed_over() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    coordinator.forget_files();
    let summary = refused(&coordinator, |_| {}).await;
    assert!(reason(&summary).contains("no longer has it"), "{summary:?}");
}

#[tokio::test]
async fn a_better_checkpoint_that_is_refused_leaves_the_one_that_waits() {
    let good = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&good).await;
    let state_dir = TempDir::new().unwrap();
    let staged = coordinator.publish(state_dir.path()).await.unwrap();
    coordinator.announce(
        &Checkpoint::with_weights("c2", 3.0, |_| f32::INFINITY),
        true,
    );
    let summary = coordinator.publish(state_dir.path()).await.unwrap();
    assert_eq!(summary.chain_string, None);
    assert!(staged.checkpoint_dir.unwrap().exists());
    let publications = publisher::status(state_dir.path()).unwrap().publications;
    assert_eq!(publications.len(), 1);
    assert!(publications[0].waits_for.is_some());
}

#[tokio::test]
async fn two_publishers_in_one_folder_are_refused() {
    let coordinator = FakeCoordinator::start().await;
    let best = Checkpoint::publishable("c1", 3.5);
    coordinator.stall(&best, WEIGHTS);
    coordinator.announce(&best, false);
    let state_dir = TempDir::new().unwrap();
    let shutdown = CancellationToken::new();
    let config = coordinator.config(state_dir.path());
    let first = tokio::spawn(publisher::run(config, shutdown.clone()));
    coordinator.stalled.notified().await;
    let error = coordinator.publish(state_dir.path()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    let message = error.to_string();
    assert!(message.contains("--state-dir"), "{message}");
    assert!(
        message.contains(&std::process::id().to_string()),
        "{message}"
    );
    shutdown.cancel();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_folder_of_another_run_is_refused() {
    let best = Checkpoint::publishable("c1", 3.5);
    let coordinator = FakeCoordinator::with_finished_run(&best).await;
    let state_dir = TempDir::new().unwrap();
    coordinator.publish(state_dir.path()).await.unwrap();
    let mut other = best.clone();
    other.manifest.run_id = "run-b".to_owned();
    coordinator.announce(&other, true);
    let error = coordinator.publish(state_dir.path()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    for part in ["--state-dir", "run-a", "run-b"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_coordinator_out_of_reach_for_too_long_has_its_own_exit_code() {
    let coordinator = FakeCoordinator::start().await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = coordinator.config(Path::new("unused"));
    let state_dir = TempDir::new().unwrap();
    config.state_dir = state_dir.path().to_owned();
    config.coordinators = Address::from(unused).into();
    config.patience = RetryPolicy {
        give_up_after: Some(Duration::from_millis(30)),
        ..config.patience
    };
    let error = publisher::run(config, CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
}
