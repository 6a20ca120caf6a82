//! Whatever becomes of an acknowledgement, there is exactly one commit.

use hub::{Class, HubError};
use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::common::{Events, Scene, quiet, until};

#[tokio::test]
async fn a_lost_acknowledgement_ends_in_the_commit_that_was_made() {
    let scene = Scene::new().await;
    let lost = Fault::new(Route::Commit, Action::Cut(Moment::After));
    scene.server.faults().add(lost);
    let published = scene.publish(&scene.model(1)).await.unwrap();
    assert!(published.adopted);
    assert_eq!(published.commit, scene.head());
    assert_eq!(scene.commits().len(), 1);
    assert_eq!(scene.server.count(Route::Commit), 1);
}

#[tokio::test]
async fn an_error_after_the_commit_and_an_answer_without_its_id_are_lost_ones_too() {
    for answer in [
        Answer::status(500),
        Answer::status(504),
        Answer {
            status: 200,
            headers: Vec::new(),
            body: r#"{"success":true}"#.to_owned(),
        },
    ] {
        let scene = Scene::new().await;
        let fault = Fault::new(Route::Commit, Action::Answer(Moment::After, answer));
        scene.server.faults().add(fault);
        let published = scene.publish(&scene.model(1)).await.unwrap();
        assert!(published.adopted);
        assert_eq!(scene.commits().len(), 1);
    }
}

#[tokio::test]
async fn a_process_that_dies_before_its_acknowledgement_is_succeeded_by_one_that_adopts() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let held = scene
        .server
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::After)));
    tokio::select! {
        published = scene.publish(&model) => panic!("acknowledged: {published:?}"),
        () = held.arrived() => {}
    }
    held.release();
    let published = scene.publish(&model).await.unwrap();
    assert!(published.adopted);
    assert_eq!(scene.commits().len(), 1);
    assert_eq!(scene.server.count(Route::Commit), 1);
}

#[tokio::test]
async fn a_commit_that_arrives_after_its_sender_died_and_was_succeeded_changes_nothing() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let held = scene
        .server
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    tokio::select! {
        published = scene.publish(&model) => panic!("acknowledged: {published:?}"),
        () = held.arrived() => {}
    }
    let published = scene.publish(&model).await.unwrap();
    assert!(!published.adopted);
    held.release();
    // The late one is answered 412, for its parent is no longer the head.
    let late = |request: &standin_hub::Request| {
        request.route == Route::Commit && request.status == Some(412)
    };
    until("the late commit's answer", || {
        scene.server.requests().iter().any(late)
    })
    .await;
    assert_eq!(scene.commits().len(), 1);
    assert_eq!(scene.head(), published.commit);
}

#[tokio::test]
async fn a_commit_by_another_in_between_is_followed_and_replaced() {
    let scene = Scene::new().await;
    let held = scene
        .server
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let model = scene.model(1);
    let (published, ()) = tokio::join!(scene.publish(&model), async {
        held.arrived().await;
        scene.push_by_another();
        held.release();
    });
    let published = published.unwrap();
    assert!(!published.adopted);
    let commits = scene.commits();
    assert_eq!(commits.len(), 2);
    assert_eq!(commits[1].parent.as_ref(), Some(&commits[0].id));
    assert!(!scene.paths().contains(&"intruder.txt".to_owned()));
    assert!(scene.paths().contains(&"README.md".to_owned()));
}

#[tokio::test]
async fn a_named_parent_is_insisted_upon() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let parent = scene.head();
    scene.push_by_another();
    let mut publish = model.publish(&scene.repo);
    publish.parent = Some(parent);
    let error = scene.client().publish(&publish, &quiet).await.unwrap_err();
    let HubError::Moved { expected, head, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*expected, *head), (parent, scene.head()));
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.advice().unwrap().contains("who else"));

    // What is there already needs no parent.
    publish.parent = None;
    let published = scene.client().publish(&publish, &quiet).await.unwrap();
    publish.parent = Some(parent);
    let again = scene.client().publish(&publish, &quiet).await.unwrap();
    assert_eq!((again.commit, again.adopted), (published.commit, true));
}

#[tokio::test]
async fn when_no_commit_is_ever_answered_the_caller_is_told_that_it_is_unknown() {
    let scene = Scene::new().await;
    let fault = Fault::new(Route::Commit, Action::Cut(Moment::Before)).always();
    scene.server.faults().add(fault);
    let events = Events::default();
    let model = scene.model(1);
    let failed = scene.publish_by(&scene.client(), &model, &events).await;
    let error = failed.unwrap_err();
    assert!(matches!(error, HubError::Unconfirmed { .. }), "{error}");
    assert_eq!(error.class(), Class::Ambiguous);
    assert_eq!(scene.server.count(Route::Commit), 4);
    // Each attempt read the head first.
    assert!(scene.server.count(Route::Info) >= 4);
    scene.server.faults().clear();
    assert!(!scene.publish(&model).await.unwrap().adopted);
    assert_eq!(scene.commits().len(), 1);
}
