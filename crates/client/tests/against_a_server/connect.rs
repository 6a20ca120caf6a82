//! Reaching a coordinator that is not there, or not yet.

use std::time::Duration;

use client::{Address, ConnectOptions, Error, RetryPolicy, connect, connect_with_retries};
use proto::v1::checkpoints_server::CheckpointsServer;
use tokio_stream::wrappers::TcpListenerStream;

/// A port that was free a moment ago.
fn unused_address() -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Address::from(listener.local_addr().unwrap())
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_address() {
    let address = unused_address();
    let error = connect(&address, &ConnectOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(!error.is_fatal());
    let message = error.to_string();
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_coordinator_that_starts_later_is_found() {
    let address = unused_address();
    let policy = RetryPolicy {
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        give_up_after: None,
    };
    let connecting = tokio::spawn({
        let address = address.clone();
        async move { connect_with_retries(&address, &ConnectOptions::default(), &policy).await }
    });
    let first = connect(&address, &ConnectOptions::default()).await;
    assert!(first.is_err(), "nobody listens yet");
    let listener = tokio::net::TcpListener::bind(address.to_string())
        .await
        .unwrap();
    let checkpoints = crate::fake::FakeCoordinator::default();
    let server = tonic::transport::Server::builder()
        .add_service(CheckpointsServer::new(checkpoints))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let connection = connecting.await.unwrap().unwrap();
    assert_eq!(connection.address(), address);
}
