//! A coordinator that has lost a page gets it from the worker that needs it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use client::{Address, ConnectOptions, Connection};
use ledger::{Ordinal, PackedPage, PageId, PageRow, Slot};
use pages::{LocalFiles, Preparer, PreparerConfig, Tokenizer};
use proto::v1;
use proto::v1::cluster_server::{Cluster, ClusterServer};
use run::{DataManifest, PACKING_VERSION};
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::PageStore;
use crate::identity::Identity;

const SL: u32 = 16;

/// A coordinator that took over with an empty disk.
#[derive(Clone, Default)]
struct Forgetful {
    handed_over: Arc<Mutex<Vec<PackedPage>>>,
}

#[tonic::async_trait]
impl Cluster for Forgetful {
    async fn join(
        &self,
        _: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    type SessionStream = Empty<Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn put_page(
        &self,
        request: Request<v1::PutPageRequest>,
    ) -> Result<Response<v1::PutPageResponse>, Status> {
        let page = PackedPage::decode(&request.into_inner().packed).unwrap();
        self.handed_over.lock().unwrap().push(page);
        Ok(Response::new(v1::PutPageResponse {}))
    }

    async fn get_page(
        &self,
        _: Request<v1::GetPageRequest>,
    ) -> Result<Response<v1::GetPageResponse>, Status> {
        Err(Status::not_found("on no coordinator's disk"))
    }

    async fn coming_pages(
        &self,
        _: Request<v1::ComingPagesRequest>,
    ) -> Result<Response<v1::ComingPagesResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn put_checkpoint(
        &self,
        _: Request<Streaming<v1::PutCheckpointRequest>>,
    ) -> Result<Response<v1::PutCheckpointResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

async fn connect_to(coordinator: &Forgetful) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(ClusterServer::new(coordinator.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Connection::lazy(&address, &ConnectOptions::default()).unwrap()
}

/// Prepares pages of two hundred short rows.
fn preparer(folder: &tempfile::TempDir) -> Preparer {
    let path = folder.path().join("rows.jsonl");
    let rows = (0..200).map(|row| format!("{{\"content\":\"row {row} of a small book\"}}\n"));
    std::fs::write(&path, rows.collect::<String>()).unwrap();
    let source = LocalFiles::open(&path, "content").unwrap();
    let tokenizer = Arc::new(Tokenizer::gpt2().unwrap());
    let manifest = DataManifest {
        source: run::Source::Files {
            path: path.display().to_string(),
            column: "content".to_owned(),
            revision: source.info().revision.clone(),
        },
        rows: source.info().rows,
        tokenizer: tokenizer.identity().to_owned(),
        vocabulary: tokenizer.vocabulary_size(),
        keep_long_documents: false,
        packing: PACKING_VERSION,
    };
    let config = PreparerConfig {
        concurrency: NonZeroUsize::MIN,
        cache: None,
    };
    Preparer::new(Arc::new(source), tokenizer, &manifest, SL, config).unwrap()
}

#[tokio::test]
async fn a_page_that_the_coordinator_has_lost_is_prepared_again_and_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let preparer = Arc::new(preparer(&folder));
    let page = preparer.prepare(PageId(1)).await.unwrap();
    let coordinator = Forgetful::default();
    let identity = Arc::new(Identity::new(&v1::Context::default()));
    let store = PageStore::new(connect_to(&coordinator).await, identity).preparing_with(preparer);
    let slot = Slot::Training(Ordinal(5));
    let got = store.get(slot, &page.row()).await.unwrap();
    assert_eq!(*got, page);
    assert_eq!(*coordinator.handed_over.lock().unwrap(), [page]);
}

#[tokio::test]
async fn a_page_that_packs_to_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let preparer = Arc::new(preparer(&folder));
    let other = PackedPage::new(PageId(1), SL, 0, (0..SL).collect()).unwrap();
    let row: PageRow = other.row();
    let coordinator = Forgetful::default();
    let identity = Arc::new(Identity::new(&v1::Context::default()));
    let store = PageStore::new(connect_to(&coordinator).await, identity).preparing_with(preparer);
    let slot = Slot::Training(Ordinal(5));
    let error = store.get(slot, &row).await.unwrap_err().to_string();
    assert!(error.contains("compare dataset files"), "{error}");
    assert_eq!(*coordinator.handed_over.lock().unwrap(), []);
}
