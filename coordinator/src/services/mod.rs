//! The gRPC services: thin translations between the protocol and the driver,
//! the store and the folders.
//!
//! Architecture invariant: no decision is made here. A service checks that a
//! message belongs to this run, converts it, and answers what it is told.

mod checkpoints;
mod cluster;
mod context;
mod coordinating;
mod events;
mod hotkeys;
mod operator;
mod publishing;
mod upload;

use std::sync::Arc;

use proto::v1::checkpoints_server::CheckpointsServer;
use proto::v1::cluster_server::ClusterServer;
use proto::v1::operator_server::OperatorServer;
use proto::v1::publishing_server::PublishingServer;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::checkpoints::{CheckpointError, CheckpointFolder};
use crate::driver::Handle;
use crate::machine::{Refusal, RefusalKind};
use crate::mirror::Elsewhere;
use crate::packed::PackedPages;
use crate::store::RunStore;

pub(crate) use context::RunContext;
pub(crate) use coordinating::{Coordinating, Standbys};
pub(crate) use hotkeys::Hotkeys;

/// A streamed answer.
type Answers<T> = ReceiverStream<Result<T, Status>>;

/// What every service needs.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) run: Arc<RunContext>,
    pub(crate) store: RunStore,
    pub(crate) packed: PackedPages,
    pub(crate) checkpoints: CheckpointFolder,
    pub(crate) hotkeys: Hotkeys,
    pub(crate) elsewhere: Elsewhere,
}

impl Shared {
    pub(crate) fn cluster(&self) -> ClusterServer<Self> {
        ClusterServer::new(self.clone())
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn checkpoints(&self) -> CheckpointsServer<Self> {
        CheckpointsServer::new(self.clone())
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn publishing(&self) -> PublishingServer<Self> {
        PublishingServer::new(self.clone())
    }

    pub(crate) fn operator(&self) -> OperatorServer<Self> {
        OperatorServer::new(self.clone())
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
    }
}

/// A refusal as gRPC says it.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    match refusal.kind {
        RefusalKind::Invalid => Status::invalid_argument(&refusal.message),
        RefusalKind::Again => Status::aborted(&refusal.message),
        RefusalKind::Precondition => Status::failed_precondition(&refusal.message),
    }
}

impl From<CheckpointError> for Status {
    fn from(error: CheckpointError) -> Status {
        let message = error.to_string();
        match error {
            _ if error.is_damage() => Status::data_loss(message),
            CheckpointError::Io { .. } => Status::internal(message),
            CheckpointError::NoSpace { .. } | CheckpointError::OverBudget { .. } => {
                Status::resource_exhausted(message)
            }
            CheckpointError::Protocol(_) | CheckpointError::Model(_) => {
                Status::invalid_argument(message)
            }
            // Sending it again may well help.
            CheckpointError::Corrupt { .. } => Status::aborted(message),
            CheckpointError::Busy(_) => Status::unavailable(message),
            CheckpointError::Damaged { .. } => Status::data_loss(message),
            CheckpointError::NotFound(_) => Status::not_found(message),
        }
    }
}

/// Runs what blocks on a thread where it may.
async fn blocking<T, F>(work: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Status> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panic| Status::internal(panic.to_string()))?
}

/// A failure of the coordinator's own.
fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}
