//! One publication is one commit that leaves exactly its files.

use hub::{Event, HubError};
use standin_hub::Route;
use subnet::{CommitId, RepoId};

use crate::common::{Events, Model, NO_LIMIT, Scene, quiet};

#[tokio::test]
async fn a_publication_is_one_commit_on_the_head_that_was_read() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let before = scene.head();
    let published = scene.publish(&model).await.unwrap();
    assert!(!published.adopted);
    assert_eq!(published.commit, scene.head());
    let commits = scene.commits();
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0].parent, Some(before.to_string()));
    assert_eq!(commits[0].title, "Publish");
    let repo = scene.repo.to_string();
    let served = scene.server.files(&repo, "main").await.unwrap();
    for name in model.names() {
        assert_eq!(served[&name], model.contents(&name), "{name}");
    }
}

#[tokio::test]
async fn stale_files_go_in_the_same_commit_and_peoples_own_stay() {
    let scene = Scene::new().await;
    let files: [(&str, &[u8]); 9] = [
        (".gitattributes", b"*.safetensors filter=lfs -text\n"),
        ("README.md", b"# Model"),
        ("README.zh.txt", b"Model"),
        ("LICENSE", b"MIT"),
        ("LICENSE.txt", b"MIT"),
        ("model-00001-of-00009.safetensors", b"old"),
        ("model.safetensors.index.json", b"{}"),
        ("adapter_config.json", b"{}"),
        ("runs/log.txt", b"old"),
    ];
    scene.server.seed(&scene.repo.to_string(), &files).unwrap();
    let events = Events::default();
    let (client, model) = (scene.client(), scene.model(1));
    let published = scene.publish_by(&client, &model, &events).await.unwrap();
    let commits = scene.commits();
    assert_eq!(commits.len(), 2);
    let expected = [
        ".gitattributes",
        "LICENSE",
        "LICENSE.txt",
        "README.md",
        "README.zh.txt",
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ];
    assert_eq!(scene.paths(), expected);

    // What a commit takes away is told before it is sent.
    let deleted = [
        "adapter_config.json",
        "model-00001-of-00009.safetensors",
        "model.safetensors.index.json",
        "runs/log.txt",
    ];
    let events = events.all();
    let told = &events[events.len() - 2..];
    let parent: CommitId = commits[0].id.parse().unwrap();
    let files = deleted.map(str::to_owned).to_vec();
    assert_eq!(
        told,
        [Event::Deleting { files }, Event::Committing { parent }]
    );

    // And what is kept is no obstacle to validators or to a second look.
    let verified = client
        .verify(&scene.repo, published.commit, &model.files, NO_LIMIT)
        .await;
    assert!(verified.is_ok());
    assert!(scene.publish(&model).await.unwrap().adopted);
}

#[tokio::test]
async fn a_model_in_shards_is_published_and_replaced_by_one_in_a_single_file() {
    let scene = Scene::new().await;
    let sharded = Model::sharded(&scene.path("sharded"), 5);
    scene.publish(&sharded).await.unwrap();
    let paths = scene.paths();
    assert!(sharded.names().iter().all(|name| paths.contains(name)));
    scene.publish(&scene.model(1)).await.unwrap();
    assert!(!scene.paths().iter().any(|path| path.contains("-of-")));
    assert_eq!(scene.commits().len(), 2);
}

#[tokio::test]
async fn what_is_there_already_is_adopted_without_a_commit_or_a_transfer() {
    let scene = Scene::new().await;
    let model = scene.model(1);
    let first = scene.publish(&model).await.unwrap();
    let blocks = scene.blocks_offered();
    let second = scene.publish(&model).await.unwrap();
    assert_eq!(second.commit, first.commit);
    assert!(second.adopted);
    assert_eq!(scene.server.count(Route::Commit), 1);
    assert_eq!(scene.blocks_offered(), blocks);
}

#[tokio::test]
async fn a_head_with_one_file_more_or_one_byte_other_is_not_adopted() {
    let scene = Scene::new().await;
    let mut model = scene.model(1);
    scene.publish(&model).await.unwrap();
    model.add("config.json", b"{\"seed\": 2}\n");
    assert!(!scene.publish(&model).await.unwrap().adopted);

    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for name in model.names() {
        files.push((name.clone(), model.contents(&name)));
    }
    files.push(("tokenizer.json".to_owned(), b"{}".to_vec()));
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, contents)| (name.as_str(), contents.as_slice()))
        .collect();
    scene.server.seed(&scene.repo.to_string(), &files).unwrap();
    assert!(!scene.publish(&model).await.unwrap().adopted);
    assert!(!scene.paths().contains(&"tokenizer.json".to_owned()));
}

#[tokio::test]
async fn the_course_of_a_publication_is_told() {
    let scene = Scene::new().await;
    let parent = scene.head();
    let events = Events::default();
    scene
        .publish_by(&scene.client(), &scene.model(1), &events)
        .await
        .unwrap();
    let events = events.all();
    assert_eq!(events.first(), Some(&Event::Preparing));
    assert_eq!(events.last(), Some(&Event::Committing { parent }));
    let is_deletion = |event: &Event| matches!(event, Event::Deleting { .. });
    assert!(!events.iter().any(is_deletion));
    let transferred: Vec<(u64, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Transferred { done, total } => Some((*done, *total)),
            _ => None,
        })
        .collect();
    assert_eq!(transferred.first(), Some(&(0, 100_000)));
    assert_eq!(transferred.last(), Some(&(100_000, 100_000)));
    assert!(transferred.is_sorted(), "{transferred:?}");
}

#[tokio::test]
async fn a_repository_is_made_once_and_read_back() {
    let scene = Scene::new().await;
    let client = scene.client();
    let repo = RepoId::new("standin", "other").unwrap();
    assert_eq!(client.repository(&repo).await.unwrap(), None);
    let missing = client.publish(&scene.model(1).publish(&repo), &quiet).await;
    let error = missing.unwrap_err();
    assert!(matches!(error, HubError::NoRepository { .. }), "{error}");

    client.create_repository(&repo, true).await.unwrap();
    client.create_repository(&repo, false).await.unwrap();
    let made = client.repository(&repo).await.unwrap().unwrap();
    assert!(made.private && !made.gated);
    assert_eq!(made.files.len(), 1);
    assert_eq!(made.bytes, made.files[0].bytes);
    assert_eq!(scene.server.commits("standin/other").len(), 1);
}

#[tokio::test]
async fn what_must_not_be_published_is_refused_before_anything_is_sent() {
    let scene = Scene::new().await;
    let sent = scene.server.requests().len();
    for name in ["adapter_config.json", "README.md", ".gitattributes"] {
        let mut model = scene.model(1);
        model.add(name, b"{}");
        let error = scene.publish(&model).await.unwrap_err();
        assert!(matches!(error, HubError::Unpublishable { .. }), "{error}");
    }
    let mut model = scene.model(2);
    model.files[0].name = "../config.json".to_owned();
    let error = scene.publish(&model).await.unwrap_err();
    assert!(matches!(error, HubError::Unpublishable { .. }), "{error}");
    assert_eq!(scene.server.requests().len(), sent);
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_staged_is_not_committed() {
    let scene = Scene::new().await;
    for name in ["config.json", "model.safetensors"] {
        let model = Model::new(&scene.path(name), 3, 9_000_000);
        let mut contents = model.contents(name);
        contents[0] ^= 1;
        std::fs::write(model.dir.join(name), contents).unwrap();
        let error = scene.publish(&model).await.unwrap_err();
        assert!(matches!(error, HubError::Changed { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(scene.server.count(Route::Commit), 0);
}

#[tokio::test]
async fn nobody_is_told_what_was_not_asked_for() {
    let scene = Scene::new().await;
    scene.publish(&scene.model(1)).await.unwrap();
    let requests = scene.server.requests();
    assert!(
        !requests
            .iter()
            .any(|request| request.path.contains("telemetry"))
    );
    assert_eq!(scene.server.count(Route::Other), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_its_own_can_do_it_all() {
    let scene = Scene::new().await;
    let (client, repo, model) = (scene.client(), scene.repo.clone(), scene.model(1));
    let into = scene.path("into");
    let task = tokio::spawn(async move {
        client.whoami().await?;
        let published = client.publish(&model.publish(&repo), &quiet).await?;
        let commit = published.commit;
        client.verify(&repo, commit, &model.files, NO_LIMIT).await?;
        let brought = client
            .download(&repo, commit, &into, NO_LIMIT, &quiet)
            .await?;
        assert_eq!(brought, model.files);
        Ok::<_, HubError>(client.repository(&repo).await?.map(|read| read.head))
    });
    assert_eq!(task.await.unwrap().unwrap(), Some(scene.head()));
}
