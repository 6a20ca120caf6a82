//! Receiving a checkpoint's stream.

use std::collections::BTreeSet;

use proto::v1;
use proto::v1::put_checkpoint_request::Part;
use tonic::{Status, Streaming};

use super::{Shared, blocking, internal, refused};
use crate::checkpoints::{Begin, CheckpointError, CheckpointFolder, Installed, Lack, Upload};
use crate::crash::{self, Point};
use crate::machine::{Answer, Event, RoomWanted};
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
            let is_chunk = matches!(part, Part::Chunk(_));
            take(&mut upload, part)?;
            if is_chunk {
                crash::point(Point::DuringUpload);
            }
            Ok(upload)
        })
        .await?;
    }
    crash::point(Point::BeforePlacing);
    let installed = blocking(move || Ok(upload.install()?)).await?;
    crash::point(Point::AfterPlacing);
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
    make_room(shared, begin.total_bytes).await?;
    let checkpoints = shared.checkpoints.clone();
    blocking(move || Ok(Upload::begin(&checkpoints, begin)?)).await
}

/// Gives up what may go if there is no room for a checkpoint. Whether that was
/// enough shows when it begins.
async fn make_room(shared: &Shared, bytes: u64) -> Result<(), Status> {
    let checkpoints = shared.checkpoints.clone();
    let Some((lack, in_use)) = blocking(move || Ok(find_lack(&checkpoints, bytes)?)).await? else {
        return Ok(());
    };
    let room = RoomWanted {
        lacking: lack.bytes,
        in_use,
        reason: lack.error.to_string(),
    };
    let event = |request| Event::RoomWanted { request, room };
    let answer = shared.handle.call(event).await?;
    answer.map_err(|_| Status::from(lack.error))?;
    let checkpoints = shared.checkpoints.clone();
    blocking(move || {
        checkpoints.sweep(false);
        Ok(())
    })
    .await
}

fn find_lack(
    checkpoints: &CheckpointFolder,
    bytes: u64,
) -> Result<Option<(Lack, BTreeSet<CheckpointId>)>, CheckpointError> {
    if checkpoints.lack_for(bytes)?.is_none() {
        return Ok(None);
    }
    // What is no longer kept goes first.
    checkpoints.sweep(false);
    let lack = checkpoints.lack_for(bytes)?;
    Ok(lack.map(|lack| (lack, checkpoints.in_use())))
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
            Answer::CheckpointKept(id) => {
                crash::point(Point::AfterRecord);
                Ok(id)
            }
            _ => Err(internal("a checkpoint was answered with something else")),
        }
    });
    committed.await.map_err(internal)?
}
