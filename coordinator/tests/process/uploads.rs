//! Checkpoints that do not arrive as they were sent.

use crate::bench::{Bench, Running};
use crate::worker::checkpoint_files;
use client::{CheckpointUpload, upload_checkpoint};
use proto::v1;
use proto::v1::put_checkpoint_request::{Begin, Chunk, Commit, FileBegin, FileEnd, Part};
use sha2::{Digest as _, Sha256};

async fn begin(running: &Running) -> Begin {
    let status = running
        .connection
        .operator()
        .status(v1::StatusRequest {})
        .await
        .unwrap();
    let mut context = status.into_inner().context.unwrap();
    context.generation = 1;
    Begin {
        context: Some(context),
        cursor: Some(ledger::Cursor::start().into()),
        total_bytes: 8,
        ..Default::default()
    }
}

async fn send(running: &Running, parts: Vec<Part>) -> tonic::Status {
    let requests = parts
        .into_iter()
        .map(|part| v1::PutCheckpointRequest { part: Some(part) });
    let stream = tokio_stream::iter(requests.collect::<Vec<_>>());
    let answer = running.connection.cluster().put_checkpoint(stream).await;
    answer.map(|_| ()).unwrap_err()
}

fn file(name: &str) -> Part {
    Part::FileBegin(FileBegin {
        name: name.to_owned(),
        kind: v1::FileKind::Model.into(),
        size: 8,
    })
}

fn chunk(data: &[u8]) -> Part {
    Part::Chunk(Chunk {
        sha256: Sha256::digest(data).to_vec().into(),
        data: data.to_vec().into(),
    })
}

fn end(data: &[u8]) -> Part {
    Part::FileEnd(FileEnd {
        sha256: Sha256::digest(data).to_vec().into(),
    })
}

fn nothing_is_left(bench: &Bench) {
    let folder = bench.state_dir().join("checkpoints");
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_torn_corrupt_or_foreign_leaves_nothing() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let begin = Part::Begin(begin(&running).await);
    let bytes = b"12345678";

    let torn = send(
        &running,
        vec![begin.clone(), file("model.safetensors"), chunk(b"1234")],
    )
    .await;
    assert!(torn.message().contains("before its commit"), "{torn}");

    let corrupt = Part::Chunk(Chunk {
        data: bytes.to_vec().into(),
        sha256: Sha256::digest(b"something else").to_vec().into(),
    });
    let refused = send(
        &running,
        vec![begin.clone(), file("model.safetensors"), corrupt],
    )
    .await;
    assert_eq!(refused.code(), tonic::Code::Aborted);
    assert!(refused.message().contains("SHA-256"), "{refused}");

    let parts = vec![begin.clone(), file("a"), chunk(bytes), end(b"other")];
    let refused = send(&running, parts).await;
    assert!(refused.message().contains("file a"), "{refused}");

    for name in ["../escape", "a/b", "", ".hidden", "..", "a\0b"] {
        let refused = send(&running, vec![begin.clone(), file(name)]).await;
        assert!(refused.message().contains("plain file name"), "{refused}");
    }

    let long = send(
        &running,
        vec![begin.clone(), file("a"), chunk(b"123456789")],
    )
    .await;
    assert!(
        long.message().contains("more than its announced 8"),
        "{long}"
    );

    let parts = vec![
        begin.clone(),
        file("model.safetensors"),
        chunk(bytes),
        end(bytes),
        Part::Commit(Commit {}),
    ];
    let refused = send(&running, parts).await;
    assert_eq!(
        refused.code(),
        tonic::Code::InvalidArgument,
        "no model: {refused}"
    );

    nothing_is_left(&bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_a_generation_that_never_was_is_refused() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let Begin { context, .. } = begin(&running).await;
    let upload = CheckpointUpload {
        context: context.unwrap(),
        cursor: v1::Cursor {
            step: 5,
            ..ledger::Cursor::start().into()
        },
        ..Default::default()
    };
    let error = upload_checkpoint(&running.connection, upload, checkpoint_files(1.0)).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    nothing_is_left(&bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_disk_holds_is_refused_before_it_is_sent() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let begin = Begin {
        total_bytes: 1 << 60,
        ..begin(&running).await
    };
    let refused = send(&running, vec![Part::Begin(begin)]).await;
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("--state-dir"), "{refused}");
}
