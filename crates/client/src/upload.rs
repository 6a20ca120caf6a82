//! Handing a checkpoint to the coordinator.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use proto::v1::put_checkpoint_request::{Begin, Chunk, Commit, FileBegin, FileEnd, Part};
use proto::v1::{Context, Cursor, Evaluation, FileKind, PutCheckpointRequest};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Connection, Error};

/// Bytes of a file that travel together.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks that may wait for the network, so that reading and sending overlap.
const CHUNKS_AHEAD: usize = 4;

/// What a checkpoint says about itself, beside its files.
#[derive(Clone, Debug, Default)]
pub struct CheckpointUpload {
    /// Run, term, generation and worker.
    pub context: Context,
    /// What the weights have applied.
    pub cursor: Cursor,
    /// The evaluation of these weights, if there was one.
    pub evaluation: Option<Evaluation>,
    /// Mean training loss over the epoch so far, in nats per token.
    pub training_loss: f64,
}

/// A file to upload, in the order in which it is read.
pub struct UploadFile {
    /// Its name in the checkpoint.
    pub name: String,
    /// What it belongs to.
    pub kind: FileKind,
    /// How many bytes `content` will give.
    pub size: u64,
    /// Its bytes; read once, on a thread that may block.
    pub content: Box<dyn Read + Send>,
}

impl fmt::Debug for UploadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadFile")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Uploads a checkpoint and returns its id once it is durable. The files are
/// read one after the other, a megabyte at a time and a few megabytes ahead.
/// One attempt: the contents can be read only once, so whoever has them
/// retries, as [`Error::is_fatal`] says. Dropping the future abandons the
/// upload, and nothing of it will exist.
///
/// # Errors
/// [`Error::Content`] when a file cannot be read or has not its size, else
/// what the coordinator or the connection said.
pub async fn upload_checkpoint(
    connection: &Connection,
    checkpoint: CheckpointUpload,
    files: Vec<UploadFile>,
) -> Result<String, Error> {
    let (sender, parts) = mpsc::channel(CHUNKS_AHEAD);
    let (failure_sender, mut failure) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_parts(&sender, checkpoint, files) {
            // Before `sender` goes: whoever hears of the cut finds its cause.
            let _ = failure_sender.send(error);
        }
    });
    let answer = connection
        .cluster()
        .put_checkpoint(ReceiverStream::new(parts))
        .await;
    if let Ok(error) = failure.try_recv() {
        return Err(error);
    }
    match answer {
        Ok(response) => Ok(response.into_inner().checkpoint_id),
        Err(status) => Err(Error::call("PutCheckpoint", status)),
    }
}

/// The receiver is gone: the call ended, and its status says why.
struct CallEnded;

/// Sends every part, or stops quietly when the call has ended.
fn send_parts(
    sender: &Sender<PutCheckpointRequest>,
    checkpoint: CheckpointUpload,
    files: Vec<UploadFile>,
) -> Result<(), Error> {
    let begin = Begin {
        context: Some(checkpoint.context),
        cursor: Some(checkpoint.cursor),
        evaluation: checkpoint.evaluation,
        training_loss: checkpoint.training_loss,
        total_bytes: files.iter().map(|file| file.size).sum(),
    };
    if send(sender, Part::Begin(begin)).is_err() {
        return Ok(());
    }
    for file in files {
        match send_file(sender, file)? {
            Ok(()) => {}
            Err(CallEnded) => return Ok(()),
        }
    }
    // Nothing comes after the commit, so it does not matter who hears it.
    let _ = send(sender, Part::Commit(Commit {}));
    Ok(())
}

fn send_file(
    sender: &Sender<PutCheckpointRequest>,
    mut file: UploadFile,
) -> Result<Result<(), CallEnded>, Error> {
    let begin = FileBegin {
        name: file.name.clone(),
        kind: file.kind.into(),
        size: file.size,
    };
    if send(sender, Part::FileBegin(begin)).is_err() {
        return Ok(Err(CallEnded));
    }
    let content_error = |reason: String| Error::Content {
        file: file.name.clone(),
        reason,
    };
    let mut whole = Sha256::new();
    let mut sent = 0;
    loop {
        let data =
            read_chunk(&mut file.content).map_err(|error| content_error(error.to_string()))?;
        if data.is_empty() {
            break;
        }
        sent += data.len() as u64;
        if sent > file.size {
            return Err(content_error(format!(
                "it has more than the {} bytes announced",
                file.size
            )));
        }
        whole.update(&data);
        let sha256 = Bytes::copy_from_slice(&Sha256::digest(&data));
        if send(sender, Part::Chunk(Chunk { data, sha256 })).is_err() {
            return Ok(Err(CallEnded));
        }
    }
    if sent < file.size {
        return Err(content_error(format!(
            "it ended after {sent} of the {} bytes announced",
            file.size
        )));
    }
    let sha256 = Bytes::copy_from_slice(&whole.finalize());
    Ok(send(sender, Part::FileEnd(FileEnd { sha256 })))
}

fn send(sender: &Sender<PutCheckpointRequest>, part: Part) -> Result<(), CallEnded> {
    sender
        .blocking_send(PutCheckpointRequest { part: Some(part) })
        .map_err(|_| CallEnded)
}

/// A full chunk, or what is left; empty at the end.
fn read_chunk(content: &mut dyn Read) -> io::Result<Bytes> {
    let mut data = Vec::with_capacity(CHUNK_BYTES);
    content.take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
    Ok(Bytes::from(data))
}
