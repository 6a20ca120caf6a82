//! What a person who asks a standby is told.

use proto::v1;
use proto::v1::operator_server::Operator;
use tokio::time::Instant;
use tokio_stream::Empty;
use tonic::{Request, Response, Status as RpcStatus};

use super::role::Roles;

/// Answers for a coordinator that does not lead.
pub(super) struct Idle {
    roles: Roles,
    started: Instant,
}

impl Idle {
    pub(super) fn new(roles: Roles) -> Idle {
        Idle {
            roles,
            started: Instant::now(),
        }
    }
}

#[tonic::async_trait]
impl Operator for Idle {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, RpcStatus> {
        let mut response = Response::new(v1::StatusResponse {
            state: "standby".to_owned(),
            detail: self.roles.as_standby().describe(),
            uptime: self.started.elapsed().as_secs_f64(),
            ..v1::StatusResponse::default()
        });
        // Whoever follows the leader learns that it has to look for it.
        let unavailable = self.roles.unavailable();
        response.metadata_mut().clone_from(unavailable.metadata());
        Ok(response)
    }

    type StepsStream = Empty<Result<v1::StepReport, RpcStatus>>;

    async fn steps(
        &self,
        _request: Request<v1::StepsRequest>,
    ) -> Result<Response<Self::StepsStream>, RpcStatus> {
        Err(self.roles.unavailable())
    }

    type EventsStream = Empty<Result<v1::EventsResponse, RpcStatus>>;

    async fn events(
        &self,
        _request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, RpcStatus> {
        Err(self.roles.unavailable())
    }

    async fn audit(
        &self,
        _request: Request<v1::AuditRequest>,
    ) -> Result<Response<v1::AuditResponse>, RpcStatus> {
        Err(self.roles.unavailable())
    }
}
