//! A watch outlives its connections.

use crate::fake::{FakeCoordinator, QUICK};
use client::{RetryPolicy, Watch};
use proto::v1::{CheckpointManifest, CheckpointState, Context};
use tonic::Code;

fn best(checkpoint_id: &str, run_complete: bool) -> CheckpointState {
    CheckpointState {
        best: Some(CheckpointManifest {
            checkpoint_id: checkpoint_id.to_owned(),
            ..CheckpointManifest::default()
        }),
        run_complete,
        ..CheckpointState::default()
    }
}

async fn watch(
    watches: Vec<Vec<Result<CheckpointState, Code>>>,
    policy: RetryPolicy,
) -> (FakeCoordinator, Watch) {
    let coordinator = FakeCoordinator::default();
    coordinator.state.lock().unwrap().watches.extend(watches);
    let connection = coordinator.serve().await;
    let watch = Watch::new(connection, Context::default(), "publisher", policy);
    (coordinator, watch)
}

#[tokio::test]
async fn states_go_on_after_the_connection_was_lost() {
    let watches = vec![
        vec![Ok(best("a", false)), Err(Code::Unavailable)],
        vec![Err(Code::Unavailable)],
        // An end without the run's is a coordinator that restarts.
        vec![Ok(best("a", false)), Ok(best("b", false))],
        vec![Ok(best("b", true))],
    ];
    let (coordinator, mut watch) = watch(watches, QUICK).await;
    let mut seen = Vec::new();
    while let Some(state) = watch.next().await.unwrap() {
        seen.push((state.best.unwrap().checkpoint_id, state.run_complete));
    }
    let expected = [("a", false), ("a", false), ("b", false), ("b", true)];
    assert_eq!(
        seen,
        expected.map(|(id, complete)| (id.to_owned(), complete))
    );
    assert_eq!(coordinator.state.lock().unwrap().watchers, ["publisher"; 4]);
}

#[tokio::test]
async fn a_refused_watch_ends_with_the_reason() {
    let (_coordinator, mut watch) = watch(vec![], QUICK).await;
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("no more watches"), "{error}");
}

#[tokio::test]
async fn a_policy_that_gives_up_ends_the_watch() {
    let policy = RetryPolicy {
        give_up_after: Some(std::time::Duration::from_millis(10)),
        ..QUICK
    };
    let cuts = vec![vec![Err(Code::Unavailable)]; 100];
    let (_coordinator, mut watch) = watch(cuts, policy).await;
    let error = watch.next().await.unwrap_err();
    assert!(!error.is_fatal(), "{error}");
}
