//! Whose token it is, and that nobody else learns it.

use cli::Secret;
use hub::{Class, Hub, HubConfig, TokenScope, WriteAccess};
use standin_hub::{Role, Scope, Token};
use subnet::RepoId;

use crate::common::Scene;

fn client(scene: &Scene, token: Option<&str>) -> Hub {
    let mut config = scene.config();
    config.token = token.map(Secret::new);
    Hub::new(config).unwrap()
}

#[tokio::test]
async fn each_kind_of_token_is_told_with_what_it_may_write() {
    let scene = Scene::new().await;
    let scoped = Scope {
        entity: "standin/model".to_owned(),
        permissions: vec!["repo.write".to_owned()],
    };
    let fine_grained = Role::FineGrained(vec![scoped]);
    for (secret, role) in [("hf_read", Role::Read), ("hf_fine", fine_grained)] {
        let secret = secret.to_owned();
        scene.server.add_token(Token { secret, role });
    }
    let write = client(&scene, Some(scene.server.token()))
        .whoami()
        .await
        .unwrap();
    assert_eq!(
        (write.name.as_str(), &write.scope),
        ("standin", &TokenScope::Write)
    );
    assert_eq!(write.may_write(&scene.repo), WriteAccess::Yes);

    let read = client(&scene, Some("hf_read")).whoami().await.unwrap();
    assert!(matches!(read.may_write(&scene.repo), WriteAccess::No(_)));

    let fine = client(&scene, Some("hf_fine")).whoami().await.unwrap();
    assert_eq!(fine.may_write(&scene.repo), WriteAccess::OnlyIfExists);
    let other = RepoId::new("standin", "other").unwrap();
    assert!(matches!(fine.may_write(&other), WriteAccess::No(_)));
}

#[tokio::test]
async fn a_token_that_may_not_write_is_refused_with_advice() {
    let scene = Scene::new().await;
    let secret = "hf_read".to_owned();
    scene.server.add_token(Token {
        secret,
        role: Role::Read,
    });
    let model = scene.model(1);
    let publish = model.publish(&scene.repo);
    for (token, status) in [(Some("hf_read"), 403), (Some("hf_wrong"), 401), (None, 401)] {
        let client = client(&scene, token);
        let error = client
            .publish(&publish, &crate::common::quiet)
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        assert_eq!(error.class(), Class::Fatal);
        assert!(error.advice().is_some());
    }
    let stranger = RepoId::new("nobody", "model").unwrap();
    let made = scene.client().create_repository(&stranger, false).await;
    assert_eq!(made.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn a_token_appears_in_no_text() {
    let scene = Scene::new().await;
    let secret = "hf_secretSecretSecret";
    let config = HubConfig::new(
        &scene.server.endpoint(),
        Some(Secret::new(secret)),
        scene.path("cache"),
    );
    let shown = format!("{config:?}");
    let client = Hub::new(config).unwrap();
    let error = client.whoami().await.unwrap_err();
    for text in [
        shown,
        format!("{client:?}"),
        format!("{error} {error:?} {:?}", error.advice()),
    ] {
        assert!(!text.contains("ecretSecret"), "{text}");
    }
    let broken = HubConfig::new(
        &scene.server.endpoint(),
        Some(Secret::new("hf\nx")),
        scene.path("cache"),
    );
    let error = Hub::new(broken).unwrap_err();
    assert!(error.to_string().contains("no token has"), "{error}");
}
