//! Endpoints that break, are silent, or belong to another chain.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use chain::{Chain, ChainConfig, ChainError, Class};
use standin_chain::{Fault, Methods, Options, StandinChain};
use tokio::net::TcpListener;

use crate::{NETUID, account, config, connected, connected_to};

/// An endpoint where nobody listens.
async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("ws://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn endpoints_are_tried_in_turn() {
    let standin = StandinChain::start(Options::default()).await.unwrap();
    let deserted = deserted().await;
    let config = config(&[&deserted, &standin.endpoint()]);
    let chain = Chain::connect(&config).await.unwrap();
    let view = chain.finalized().await.unwrap();
    assert!(view.endpoint().as_str().starts_with(&standin.endpoint()));
}

#[tokio::test]
async fn when_nobody_answers_the_error_names_every_endpoint_and_it_is_worth_another_try() {
    let (one, other) = (deserted().await, deserted().await);
    let error = Chain::connect(&config(&[&one, &other]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.class(), Class::Retry);
    let message = error.to_string();
    assert!(
        message.contains(&one) && message.contains(&other),
        "{message}"
    );

    let error = Chain::connect(&config(&[])).await.err().unwrap();
    assert_eq!(error.class(), Class::Fatal);
}

#[tokio::test]
async fn a_peer_that_never_finishes_the_handshake_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("ws://{}", listener.local_addr().unwrap());
    let config = ChainConfig {
        connect_timeout: Duration::from_millis(100),
        ..config(&[&silent])
    };
    let error = Chain::connect(&config).await.err().unwrap();
    assert!(matches!(error, ChainError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_encrypt_is_not_taken_for_one_that_does() {
    let standin = StandinChain::start(Options::default()).await.unwrap();
    let encrypted = standin.endpoint().replace("ws:", "wss:");
    let error = Chain::connect(&config(&[&encrypted])).await.err().unwrap();
    assert!(matches!(error, ChainError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains(&encrypted), "{error}");
}

#[tokio::test]
async fn a_broken_connection_is_mended_by_the_next_read() {
    let (standin, chain) = connected().await;
    for _ in 0..3 {
        chain.registration(NETUID, &account(1)).await.unwrap();
        standin.faults().inject(Fault::CutConnections).unwrap();
    }
    chain.registration(NETUID, &account(1)).await.unwrap();
}

#[tokio::test]
async fn a_request_without_an_answer_ends_at_its_deadline_and_names_the_endpoint() {
    let standin = StandinChain::start(Options::default()).await.unwrap();
    let config = ChainConfig {
        request_timeout: Duration::from_millis(300),
        ..config(&[&standin.endpoint()])
    };
    let chain = Chain::connect(&config).await.unwrap();
    chain.registration(NETUID, &account(1)).await.unwrap();
    let method = "state_getStorage".to_owned();
    let stall = Fault::Stall {
        method: method.clone(),
    };
    standin.faults().inject(stall).unwrap();
    let error = chain.registration(NETUID, &account(1)).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().contains(&standin.endpoint()), "{error}");
    assert!(
        error.to_string().contains("SubtensorModule.Uids"),
        "{error}"
    );

    standin.faults().inject(Fault::Resume { method }).unwrap();
    chain.registration(NETUID, &account(1)).await.unwrap();
}

#[tokio::test]
async fn a_node_of_another_chain_is_not_a_substitute() {
    let standin = StandinChain::start(Options::default()).await.unwrap();
    let config = config(&[&standin.endpoint(), &node_of_another_chain().await]);
    let chain = Chain::connect(&config).await.unwrap();
    chain.finalized().await.unwrap();
    standin.stop().await;
    let error = chain.finalized().await.err().unwrap();
    assert!(matches!(error, ChainError::OtherChain { .. }), "{error}");
    assert!(error.is_fatal());
}

/// An endpoint that knows one thing: the hash of its block 0.
async fn node_of_another_chain() -> String {
    async fn answer(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(Message::Text(request))) = socket.recv().await {
                let request: serde_json::Value = serde_json::from_str(&request).unwrap();
                let genesis = format!("0x{}", "11".repeat(32));
                let id = &request["id"];
                let answer = serde_json::json!({ "jsonrpc": "2.0", "id": id, "result": genesis });
                socket.send(answer.to_string().into()).await.unwrap();
            }
        })
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("ws://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", get(answer));
    tokio::spawn(async { axum::serve(listener, router).await });
    endpoint
}

#[tokio::test]
async fn an_upgrade_of_the_runtime_is_followed_over_the_same_connection() {
    let (standin, chain) = connected().await;
    let before = chain.spec_version().await.unwrap();
    let upgrade = Fault::UpgradeRuntime {
        spec_version: before + 1,
    };
    standin.faults().inject(upgrade).unwrap();
    standin.advance(5).await;
    assert_eq!(chain.spec_version().await.unwrap(), before + 1);
    chain.registration(NETUID, &account(1)).await.unwrap();
    assert_eq!(standin.heads().connections, 1);
}

#[tokio::test]
async fn the_plain_methods_of_an_old_node_are_enough() {
    let options = Options {
        methods: Methods::Legacy,
        ..Options::default()
    };
    let (standin, chain) = connected_to(options).await;
    standin.register(*account(1).bytes(), 0, 0.5);
    assert_eq!(
        chain.registration(NETUID, &account(1)).await.unwrap(),
        Some(0)
    );
    assert_eq!(chain.metagraph(NETUID).await.unwrap().neurons.len(), 1);
}
