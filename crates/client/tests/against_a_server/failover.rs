//! One of several coordinators leads, and another takes over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Address, Addresses, ConnectOptions, Connection, Download, Error, RetryPolicy};
use proto::v1::checkpoints_server::{Checkpoints, CheckpointsServer};
use proto::v1::coordinators_server::{Coordinators, CoordinatorsServer};
use proto::v1::{
    CheckpointManifest, Context, DescribeRequest, DescribeResponse, GetCheckpointRequest,
    ReadPageRequest, ReadPageResponse, ReadRequest, WatchRequest,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::fake::{FakeCoordinator, Fault};

/// So patient that a test that waits for it fails.
const SLOW: RetryPolicy = RetryPolicy {
    first_wait: Duration::from_secs(600),
    longest_wait: Duration::from_secs(600),
    give_up_after: None,
};

#[derive(Clone, Debug)]
enum Role {
    Leads { term: u64 },
    Standby { leader: String },
}

/// One of several coordinators.
#[derive(Clone)]
struct Node {
    address: Address,
    role: Arc<Mutex<Role>>,
    /// What it serves while it leads.
    serves: FakeCoordinator,
}

impl Node {
    async fn start(serves: &FakeCoordinator, role: Role) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node {
            address: listener.local_addr().unwrap().into(),
            role: Arc::new(Mutex::new(role)),
            serves: serves.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(CheckpointsServer::new(node.clone()))
            .add_service(CoordinatorsServer::new(node.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        node
    }

    fn become_(&self, role: Role) {
        *self.role.lock().unwrap() = role;
    }

    fn leads(&self) -> Result<(), Status> {
        match &*self.role.lock().unwrap() {
            Role::Leads { .. } => Ok(()),
            Role::Standby { leader } => {
                let mut status = Status::unavailable("standby");
                let leader = leader.parse().unwrap();
                status.metadata_mut().insert(proto::LEADER_METADATA, leader);
                Err(status)
            }
        }
    }
}

fn standby(leader: &str) -> Role {
    Role::Standby {
        leader: leader.to_owned(),
    }
}

#[tonic::async_trait]
impl Checkpoints for Node {
    type WatchStream = <FakeCoordinator as Checkpoints>::WatchStream;
    type ReadStream = <FakeCoordinator as Checkpoints>::ReadStream;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.leads()?;
        self.serves.watch(request).await
    }

    async fn get(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<CheckpointManifest>, Status> {
        self.leads()?;
        Ok(Response::new(CheckpointManifest {
            checkpoint_id: self.address.to_string(),
            ..CheckpointManifest::default()
        }))
    }

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.leads()?;
        self.serves.read(request).await
    }
}

#[tonic::async_trait]
impl Coordinators for Node {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(match self.role.lock().unwrap().clone() {
            Role::Leads { term } => DescribeResponse {
                context: Some(Context {
                    run_id: "run".to_owned(),
                    term,
                    ..Context::default()
                }),
                leads: true,
                leader: self.address.to_string(),
                ..DescribeResponse::default()
            },
            Role::Standby { leader } => DescribeResponse {
                leader,
                ..DescribeResponse::default()
            },
        }))
    }

    async fn read_page(
        &self,
        _: Request<ReadPageRequest>,
    ) -> Result<Response<ReadPageResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    type ReadFileStream = <FakeCoordinator as Checkpoints>::ReadStream;

    async fn read_file(
        &self,
        _: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

fn connection(nodes: &[&Node]) -> Connection {
    let addresses = Addresses::of(nodes.iter().map(|node| node.address.clone())).unwrap();
    let options = ConnectOptions {
        silence: Duration::from_millis(50),
        ..ConnectOptions::default()
    };
    Connection::lazy(addresses, &options).unwrap()
}

/// Who answers a call that is repeated until somebody does.
async fn answered_by(connection: &Connection) -> Result<String, Error> {
    let asking = connection.retry("asking", &SLOW, || async {
        let request = GetCheckpointRequest::default();
        match connection.checkpoints().get(request).await {
            Ok(answer) => Ok(answer.into_inner().checkpoint_id),
            Err(status) => Err(Error::call("Get", status)),
        }
    });
    asking.await
}

#[tokio::test]
async fn a_call_goes_on_with_the_one_that_leads() {
    let serves = FakeCoordinator::default();
    let idle = Node::start(&serves, standby("")).await;
    let leader = Node::start(&serves, Role::Leads { term: 3 }).await;
    let connection = connection(&[&idle, &leader]);
    assert_eq!(
        answered_by(&connection).await.unwrap(),
        leader.address.to_string()
    );
    // And stays there.
    assert_eq!(connection.address(), leader.address);
}

#[tokio::test]
async fn a_leader_that_a_standby_names_is_found_though_it_was_not_given() {
    let serves = FakeCoordinator::default();
    let leader = Node::start(&serves, Role::Leads { term: 1 }).await;
    let idle = Node::start(&serves, standby(&leader.address.to_string())).await;
    let connection = connection(&[&idle]);
    assert_eq!(
        answered_by(&connection).await.unwrap(),
        leader.address.to_string()
    );
}

#[tokio::test]
async fn whoever_waits_goes_on_as_soon_as_somebody_takes_over() {
    let serves = FakeCoordinator::default();
    let a = Node::start(&serves, standby("127.0.0.1:9")).await;
    let b = Node::start(&serves, standby("127.0.0.1:9")).await;
    let connection = connection(&[&a, &b]);
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { answered_by(&connection).await }
    });
    // Until it has been told that nobody leads.
    let mut checkpoints = connection.checkpoints();
    let status = checkpoints.get(GetCheckpointRequest::default());
    assert_eq!(status.await.unwrap_err().code(), tonic::Code::Unavailable);
    b.become_(Role::Leads { term: 1 });
    let taken_over = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap(), b.address.to_string());
    let took = taken_over.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_download_from_a_leader_that_fell_silent_ends_with_its_successor() {
    let (serves, manifest) = FakeCoordinator::with_checkpoint();
    let (rest, _) = FakeCoordinator::with_checkpoint();
    // As a stopped process: it has not heard that it was followed.
    let old = Node::start(&serves, Role::Leads { term: 1 }).await;
    let new = Node::start(&rest, standby(&old.address.to_string())).await;
    serves.fail_with([Fault::SilentAfter(0), Fault::SilentAfter(1)]);
    let connection = connection(&[&old, &new]);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let downloading = tokio::spawn(async move {
        let download = Download::new(&connection, &manifest).policy(RetryPolicy {
            first_wait: Duration::from_millis(10),
            ..SLOW
        });
        download.into_dir(&dir).await
    });
    while serves.state.lock().unwrap().reads.is_empty() {
        tokio::task::yield_now().await;
    }
    new.become_(Role::Leads { term: 2 });
    let paths = downloading.await.unwrap().unwrap();
    assert_eq!(paths.len(), 3);
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = if name.starts_with("optimizer") {
            "state"
        } else {
            "model"
        };
        let content = rest.content_of(&format!("{kind}/{name}"));
        assert_eq!(std::fs::read(&path).unwrap(), content, "{name}");
    }
}

#[tokio::test]
async fn a_slow_leader_is_not_left_while_nobody_else_leads() {
    let serves = FakeCoordinator::default();
    let leader = Node::start(&serves, Role::Leads { term: 1 }).await;
    let idle = Node::start(&serves, standby(&leader.address.to_string())).await;
    let (files, manifest) = FakeCoordinator::with_checkpoint();
    *serves.state.lock().unwrap() = std::mem::take(&mut *files.state.lock().unwrap());
    serves.fail_with([Fault::SilentAfter(1)]);
    let connection = connection(&[&leader, &idle]);
    let request = ReadRequest {
        name: manifest.files[1].name.clone(),
        ..ReadRequest::default()
    };
    let mut chunks = connection.checkpoints().read(request).await.unwrap();
    chunks.get_mut().message().await.unwrap().unwrap();
    // Ten times as long as it takes to doubt a silent peer.
    let silence = Duration::from_millis(500);
    let more = tokio::time::timeout(silence, chunks.get_mut().message()).await;
    assert!(more.is_err(), "the stream is still open: {more:?}");
    assert_eq!(connection.address(), leader.address);
}

#[tokio::test]
async fn a_direct_connection_stays_with_its_coordinator() {
    let serves = FakeCoordinator::default();
    let leader = Node::start(&serves, Role::Leads { term: 1 }).await;
    let idle = Node::start(&serves, standby(&leader.address.to_string())).await;
    let connection = Connection::direct(&idle.address, &ConnectOptions::default()).unwrap();
    for _ in 0..3 {
        let mut checkpoints = connection.checkpoints();
        let asked = checkpoints.get(GetCheckpointRequest::default());
        assert_eq!(asked.await.unwrap_err().code(), tonic::Code::Unavailable);
    }
    let mut coordinators = connection.coordinators();
    let described = coordinators.describe(DescribeRequest::default());
    assert!(!described.await.unwrap().into_inner().leads);
}
