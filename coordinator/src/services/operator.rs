//! What a person, or a script, asks.

use proto::v1;
use proto::v1::operator_server::Operator;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as RpcStatus};

use super::{Answers, Shared, blocking, internal};
use crate::audit;
use crate::machine::WorkerStatus;
use crate::wire;

/// Steps read from the store at a time.
const STEPS_AT_ONCE: u64 = 1024;
/// Steps that wait for a reader.
const STEPS_AHEAD: usize = 256;

#[tonic::async_trait]
impl Operator for Shared {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, RpcStatus> {
        let status = self.handle.status();
        let manifest = |checkpoint| wire::manifest(self.run.id(), checkpoint);
        let best = status
            .best
            .as_ref()
            .and_then(|checkpoint| checkpoint.evaluation.as_ref());
        Ok(Response::new(v1::StatusResponse {
            context: Some(wire::context(self.run.id(), status.world)),
            state: status.state.to_owned(),
            detail: status.detail.clone(),
            cursor: Some(status.cursor.into()),
            workers: status.workers.iter().map(worker_status).collect(),
            uptime: status.uptime,
            tokens_per_second: status.tokens_per_second.unwrap_or(0.0),
            loss: status.loss,
            best: best.map(v1::Evaluation::from),
            latest_checkpoint: status.latest.as_ref().map(manifest),
            best_checkpoint: status.best.as_ref().map(manifest),
            pages_packed: status.pages_packed,
            pages_skipped: status.pages_skipped,
            steps_total: status.steps_total,
            run_config: self.run.config_json.clone(),
        }))
    }

    type StepsStream = Answers<v1::StepReport>;

    async fn steps(
        &self,
        request: Request<v1::StepsRequest>,
    ) -> Result<Response<Self::StepsStream>, RpcStatus> {
        let v1::StepsRequest { from_step, follow } = request.into_inner();
        let (sender, steps) = mpsc::channel(STEPS_AHEAD);
        let shared = self.clone();
        tokio::spawn(async move {
            if let Err(status) = shared.send_steps(from_step, follow, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(steps)))
    }

    type EventsStream = Answers<v1::EventsResponse>;

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, RpcStatus> {
        self.stream_events(request.into_inner())
    }

    async fn audit(
        &self,
        _request: Request<v1::AuditRequest>,
    ) -> Result<Response<v1::AuditResponse>, RpcStatus> {
        let store = self.store.clone();
        let packed = self.packed.clone();
        let config = self.run.config.clone();
        let report = blocking(move || {
            let report = audit::audit_run(&store, &packed, &config).map_err(internal)?;
            serde_json::to_string(&report).map_err(internal)
        });
        Ok(Response::new(v1::AuditResponse {
            report: report.await?,
        }))
    }
}

impl Shared {
    async fn send_steps(
        &self,
        from: u64,
        follow: bool,
        sender: &mpsc::Sender<Result<v1::StepReport, RpcStatus>>,
    ) -> Result<(), RpcStatus> {
        let mut statuses = self.handle.statuses();
        let mut next = from;
        loop {
            let status = statuses.borrow_and_update().clone();
            let reported = status.cursor.step;
            // Steps that were rolled back come again, in another generation.
            next = next.min(reported.max(from));
            while next < reported {
                let end = reported.min(next + STEPS_AT_ONCE);
                let store = self.store.clone();
                let read = move || store.lineage_steps(next, end).map_err(internal);
                for step in blocking(read).await? {
                    if sender.send(Ok(v1::StepReport::from(&step))).await.is_err() {
                        return Ok(());
                    }
                }
                next = end;
            }
            if !follow || status.complete {
                return Ok(());
            }
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() {
                    return Ok(());
                },
                () = sender.closed() => return Ok(()),
            }
        }
    }
}

fn worker_status(worker: &WorkerStatus) -> v1::WorkerStatus {
    v1::WorkerStatus {
        worker_id: worker.worker.0.clone(),
        rank: worker.rank,
        device: worker.device.clone(),
        phase: worker.activity.to_owned(),
        cursor: worker.cursor.map(Into::into),
        silence: worker.silence,
    }
}
