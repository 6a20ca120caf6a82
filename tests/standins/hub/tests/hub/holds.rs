//! Requests that wait until the test says so.

use standin_hub::{Action, Fault, Moment, Route};

use crate::support::{Fixture, MODEL, commit, inline, ndjson, weights};

fn send_commit(
    fixture: &Fixture,
    file: &str,
) -> tokio::task::JoinHandle<Result<u16, reqwest::Error>> {
    let request = fixture.request(
        reqwest::Method::POST,
        "/api/models/standin/model/commit/main",
    );
    let request = request.body(ndjson(
        fixture.hub.head(MODEL).as_deref(),
        &[inline(file, "1")],
    ));
    tokio::spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) })
}

#[tokio::test]
async fn a_request_waits_before_its_effect() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let client = send_commit(&fixture, "a");
    held.arrived().await;
    assert_eq!(fixture.hub.commits(MODEL).len(), 1);
    held.release();
    assert_eq!(client.await.unwrap().unwrap(), 200);
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}

#[tokio::test]
async fn a_request_waits_after_its_effect() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::After)));
    let client = send_commit(&fixture, "a");
    held.arrived().await;
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
    assert!(!client.is_finished());
    held.discard();
    client.await.unwrap().unwrap_err();
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}

#[tokio::test]
async fn a_discarded_request_has_no_effect() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let client = send_commit(&fixture, "a");
    held.arrived().await;
    held.discard();
    client.await.unwrap().unwrap_err();
    assert_eq!(fixture.hub.commits(MODEL).len(), 1);
}

#[tokio::test]
async fn a_request_takes_effect_although_its_client_is_gone() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let client = send_commit(&fixture, "late");
    held.arrived().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());

    // A client that starts again sees no commit, and makes its own.
    let again = send_commit(&fixture, "again").await.unwrap().unwrap();
    assert_eq!(again, 200);
    // The late one's parent is no longer the head.
    held.release();
    fixture.hub.answered(Route::Commit, 2).await;
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
    let late = fixture
        .hub
        .requests()
        .into_iter()
        .find(|request| request.faulted)
        .unwrap();
    assert_eq!(late.status, Some(412));
}

#[tokio::test]
async fn a_hub_that_stops_drops_what_it_holds() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let client = send_commit(&fixture, "a");
    held.arrived().await;
    fixture.hub.stop().await;
    client.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_transfer_waits_in_its_middle() {
    let fixture = Fixture::new().await;
    let held = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Cas, Action::Hold(Moment::Before)).for_path("/shards"));
    let model = fixture.model();
    let client = tokio::spawn(async move {
        commit(&model, &[("a.bin", &weights(100_000))], None)
            .await
            .unwrap()
    });
    held.arrived().await;
    assert_eq!(fixture.hub.count(Route::Commit), 0);
    held.release();
    client.await.unwrap();
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}
