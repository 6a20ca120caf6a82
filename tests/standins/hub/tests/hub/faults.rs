//! Each fault, seen by a client.

use std::time::{Duration, Instant};

use hf_hub::HFError;
use reqwest::Method;
use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::support::{Fixture, MODEL, commit, inline, weights};

#[tokio::test]
async fn a_lost_acknowledgement_leaves_a_commit_that_its_client_does_not_know() {
    let fixture = Fixture::new().await;
    let lost = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Cut(Moment::After)));
    let error = fixture.commit(&[("a", b"1")]).await.unwrap_err();
    assert!(matches!(error, HFError::Request { .. }), "{error}");
    assert_eq!(lost.times_applied(), 1);
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
    let logged = fixture
        .hub
        .requests()
        .into_iter()
        .find(|request| request.route == Route::Commit)
        .unwrap();
    assert_eq!((logged.status, logged.faulted), (None, true));
}

#[tokio::test]
async fn a_lost_acknowledgement_that_is_tried_again_shows_why_a_parent_is_needed() {
    for (with_parent, commits) in [(true, 2), (false, 3)] {
        let fixture = Fixture::new().await;
        fixture
            .hub
            .faults()
            .add(Fault::new(Route::Commit, Action::Cut(Moment::After)));
        let model = fixture.retrying_client(2).model("standin", "model");
        let parent = fixture.hub.head(MODEL).filter(|_| with_parent);
        let outcome = commit(&model, &[("a", b"1")], parent).await;
        assert_eq!(outcome.is_err(), with_parent);
        assert_eq!(fixture.hub.commits(MODEL).len(), commits);
    }
}

#[tokio::test]
async fn a_connection_cut_before_the_effect_leaves_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Cut(Moment::Before)));
    fixture.commit(&[("a", b"1")]).await.unwrap_err();
    assert_eq!(fixture.hub.commits(MODEL).len(), 1);
    fixture.commit(&[("a", b"1")]).await.unwrap();
    assert_eq!(fixture.hub.commits(MODEL).len(), 2);
}

#[tokio::test]
async fn answers_can_be_replaced_before_and_after_the_effect() {
    let fixture = Fixture::new().await;
    for (moment, status, commits) in [(Moment::Before, 503, 1), (Moment::After, 504, 2)] {
        let answer = Answer::status(status).retry_after(7);
        fixture
            .hub
            .faults()
            .add(Fault::new(Route::Commit, Action::Answer(moment, answer)));
        let refused = fixture.commit_lines(None, &[inline("a", "1")]).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (status, &"7".parse().unwrap())
        );
        assert_eq!(fixture.hub.commits(MODEL).len(), commits);
    }
    fixture.hub.faults().add(Fault::new(
        Route::Commit,
        Action::Answer(Moment::Before, Answer::stale_parent()),
    ));
    assert_eq!(fixture.commit_lines(None, &[]).await.status(), 412);
}

#[tokio::test]
async fn a_rate_limit_says_how_long_it_lasts() {
    let fixture = Fixture::new().await;
    let limited = Action::Answer(Moment::Before, Answer::rate_limited(55));
    let injected = fixture
        .hub
        .faults()
        .add(Fault::new(Route::Info, limited).skip(1).times(2));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = fixture.get("/api/models/standin/model").await;
        if answer.status() == 429 {
            assert_eq!(answer.headers()["ratelimit"], r#""api";r=0;t=55"#);
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 200]);
    assert_eq!(injected.times_applied(), 2);
}

#[tokio::test]
async fn a_fault_can_be_for_one_path_and_for_ever() {
    let fixture = Fixture::empty().await;
    fixture.hub.seed("other/one", &[("a", b"1")]).unwrap();
    fixture.hub.seed("other/two", &[("a", b"1")]).unwrap();
    let down = Action::Answer(Moment::Before, Answer::status(500));
    fixture.hub.faults().add(
        Fault::new(Route::ResolveGet, down)
            .for_path("/one/")
            .always(),
    );
    for (path, status) in [("one", 500), ("two", 200), ("one", 500)] {
        assert_eq!(
            fixture
                .get(&format!("/other/{path}/resolve/main/a"))
                .await
                .status(),
            status
        );
    }
    fixture.hub.faults().clear();
    assert_eq!(fixture.get("/other/one/resolve/main/a").await.status(), 200);
}

#[tokio::test]
async fn a_body_can_be_slow_cut_or_wrong() {
    let fixture = Fixture::empty().await;
    fixture
        .hub
        .seed("other/model", &[("a.txt", &[b'x'; 4000])])
        .unwrap();
    let path = "/other/model/resolve/main/a.txt";

    fixture
        .hub
        .faults()
        .add(Fault::new(Route::ResolveGet, Action::SlowBody(10_000)));
    let began = Instant::now();
    assert_eq!(
        fixture.get(path).await.bytes().await.unwrap(),
        [b'x'; 4000].as_slice()
    );
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "4,000 bytes at 10,000 a second"
    );

    fixture
        .hub
        .faults()
        .add(Fault::new(Route::ResolveGet, Action::CutBody(1000)));
    let cut = fixture.get(path).await;
    assert_eq!(cut.headers()["content-length"], "4000");
    cut.bytes().await.unwrap_err();

    fixture
        .hub
        .faults()
        .add(Fault::new(Route::ResolveGet, Action::WrongBytes));
    let wrong = fixture.get(path).await;
    assert_eq!(wrong.headers()["content-length"], "4000");
    assert_eq!(wrong.bytes().await.unwrap(), [!b'x'; 4000].as_slice());
}

#[tokio::test]
async fn hf_hub_keeps_an_error_as_the_file() {
    let fixture = Fixture::empty().await;
    fixture
        .hub
        .seed("other/model", &[("config.json", b"{}")])
        .unwrap();
    let failing = Action::Answer(Moment::Before, Answer::status(500));
    fixture
        .hub
        .faults()
        .add(Fault::new(Route::ResolveGet, failing));
    let model = fixture.client().model("other", "model");
    let file = model
        .download_file()
        .filename("config.json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(file).unwrap(),
        r#"{"error":"injected fault 500"}"#
    );
}

#[tokio::test]
async fn a_hub_without_xet_gets_files_inline() {
    for route in [Route::Preupload, Route::LfsBatch] {
        let fixture = Fixture::new().await;
        fixture.hub.faults().add(Fault::new(route, Action::NoXet));
        let content = weights(100_000);
        fixture
            .commit(&[("model.safetensors", &content)])
            .await
            .unwrap();
        assert_eq!(fixture.hub.count(Route::Cas), 0, "{route}");
        assert_eq!(
            fixture.hub.files(MODEL, "main").await.unwrap()["model.safetensors"],
            content
        );
    }
}

#[tokio::test]
async fn the_content_store_can_fail_too() {
    let fixture = Fixture::new().await;
    let down = Action::Answer(Moment::Before, Answer::status(503));
    let faults = fixture.hub.faults();
    let upload = faults.add(Fault::new(Route::Cas, down).for_path("/xorb"));
    let shard = faults.add(Fault::new(Route::Cas, Action::Cut(Moment::Before)).for_path("/shards"));
    let content = weights(1_000_000);
    fixture
        .commit(&[("model.safetensors", &content)])
        .await
        .unwrap();
    assert_eq!(
        (upload.times_applied(), shard.times_applied()),
        (1, 1),
        "the client tries again"
    );
    assert_eq!(
        fixture.hub.files(MODEL, "main").await.unwrap()["model.safetensors"],
        content
    );
}

#[tokio::test]
async fn a_head_can_fail_where_a_get_does_not() {
    let fixture = Fixture::empty().await;
    fixture.hub.seed("other/model", &[("a", b"1")]).unwrap();
    fixture
        .hub
        .faults()
        .add(Fault::new(Route::ResolveHead, Action::Cut(Moment::Before)));
    let path = "/other/model/resolve/main/a";
    assert_eq!(fixture.get(path).await.status(), 200);
    fixture
        .request(Method::HEAD, path)
        .send()
        .await
        .unwrap_err();
}
