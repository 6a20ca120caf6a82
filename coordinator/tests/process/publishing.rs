//! One publisher per hotkey.

use crate::bench::{Bench, Running, until_told};
use proto::v1;
use tokio_stream::StreamExt as _;
use tonic::Code;

const HOTKEY: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

fn request(instance: &str) -> v1::HoldRequest {
    v1::HoldRequest {
        context: None,
        hotkey: HOTKEY.to_owned(),
        holder: format!("publisher {instance} on some machine"),
        instance: instance.to_owned(),
    }
}

async fn hold(
    running: &Running,
    instance: &str,
) -> Result<tonic::Streaming<v1::HoldResponse>, tonic::Status> {
    let answer = running
        .connection
        .publishing()
        .hold(request(instance))
        .await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publisher_waits_until_the_first_has_gone() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let mut first = hold(&running, "one").await.unwrap();
    let held = first.next().await.unwrap().unwrap();
    assert!(held.held_unix_ms > 0);

    let refused = hold(&running, "two").await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(
        refused.message().contains("publisher one on some machine"),
        "{refused}"
    );
    // It says again and again that it is held.
    assert_eq!(first.next().await.unwrap().unwrap(), held);

    drop(first);
    // The coordinator hears of it when the stream's end has travelled.
    let mut second = loop {
        match hold(&running, "two").await {
            Ok(stream) => break stream,
            Err(refused) => assert_eq!(refused.code(), Code::AlreadyExists),
        }
    };
    second.next().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_takes_over_from_its_own_earlier_call() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let mut before = hold(&running, "one").await.unwrap();
    before.next().await.unwrap().unwrap();
    let mut after = hold(&running, "one").await.unwrap();
    after.next().await.unwrap().unwrap();
    // What was said before the other call came is not its end yet.
    let ended = until_told("the earlier call to end", async || {
        before.next().await.unwrap().err()
    })
    .await;
    assert_eq!(ended.code(), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_name_is_refused() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let refused = hold(&running, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("instance"), "{refused}");
}
