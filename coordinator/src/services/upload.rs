//! Receiving a checkpoint's stream.

use proto::v1;
use proto::v1::put_checkpoint_request::Part;
use tonic::{Status, Streaming};

use super::{Shared, blocking, internal, refused};
use crate::checkpoints::{Begin, Installed, Upload};
use crate::machine::Answer;
use crate::machine::Event;
use crate::records::{CheckpointId, Evaluation};
use crate::wire;

/// Receives, installs and commits one checkpoint; answers when it is durable.
pub(super) async fn receive(
    shared: &Shared,
    mut parts: Streaming<v1::PutCheckpointRequest>,
) -> Result<CheckpointId, Status> {
    let Part::Begin(begin) = next(&mut parts).await? else {
        return Err(Status::invalid_argument(
            "a checkpoint's stream starts with begin",
        ));
    };
    let mut upload = open(shared, begin).await?;
    loop {
        let part = next(&mut parts).await?;
        if matches!(part, Part::Commit(_)) {
            break;
        }
        // One part at a time, so a fast sender waits for the disk.
        upload = blocking(move || {
            take(&mut upload, part)?;
            Ok(upload)
        })
        .await?;
    }
    let installed = blocking(move || Ok(upload.install()?)).await?;
    commit(shared, installed).await
}

async fn next(parts: &mut Streaming<v1::PutCheckpointRequest>) -> Result<Part, Status> {
    let message = parts.message().await?;
    let message = message.ok_or_else(|| {
        Status::invalid_argument("the checkpoint's stream ended before its commit")
    })?;
    message
        .part
        .ok_or_else(|| Status::invalid_argument("malformed message: part is missing"))
}

async fn open(shared: &Shared, begin: v1::put_checkpoint_request::Begin) -> Result<Upload, Status> {
    let ours = shared.handle.status().world;
    let world = shared.run.check(begin.context.as_ref(), ours)?;
    if world.generation == 0 {
        return Err(Status::failed_precondition(
            "a checkpoint belongs to a generation, and its context names none",
        ));
    }
    let begin = Begin {
        generation: world.generation,
        cursor: wire::required_cursor(begin.cursor, "begin.cursor")?,
        evaluation: begin.evaluation.map(Evaluation::try_from).transpose()?,
        training_loss: begin.training_loss,
        total_bytes: begin.total_bytes,
    };
    let checkpoints = shared.checkpoints.clone();
    blocking(move || Ok(Upload::begin(&checkpoints, begin)?)).await
}

fn take(upload: &mut Upload, part: Part) -> Result<(), Status> {
    match part {
        Part::FileBegin(file) => {
            upload.begin_file(&file.name, wire::file_kind(file.kind)?, file.size)?;
        }
        Part::Chunk(chunk) => upload.chunk(&chunk.data, wire::sha256(&chunk.sha256)?)?,
        Part::FileEnd(end) => upload.end_file(wire::sha256(&end.sha256)?)?,
        Part::Begin(_) => {
            return Err(Status::invalid_argument(
                "a checkpoint's stream has one begin",
            ));
        }
        Part::Commit(_) => {}
    }
    Ok(())
}

async fn commit(shared: &Shared, installed: Installed) -> Result<CheckpointId, Status> {
    let Installed { checkpoint, is_new } = installed;
    let id = checkpoint.id.clone();
    // The sender may hang up; what happens to the folder must not depend on it.
    let shared = shared.clone();
    let committed = tokio::spawn(async move {
        let event = |request| Event::CheckpointStored {
            request,
            checkpoint,
        };
        let answer = shared.handle.call(event).await;
        // Without an answer it may be durable all the same, or another
        // coordinator's by now; what is neither goes at the next start.
        if is_new && matches!(answer, Ok(Err(_))) {
            let checkpoints = shared.checkpoints.clone();
            blocking(move || {
                checkpoints.discard(&id);
                Ok(())
            })
            .await?;
        }
        match answer?.map_err(|refusal| refused(&refusal))? {
            Answer::CheckpointKept(id) => Ok(id),
            _ => Err(internal("a checkpoint was answered with something else")),
        }
    });
    committed.await.map_err(internal)?
}
