//! A checkpoint arrives whole, in hashed chunks, or not at all.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use client::{CheckpointUpload, Connection, Error, UploadFile, upload_checkpoint};
use proto::v1::cluster_server::{Cluster, ClusterServer};
use proto::v1::put_checkpoint_request::Part;
use proto::v1::{
    ComingPagesRequest, ComingPagesResponse, CoordinatorMessage, Cursor, FileKind, GetPageRequest,
    GetPageResponse, JoinRequest, JoinResponse, PutCheckpointRequest, PutCheckpointResponse,
    PutPageRequest, PutPageResponse, WorkerMessage,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// Keeps what was committed; refuses before the n-th part if told to.
#[derive(Clone, Default)]
struct FakeStore {
    committed: Arc<Mutex<Vec<Vec<Part>>>>,
    refuse_at: Option<usize>,
}

#[tonic::async_trait]
impl Cluster for FakeStore {
    type SessionStream = tokio_stream::Empty<Result<CoordinatorMessage, Status>>;

    async fn coming_pages(
        &self,
        _: Request<ComingPagesRequest>,
    ) -> Result<Response<ComingPagesResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn put_checkpoint(
        &self,
        request: Request<Streaming<PutCheckpointRequest>>,
    ) -> Result<Response<PutCheckpointResponse>, Status> {
        let mut stream = request.into_inner();
        let mut parts = Vec::new();
        while let Some(message) = stream.message().await? {
            if self.refuse_at == Some(parts.len()) {
                return Err(Status::resource_exhausted("the disk is full"));
            }
            parts.push(message.part.unwrap());
        }
        if !matches!(parts.last(), Some(Part::Commit(_))) {
            return Err(Status::invalid_argument("there was no commit"));
        }
        self.committed.lock().unwrap().push(parts);
        Ok(Response::new(PutCheckpointResponse {
            checkpoint_id: "c7".to_owned(),
        }))
    }

    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn session(
        &self,
        _: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn put_page(
        &self,
        _: Request<PutPageRequest>,
    ) -> Result<Response<PutPageResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn get_page(
        &self,
        _: Request<GetPageRequest>,
    ) -> Result<Response<GetPageResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

async fn serve(store: &FakeStore) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(ClusterServer::new(store.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    crate::fake::connect_to(address).await
}

fn checkpoint() -> CheckpointUpload {
    CheckpointUpload {
        cursor: Cursor {
            step: 12,
            ..Cursor::default()
        },
        training_loss: 3.5,
        ..CheckpointUpload::default()
    }
}

fn file(name: &str, content: Vec<u8>) -> UploadFile {
    UploadFile {
        name: name.to_owned(),
        kind: FileKind::Model,
        size: content.len() as u64,
        content: Box::new(io::Cursor::new(content)),
    }
}

#[tokio::test]
async fn every_chunk_and_every_file_comes_with_its_hash() {
    let store = FakeStore::default();
    let connection = serve(&store).await;
    let weights: Vec<u8> = (0..2_500_000_u32)
        .map(|index| (index % 253) as u8)
        .collect();
    let files = vec![
        file("config.json", b"{}".to_vec()),
        file("empty", vec![]),
        file("weights", weights.clone()),
    ];
    let id = upload_checkpoint(&connection, checkpoint(), files)
        .await
        .unwrap();
    assert_eq!(id, "c7");

    let committed = store.committed.lock().unwrap();
    let mut parts = committed[0].iter();
    let Some(Part::Begin(begin)) = parts.next() else {
        panic!("an upload starts with Begin");
    };
    assert_eq!(begin.total_bytes, 2_500_002);
    assert_eq!(begin.cursor.unwrap().step, 12);
    let mut arrived: Vec<(String, Vec<u8>)> = Vec::new();
    let mut chunks_of_last = 0;
    for part in parts {
        match part {
            Part::FileBegin(begin) => {
                chunks_of_last = 0;
                arrived.push((begin.name.clone(), Vec::new()));
            }
            Part::Chunk(chunk) => {
                chunks_of_last += 1;
                assert_eq!(chunk.sha256[..], Sha256::digest(&chunk.data)[..]);
                arrived.last_mut().unwrap().1.extend_from_slice(&chunk.data);
            }
            Part::FileEnd(end) => {
                let (_, content) = arrived.last().unwrap();
                assert_eq!(end.sha256[..], Sha256::digest(content)[..]);
            }
            Part::Begin(_) => panic!("there is one Begin"),
            Part::Commit(_) => {}
        }
    }
    assert_eq!(chunks_of_last, 3, "2.5 MB are three chunks of up to a MiB");
    let names: Vec<&str> = arrived.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["config.json", "empty", "weights"]);
    assert!(arrived[2].1 == weights);
}

#[tokio::test]
async fn a_file_of_another_size_than_announced_is_never_committed() {
    for announced in [9, 11] {
        let store = FakeStore::default();
        let connection = serve(&store).await;
        let mut wrong = file("weights", vec![1; 10]);
        wrong.size = announced;
        let error = upload_checkpoint(&connection, checkpoint(), vec![wrong])
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Content { file, .. } if file == "weights"),
            "{error}"
        );
        assert!(error.is_fatal());
        assert!(store.committed.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_reader_that_fails_ends_the_upload_with_its_reason() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the device fell off"))
        }
    }
    let store = FakeStore::default();
    let connection = serve(&store).await;
    let mut broken = file("weights", vec![1; 10]);
    broken.content = Box::new(Broken);
    let error = upload_checkpoint(&connection, checkpoint(), vec![broken])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the device fell off"), "{error}");
    assert!(store.committed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_stops_the_reading_of_an_endless_file() {
    let store = FakeStore {
        refuse_at: Some(5),
        ..FakeStore::default()
    };
    let connection = serve(&store).await;
    let mut endless = file("weights", vec![]);
    endless.size = u64::MAX;
    endless.content = Box::new(io::repeat(0));
    let error = upload_checkpoint(&connection, checkpoint(), vec![endless])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!error.is_fatal(), "a full disk can be emptied");
}
