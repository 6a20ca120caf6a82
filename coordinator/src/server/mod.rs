//! The gRPC server, which is there for as long as the process is, whatever the
//! process is: leader or standby.

mod gate;
mod role;
mod standby;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use cli::{Failure, Refused};
use proto::v1::coordinators_server::CoordinatorsServer;
use proto::v1::operator_server::OperatorServer;
use proto::v1::{
    checkpoints_server::CheckpointsServer, cluster_server::ClusterServer,
    publishing_server::PublishingServer,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::Server as Grpc;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub(crate) use role::{Leading, Role, Roles, Standby, Tenure};

use crate::services::{Coordinating, Shared};
use gate::Gate;
use standby::Idle;

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long open calls may take to end once the coordinator has nothing more
/// to say.
const PATIENCE_WITH_CALLS: Duration = Duration::from_secs(5);

/// A server that accepts connections, as a standby at first.
pub(crate) struct Server {
    address: SocketAddr,
    roles: Roles,
    health: HealthReporter,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
}

/// Takes the port.
///
/// # Errors
/// Refused if it is taken, or not this machine's.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|error| {
        Refused::new(format!(
            "--listen {address}: {error}; stop the program that uses the port, or give another \
             (port 0 lets the system choose)"
        ))
    })
}

impl Server {
    /// Begins to answer.
    pub(crate) async fn start(
        listener: TcpListener,
        roles: Roles,
        coordinating: Coordinating,
    ) -> Result<Server, Failure> {
        let address = listener
            .local_addr()
            .context("asking for the bound address")?;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .context("building gRPC reflection")?;
        let (health, health_service) = tonic_health::server::health_reporter();
        let stop = CancellationToken::new();
        let gate = {
            let roles = roles.clone();
            tower::layer::layer_fn(move |always| Gate::new(always, roles.clone()))
        };
        let idle = Idle::new(roles.clone());
        let serving = Grpc::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .layer(gate)
            .add_service(health_service)
            .add_service(reflection)
            .add_service(
                CoordinatorsServer::new(coordinating)
                    .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(proto::MAX_MESSAGE_BYTES),
            )
            .add_service(OperatorServer::new(idle))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.clone().cancelled_owned(),
            );
        let server = Server {
            address,
            roles,
            health,
            serving: tokio::spawn(serving),
            stop,
        };
        server.say_healthy(ServingStatus::NotServing).await;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this process leads.
    pub(crate) async fn lead(&self, leading: Leading) {
        self.roles.set(Role::Leading(leading));
        self.say_healthy(ServingStatus::Serving).await;
    }

    /// From now on it does not.
    pub(crate) async fn stand_by(&self, standby: Standby) {
        self.roles.set(Role::Standby(standby));
        self.say_healthy(ServingStatus::NotServing).await;
    }

    async fn say_healthy(&self, status: ServingStatus) {
        for service in [
            <ClusterServer<Shared> as NamedService>::NAME,
            <CheckpointsServer<Shared> as NamedService>::NAME,
            <OperatorServer<Shared> as NamedService>::NAME,
            <PublishingServer<Shared> as NamedService>::NAME,
        ] {
            self.health.set_service_status(service, status).await;
        }
    }

    /// Ends only when it fails.
    pub(crate) async fn failed(&mut self) -> Failure {
        match (&mut self.serving).await {
            Ok(Ok(())) => anyhow::anyhow!("the server stopped").into(),
            Ok(Err(error)) => anyhow::Error::new(error).context("serving").into(),
            Err(error) => anyhow::Error::new(error)
                .context("the server stopped")
                .into(),
        }
    }

    /// Lets open calls end, and stops.
    pub(crate) async fn stop(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        self.stop.cancel();
        if tokio::time::timeout(PATIENCE_WITH_CALLS, &mut self.serving)
            .await
            .is_err()
        {
            self.serving.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
