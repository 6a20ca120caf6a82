//! Between the coordinator's types and the protocol's.
//!
//! The store keeps records as the protocol encodes them: exact floats, and
//! protobuf's rules for what a later version may add. So both shells convert
//! here. What the ledger's own types become is `proto::convert`'s business.

use ledger::{Cursor, StepReport};
use proto::Malformed;
use proto::v1;

use crate::machine::{Activity, Form, FromWorker, Heartbeat, Message, Origin, StopReason, World};
use crate::records::{
    Checkpoint, CheckpointFile, CheckpointId, Evaluation, FileKind, Reported, StepTimes,
};

impl From<&Reported> for v1::StepReport {
    fn from(reported: &Reported) -> v1::StepReport {
        let times = &reported.times;
        v1::StepReport {
            learning_rate: reported.learning_rate,
            times: Some(v1::StepTimes {
                total: times.total,
                data: times.data,
                forward: times.forward,
                backward: times.backward,
                communication: times.communication,
                optimizer: times.optimizer,
                checkpoint: times.checkpoint,
            }),
            ..v1::StepReport::from(&reported.report)
        }
    }
}

impl TryFrom<&v1::StepReport> for Reported {
    type Error = Malformed;

    fn try_from(wire: &v1::StepReport) -> Result<Reported, Malformed> {
        let times = wire.times.unwrap_or_default();
        Ok(Reported {
            report: StepReport::try_from(wire)?,
            learning_rate: wire.learning_rate,
            times: StepTimes {
                total: times.total,
                data: times.data,
                forward: times.forward,
                backward: times.backward,
                communication: times.communication,
                optimizer: times.optimizer,
                checkpoint: times.checkpoint,
            },
        })
    }
}

impl From<&Evaluation> for v1::Evaluation {
    fn from(evaluation: &Evaluation) -> v1::Evaluation {
        v1::Evaluation {
            cursor: Some(evaluation.cursor.into()),
            loss: evaluation.loss,
            sequences: evaluation.sequences,
            from_training: evaluation.from_training,
        }
    }
}

impl TryFrom<v1::Evaluation> for Evaluation {
    type Error = Malformed;

    fn try_from(wire: v1::Evaluation) -> Result<Evaluation, Malformed> {
        Ok(Evaluation {
            cursor: required_cursor(wire.cursor, "evaluation.cursor")?,
            loss: wire.loss,
            sequences: wire.sequences,
            from_training: wire.from_training,
        })
    }
}

impl From<FileKind> for v1::FileKind {
    fn from(kind: FileKind) -> v1::FileKind {
        match kind {
            FileKind::Model => v1::FileKind::Model,
            FileKind::State => v1::FileKind::State,
        }
    }
}

/// The kind that a message names by number.
pub(crate) fn file_kind(number: i32) -> Result<FileKind, Malformed> {
    match v1::FileKind::try_from(number) {
        Ok(v1::FileKind::Model) => Ok(FileKind::Model),
        Ok(v1::FileKind::State) => Ok(FileKind::State),
        Ok(v1::FileKind::Unspecified) | Err(_) => Err(Malformed::missing("file.kind")),
    }
}

/// A checkpoint's manifest as clients see it.
pub(crate) fn manifest(run_id: &str, checkpoint: &Checkpoint) -> v1::CheckpointManifest {
    let files = checkpoint.files.iter().map(|file| v1::CheckpointFile {
        name: file.name.clone(),
        kind: v1::FileKind::from(file.kind).into(),
        size: file.size,
        sha256: file.sha256.to_vec().into(),
    });
    v1::CheckpointManifest {
        checkpoint_id: checkpoint.id.0.clone(),
        run_id: run_id.to_owned(),
        generation: checkpoint.generation,
        cursor: Some(checkpoint.cursor.into()),
        evaluation: checkpoint.evaluation.as_ref().map(v1::Evaluation::from),
        training_loss: checkpoint.training_loss,
        parameters: checkpoint.parameters,
        files: files.collect(),
        created_unix_ms: checkpoint.created_unix_ms,
    }
}

impl TryFrom<v1::CheckpointManifest> for Checkpoint {
    type Error = Malformed;

    fn try_from(wire: v1::CheckpointManifest) -> Result<Checkpoint, Malformed> {
        let file = |file: v1::CheckpointFile| {
            Ok(CheckpointFile {
                kind: file_kind(file.kind)?,
                sha256: sha256(&file.sha256)?,
                name: file.name,
                size: file.size,
            })
        };
        let files: Result<Vec<CheckpointFile>, Malformed> =
            wire.files.into_iter().map(file).collect();
        Ok(Checkpoint {
            id: CheckpointId(wire.checkpoint_id),
            generation: wire.generation,
            cursor: required_cursor(wire.cursor, "manifest.cursor")?,
            evaluation: wire.evaluation.map(Evaluation::try_from).transpose()?,
            training_loss: wire.training_loss,
            parameters: wire.parameters,
            files: files?,
            created_unix_ms: wire.created_unix_ms,
        })
    }
}

/// A SHA-256 from a message's bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes
        .try_into()
        .map_err(|_| Malformed::missing("sha256 of 32 bytes"))
}

/// The most bytes of a name or an address.
const LONGEST_NAME: usize = 256;
/// The most bytes of a text in words that is kept.
const LONGEST_REASON: usize = 2048;

/// Why, in a worker's words. Such a text goes into records and events, so one that
/// is too long is cut off.
fn reason(mut words: String) -> String {
    if words.len() > LONGEST_REASON {
        words.truncate(words.floor_char_boundary(LONGEST_REASON));
        words.push('…');
    }
    words
}

fn short(field: &'static str, text: String) -> Result<String, Malformed> {
    match text.len() <= LONGEST_NAME {
        true => Ok(text),
        false => Err(Malformed::invalid(field)),
    }
}

/// What a worker says in its session.
///
/// # Errors
/// If a part that it must have is missing or makes no sense.
pub fn from_worker(body: v1::worker_message::Body) -> Result<FromWorker, Malformed> {
    use v1::worker_message::Body;
    Ok(match body {
        Body::Heartbeat(heartbeat) => FromWorker::Heartbeat(Heartbeat {
            activity: activity(heartbeat.phase()),
            activity_ms: heartbeat.phase_ms,
            cursor: heartbeat.cursor.map(Cursor::try_from).transpose()?,
        }),
        Body::Ready(ready) => FromWorker::Ready {
            applied: ready.applied.map(Cursor::try_from).transpose()?,
            applied_generation: ready.applied_generation,
        },
        Body::StoreListening(listening) => FromWorker::StoreListening {
            address: short("store_listening.address", listening.address)?,
        },
        Body::StepReports(reports) => FromWorker::StepReports(step_reports(&reports.reports)?),
        Body::Evaluated(evaluation) => FromWorker::Evaluated(evaluation.try_into()?),
        Body::Left(left) => FromWorker::Left {
            reports: step_reports(&left.reports)?,
            reason: reason(left.reason),
        },
        Body::Finished(finished) => FromWorker::Finished {
            cursor: required_cursor(finished.cursor, "finished.cursor")?,
        },
        Body::Drain(drain) => FromWorker::Drain {
            reason: reason(drain.reason),
        },
        Body::RunFailed(failed) => FromWorker::RunFailed {
            reason: reason(failed.reason),
        },
        Body::CheckpointDamaged(damaged) => FromWorker::CheckpointDamaged {
            id: CheckpointId(short(
                "checkpoint_damaged.checkpoint_id",
                damaged.checkpoint_id,
            )?),
            reason: reason(damaged.reason),
        },
        Body::PageFailed(failed) => FromWorker::PageFailed {
            slot: failed
                .slot
                .ok_or(Malformed::missing("page_failed.slot"))?
                .try_into()?,
            reason: reason(failed.reason),
            permanent: failed.permanent,
        },
    })
}

fn step_reports(reports: &[v1::StepReport]) -> Result<Vec<Reported>, Malformed> {
    reports.iter().map(Reported::try_from).collect()
}

fn activity(phase: v1::Phase) -> Activity {
    match phase {
        v1::Phase::Unspecified | v1::Phase::Starting => Activity::Starting,
        v1::Phase::Ready => Activity::Ready,
        v1::Phase::Forming => Activity::Forming,
        v1::Phase::Restoring => Activity::Restoring,
        v1::Phase::WaitingForData => Activity::WaitingForData,
        v1::Phase::Training => Activity::Training,
        v1::Phase::Reducing => Activity::Reducing,
        v1::Phase::Checkpointing => Activity::Checkpointing,
        v1::Phase::Evaluating => Activity::Evaluating,
        v1::Phase::Finished => Activity::Finished,
    }
}

/// A cursor that a message must have.
pub(crate) fn required_cursor(
    cursor: Option<v1::Cursor>,
    field: &'static str,
) -> Result<Cursor, Malformed> {
    cursor.ok_or(Malformed::missing(field))?.try_into()
}

/// The context of a message from the coordinator.
pub(crate) fn context(run_id: &str, world: World) -> v1::Context {
    v1::Context {
        run_id: run_id.to_owned(),
        term: world.term,
        generation: world.generation,
        worker_id: String::new(),
    }
}

/// What a worker is told.
pub fn to_worker(run_id: &str, world: World, message: Message) -> v1::CoordinatorMessage {
    use v1::coordinator_message::Body;
    let body = match message {
        Message::Ack {
            lease_ms,
            reported_steps,
        } => Body::Ack(v1::Ack {
            lease_ms,
            reported_steps,
        }),
        Message::Form(form) => Body::Form(form_message(form)),
        Message::Rendezvous { address } => Body::Rendezvous(v1::Rendezvous { address }),
        Message::Abort { reason } => Body::Abort(v1::Abort { reason }),
        Message::Pause { reason, checkpoint } => Body::Pause(v1::Pause { reason, checkpoint }),
        Message::Prepare(assignments) => {
            let assignments = assignments
                .into_iter()
                .map(|assignment| v1::prepare::Assignment {
                    slot: Some(assignment.slot.into()),
                    page: assignment.page.0,
                    lease_ms: assignment.lease_ms,
                });
            Body::Prepare(v1::Prepare {
                assignments: assignments.collect(),
            })
        }
        Message::PageRows(rows) => Body::PageRows(v1::PageRows {
            rows: rows.iter().map(|(slot, row)| (*slot, row).into()).collect(),
        }),
        Message::Stop { reason, message } => Body::Stop(v1::Stop {
            reason: stop_reason(reason).into(),
            message,
        }),
    };
    v1::CoordinatorMessage {
        context: Some(context(run_id, world)),
        body: Some(body),
    }
}

fn stop_reason(reason: StopReason) -> v1::stop::Reason {
    match reason {
        StopReason::Complete => v1::stop::Reason::Complete,
        StopReason::Shutdown => v1::stop::Reason::Shutdown,
        StopReason::Failed => v1::stop::Reason::Failed,
    }
}

fn form_message(form: Form) -> v1::Form {
    let member = form.members.get(form.rank as usize);
    let origin = match form.origin {
        Origin::Rank(rank) => v1::form::Origin::FromRank(rank),
        Origin::Initial { weights } => v1::form::Origin::Initial(v1::Initial {
            weights: weights.map_or(String::new(), |id| id.0),
        }),
        Origin::Checkpoint(id) => v1::form::Origin::Checkpoint(id.0),
    };
    v1::Form {
        parent: form.parent.unwrap_or(0),
        base: Some(form.base.into()),
        rank: form.rank,
        world_size: u32::try_from(form.members.len()).unwrap_or(u32::MAX),
        has_state: member.is_some_and(|member| member.has_state),
        all_have_state: form.all_have_state,
        origin: Some(origin),
        best: form.best.as_ref().map(v1::Evaluation::from),
    }
}
