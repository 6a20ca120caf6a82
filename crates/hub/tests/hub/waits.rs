//! Errors by class: what is refused, waited for, and tried again.

use std::time::{Duration, Instant};

use hub::{Class, Event, Hub, HubError};
use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::common::{Events, Scene, quiet};

fn instead(route: Route, answer: Answer) -> Fault {
    Fault::new(route, Action::Answer(Moment::Before, answer))
}

/// How often something was tried again.
fn retries(events: &Events) -> usize {
    let is_retry = |event: &&Event| matches!(event, Event::Retrying { .. });
    events.all().iter().filter(is_retry).count()
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_told_with_a_countdown() {
    tokio::join!(
        wait_two_seconds(Route::Commit, Answer::rate_limited(2)),
        wait_two_seconds(Route::Info, Answer::status(503).retry_after(2)),
        wait_two_seconds(Route::Preupload, Answer::status(429).retry_after(2)),
    );
}

async fn wait_two_seconds(route: Route, answer: Answer) {
    let scene = Scene::new().await;
    scene.server.faults().add(instead(route, answer));
    let events = Events::default();
    let begun = Instant::now();
    let model = scene.model(1);
    let published = scene.publish_by(&scene.client(), &model, &events).await;
    assert!(!published.unwrap().adopted);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{route}");
    let seconds_left = |event: &Event| match event {
        Event::Waiting { left, .. } => Some(left.as_millis().div_ceil(1000)),
        _ => None,
    };
    let left: Vec<u128> = events.all().iter().filter_map(seconds_left).collect();
    // Every second is told, as the countdown's own tests show, but for those in which
    // the machine stands still.
    assert!(matches!(left[..], [2, 1] | [2] | [1]), "{route}: {left:?}");
    assert_eq!(scene.commits().len(), 1);
}

#[tokio::test]
async fn a_wait_beyond_the_cap_is_left_to_the_caller_and_nothing_is_sent_meanwhile() {
    let scene = Scene::new().await;
    let limited = instead(Route::Commit, Answer::rate_limited(3600)).always();
    scene.server.faults().add(limited);
    let error = scene.publish(&scene.model(1)).await.unwrap_err();
    assert_eq!(error.class(), Class::Wait(Duration::from_secs(3600)));
    assert_eq!(scene.server.count(Route::Commit), 1);
}

#[tokio::test]
async fn refusals_stop_at_once_with_advice() {
    for (route, status, word) in [
        (Route::Commit, 401, "HF_ACCESS_TOKEN"),
        (Route::Commit, 403, "write access"),
        (Route::Preupload, 404, "NAMESPACE/NAME"),
        (Route::Commit, 413, "shards"),
        (Route::Token, 403, "write access"),
    ] {
        let scene = Scene::new().await;
        let fault = instead(route, Answer::status(status)).always();
        scene.server.faults().add(fault);
        let error = scene.publish(&scene.model(1)).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        assert_eq!(error.class(), Class::Fatal);
        assert!(error.advice().unwrap().contains(word), "{error}");
        assert_eq!(scene.server.count(route), 1);
        assert!(scene.commits().is_empty());
    }
}

#[tokio::test]
async fn passing_errors_are_retried_wherever_they_come() {
    for route in [
        Route::Info,
        Route::Tree,
        Route::Preupload,
        Route::LfsBatch,
        Route::Token,
        Route::Commit,
        Route::Content,
    ] {
        let scene = Scene::new().await;
        let faults = scene.server.faults();
        faults.add(Fault::new(route, Action::Cut(Moment::Before)));
        faults.add(instead(route, Answer::status(502)).skip(1));
        let events = Events::default();
        let model = scene.model(1);
        let published = scene.publish_by(&scene.client(), &model, &events).await;
        assert!(!published.unwrap().adopted, "{route}");
        assert_eq!(scene.commits().len(), 1, "{route}");
        // The reading back has nobody to tell.
        assert_eq!(
            retries(&events),
            if route == Route::Content { 0 } else { 2 },
            "{route}"
        );
    }
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up() {
    let scene = Scene::new().await;
    let fault = instead(Route::Info, Answer::status(500)).always();
    scene.server.faults().add(fault);
    let error = scene.client().repository(&scene.repo).await.unwrap_err();
    assert_eq!((error.status(), error.class()), (Some(500), Class::Retry));
    assert_eq!(scene.server.count(Route::Info), 4);
}

#[tokio::test]
async fn a_silent_server_does_not_hold_anyone_up() {
    let scene = Scene::new().await;
    let held = Fault::new(Route::Info, Action::Hold(Moment::Before)).always();
    scene.server.faults().add(held);
    let mut config = scene.config();
    config.timeouts.silence = Duration::from_millis(200);
    config.waits.attempts = 2;
    let client = Hub::new(config).unwrap();
    let (model, events) = (scene.model(1), Events::default());
    let failed = scene.publish_by(&client, &model, &events).await;
    let error = failed.unwrap_err();
    assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert_eq!(retries(&events), 1);
    // A server that is late does not see a request whose sender is gone.
    assert!(scene.server.count(Route::Info) <= 2);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_in_words() {
    let scene = Scene::new().await;
    let mut config = scene.config();
    config.endpoint = "http://127.0.0.1:1".to_owned();
    config.waits.attempts = 1;
    let error = Hub::new(config).unwrap().whoami().await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().contains("asking whose token"), "{error}");

    for endpoint in ["huggingface.co", "ftp://hub", "", "http://"] {
        let mut config = scene.config();
        config.endpoint = endpoint.to_owned();
        let error = Hub::new(config).unwrap_err();
        assert!(matches!(error, HubError::Config { .. }), "{error}");
    }
    let client = scene.client();
    assert!(
        client
            .publish(&scene.model(1).publish(&scene.repo), &quiet)
            .await
            .is_ok()
    );
}
