//! Servers that mean harm: they must not exhaust memory, learn the token, or
//! lead a download astray.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_RANGE, LINK, LOCATION, USER_AGENT};
use axum::response::Response;
use cli::Secret;
use hub::{Hub, HubConfig, HubError};
use subnet::{CommitId, RepoId};
use tokio::net::TcpListener;

use crate::common::{NO_LIMIT, quiet};

const COMMIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

/// A server that answers as it is told, and remembers what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Server {
    async fn new(answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let path = request.uri().to_string();
            let has_token = request.headers().contains_key(AUTHORIZATION);
            let answered = answer(&path);
            log.lock().unwrap().push((path, has_token));
            answered
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked }
    }

    fn client(&self, dir: &tempfile::TempDir) -> Hub {
        let endpoint = format!("http://{}", self.address);
        let token = Some(Secret::new("hf_token"));
        let mut config = HubConfig::new(&endpoint, token, dir.path().join("cache"));
        config.waits.attempts = 1;
        Hub::new(config).unwrap()
    }

    fn asked(&self) -> Vec<(String, bool)> {
        self.asked.lock().unwrap().clone()
    }
}

fn json(body: String) -> Response {
    Response::new(Body::from(body))
}

fn info() -> Response {
    json(format!(r#"{{"id":"a/b","sha":"{COMMIT}"}}"#))
}

fn entry(path: &str, bytes: usize) -> String {
    format!(r#"{{"type":"file","path":"{path}","size":{bytes},"oid":"{COMMIT}"}}"#)
}

fn repo() -> RepoId {
    RepoId::new("a", "b").unwrap()
}

async fn read(
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> (HubError, Server) {
    let server = Server::new(answer).await;
    let dir = tempfile::tempdir().unwrap();
    let error = server.client(&dir).repository(&repo()).await.unwrap_err();
    (error, server)
}

#[tokio::test]
async fn an_answer_without_end_is_cut_short() {
    let (error, _) = read(|_| {
        let piece = Ok::<_, std::io::Error>(vec![b' '; 1 << 16]);
        let endless = tokio_stream::iter(std::iter::repeat_with(move || {
            piece
                .as_ref()
                .map(Vec::clone)
                .map_err(|_| std::io::Error::other("never"))
        }));
        Response::new(Body::from_stream(endless))
    })
    .await;
    assert!(error.to_string().contains("exceeds"), "{error}");
}

#[tokio::test]
async fn a_refusal_without_end_is_cut_short_too() {
    let (error, _) = read(|_| {
        let words = "no ".repeat(1 << 20);
        Response::builder()
            .status(403)
            .body(Body::from(words))
            .unwrap()
    })
    .await;
    assert_eq!(error.status(), Some(403));
    assert!(error.to_string().len() < 1000);
}

#[tokio::test]
async fn a_listing_is_read_to_its_last_page() {
    let server = Server::new(|path| {
        if !path.contains("/tree/") {
            return info();
        }
        if path.contains("cursor=2") {
            return json(format!("[{}]", entry("b", 2)));
        }
        let mut response = json(format!("[{}]", entry("a", 1)));
        let next = "</api/models/a/b/tree/x?recursive=true&cursor=2>; rel=\"next\"";
        response.headers_mut().insert(LINK, next.parse().unwrap());
        response
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let read = server
        .client(&dir)
        .repository(&repo())
        .await
        .unwrap()
        .unwrap();
    let paths: Vec<&str> = read.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!((paths, read.bytes), (vec!["a", "b"], 3));
}

#[tokio::test]
async fn a_listing_without_end_is_given_up() {
    let (error, server) = read(|path| {
        if !path.contains("/tree/") {
            return info();
        }
        let page: usize = path
            .rsplit('=')
            .next()
            .and_then(|page| page.parse().ok())
            .unwrap_or(0);
        let files: Vec<String> = (0..5000)
            .map(|file| entry(&format!("{page}/{file}"), 1))
            .collect();
        let mut response = json(format!("[{}]", files.join(",")));
        let next = format!("</api/models/a/b/tree/x?page={}>; rel=\"next\"", page + 1);
        response.headers_mut().insert(LINK, next.parse().unwrap());
        response
    })
    .await;
    assert!(
        error.to_string().contains("more than 10000 files"),
        "{error}"
    );
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn the_token_follows_no_link_to_another_server() {
    let other = Server::new(|_| json("[]".to_owned())).await;
    let address = other.address;
    let (error, _) = read(move |path| {
        if !path.contains("/tree/") {
            return info();
        }
        let mut response = json("[]".to_owned());
        let next = format!("<http://{address}/next>; rel=\"next\"");
        response.headers_mut().insert(LINK, next.parse().unwrap());
        response
    })
    .await;
    assert!(error.to_string().contains("another server"), "{error}");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn the_token_follows_no_redirect_to_another_server() {
    let other = Server::new(|_| info()).await;
    let address = other.address;
    let (_, server) = read(move |path| {
        if path.contains("/tree/") {
            return Response::builder().status(404).body(Body::empty()).unwrap();
        }
        let elsewhere = format!("http://{address}/elsewhere");
        Response::builder()
            .status(307)
            .header(LOCATION, elsewhere)
            .body(Body::empty())
            .unwrap()
    })
    .await;
    assert_eq!(other.asked(), [("/elsewhere".to_owned(), false)]);
    assert!(server.asked().iter().all(|(_, has_token)| *has_token));
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    let (error, server) = read(|path| {
        let deeper = format!("{path}/x");
        Response::builder()
            .status(302)
            .header(LOCATION, deeper)
            .body(Body::empty())
            .unwrap()
    })
    .await;
    assert!(
        error.to_string().contains("redirects without end"),
        "{error}"
    );
    assert!(server.asked().len() < 10);
}

#[tokio::test]
async fn a_listing_that_leads_out_or_repeats_itself_is_refused() {
    for (first, second) in [("../../x", "y"), ("/etc/x", "y"), ("x", "x")] {
        let body = format!("[{},{}]", entry(first, 1), entry(second, 1));
        let (error, _) = read(move |path| match path.contains("/tree/") {
            true => json(body.clone()),
            false => info(),
        })
        .await;
        assert!(matches!(error, HubError::Answer { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_file_longer_than_listed_or_another_part_of_it_is_not_taken() {
    let commit: CommitId = COMMIT.parse().unwrap();
    for from in [0, 3] {
        let server = Server::new(move |path| {
            if path.contains("/tree/") {
                return json(format!(
                    "[{},{}]",
                    entry("config.json", 6),
                    entry("model.safetensors", 6)
                ));
            }
            if !path.contains("/resolve/") {
                return info();
            }
            match from {
                0 => json("x".repeat(1 << 20)),
                from => Response::builder()
                    .status(206)
                    .header(CONTENT_RANGE, format!("bytes {from}-5/6"))
                    .body(Body::from("xxx"))
                    .unwrap(),
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        let client = server.client(&dir);
        let error = client
            .download(&repo(), commit, &into, NO_LIMIT, &quiet)
            .await
            .unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error}");
        assert!(!into.join("config.json").exists());
    }
}

#[tokio::test]
async fn an_answer_about_another_commit_or_another_name_is_noticed() {
    let other = "0123456789abcdef0123456789abcdef01234567";
    let server = Server::new(|path| match path.contains("/tree/") {
        true => json("[]".to_owned()),
        false => json(format!(r#"{{"id":"A/renamed","sha":"{COMMIT}"}}"#)),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let client = server.client(&dir);
    let commit = other.parse().unwrap();
    let error = client
        .verify(&repo(), commit, &[], NO_LIMIT)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("when asked for"), "{error}");

    let model = crate::common::Model::new(dir.path(), 1, 10);
    let error = client
        .publish(&model.publish(&repo()), &quiet)
        .await
        .unwrap_err();
    assert!(matches!(error, HubError::Renamed { .. }), "{error}");
    assert!(error.advice().unwrap().contains("A/renamed"), "{error}");
}

#[tokio::test]
async fn requests_say_whose_they_are() {
    let agents = Arc::new(Mutex::new(Vec::new()));
    let log = agents.clone();
    let router = Router::new().fallback(async move |request: Request| {
        let agent = request.headers().get(USER_AGENT).cloned();
        log.lock().unwrap().push(agent);
        info()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Hub::new(HubConfig::new(&endpoint, None, "unused")).unwrap();
    client.create_repository(&repo(), true).await.unwrap();
    let expected = concat!("peregrine/", env!("CARGO_PKG_VERSION"));
    assert_eq!(*agents.lock().unwrap(), [Some(expected.parse().unwrap())]);
}
