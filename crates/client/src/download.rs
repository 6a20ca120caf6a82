//! Bringing a checkpoint's files here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::v1::{CheckpointFile, CheckpointManifest, Context, FileKind, ReadChunk, ReadRequest};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Response, Status, Streaming};
use tracing::warn;

use crate::partial::{PartialFile, Wanted, WrongBytes};
use crate::retry::announce;
use crate::{Connection, Error, RetryPolicy, blocking};

/// How often one file may arrive with wrong bytes before the download fails.
const WRONG_BYTES_ALLOWED: u32 = 3;

/// How long a file may be held by a thread that a dropped attempt left behind
/// while it hashed or wrote. It may have gigabytes to hash on a slow disk.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(300);
/// How often to see whether it is done.
const STRAGGLER_PAUSE: Duration = Duration::from_millis(20);

/// How far a download is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file under way: its name in the manifest.
    pub file: &'a str,
    /// What there is of that file.
    pub file_received: u64,
    /// What it will have.
    pub file_size: u64,
    /// What there is of all files.
    pub received: u64,
    /// What they will have.
    pub size: u64,
}

/// A download of (some of) a checkpoint's files into one folder.
///
/// It resumes: an earlier attempt's `NAME.partial` is hashed again and read on
/// from its end, and a file that is already there with the right bytes is left
/// alone. It verifies: a chunk whose SHA-256 is wrong is never written, and a
/// file gets its name only when its size and SHA-256 are the manifest's. It
/// retries broken connections as its policy says, from where they broke.
///
/// Dropping the future stops it; what has arrived stays for the next attempt,
/// which may come at once.
pub struct Download<'a> {
    connection: &'a Connection,
    manifest: &'a CheckpointManifest,
    context: Context,
    kind: Option<FileKind>,
    /// Whether the files are asked of a coordinator that need not lead.
    of_any: bool,
    policy: RetryPolicy,
    silence: Duration,
    on_progress: Box<dyn FnMut(Progress<'_>) + Send + 'a>,
}

impl fmt::Debug for Download<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("checkpoint", &self.manifest.checkpoint_id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<'a> Download<'a> {
    /// A download of all files of the checkpoint, patient with its coordinator.
    pub fn new(connection: &'a Connection, manifest: &'a CheckpointManifest) -> Download<'a> {
        Download {
            connection,
            manifest,
            context: Context {
                run_id: manifest.run_id.clone(),
                ..Context::default()
            },
            kind: None,
            of_any: false,
            policy: RetryPolicy::PATIENT,
            silence: Duration::from_secs(30),
            on_progress: Box::new(|_| {}),
        }
    }

    /// The context to call with; by default the manifest's run and nothing else.
    #[must_use]
    pub fn context(mut self, context: Context) -> Download<'a> {
        self.context = context;
        self
    }

    /// Only the files of one kind.
    #[must_use]
    pub fn only(mut self, kind: FileKind) -> Download<'a> {
        self.kind = Some(kind);
        self
    }

    /// Asks for the files that the coordinator has on its disk, whether or not
    /// it leads; for a [`Connection::direct`].
    #[must_use]
    pub fn of_any_coordinator(mut self) -> Download<'a> {
        self.of_any = true;
        self
    }

    /// When to try again; [`RetryPolicy::PATIENT`] by default.
    #[must_use]
    pub fn policy(mut self, policy: RetryPolicy) -> Download<'a> {
        self.policy = policy;
        self
    }

    /// How long the coordinator may be silent within a file before the read
    /// counts as broken; 30 seconds by default.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Download<'a> {
        self.silence = silence;
        self
    }

    /// Called after every chunk.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl FnMut(Progress<'_>) + Send + 'a,
    ) -> Download<'a> {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// Downloads into `dir`, which is made if need be, and returns the files'
    /// paths in the manifest's order. A file lands under the last part of its
    /// name: a checkpoint's `model/config.json` is a model directory's
    /// `config.json`.
    ///
    /// # Errors
    /// Before the first byte: [`Error::Manifest`] for names that lead out of
    /// the folder or collide and for malformed hashes, [`Error::NoSpace`].
    /// Later: [`Error::Corrupt`] when a file keeps arriving with wrong bytes,
    /// [`Error::File`], the coordinator's refusal (see
    /// [`Error::is_not_found`]), or the last failure when the policy gives up.
    pub async fn into_dir(mut self, dir: &Path) -> Result<Vec<PathBuf>, Error> {
        let wanted = self.plan(dir)?;
        let size = sum(wanted.iter().map(|file| file.size));
        let needed = {
            let dir = dir.to_owned();
            let wanted = wanted.clone();
            blocking::run(move || prepare_dir(&dir, &wanted)).await?
        };
        tracing::debug!(
            checkpoint = self.manifest.checkpoint_id,
            "downloading {} files, {needed} of {size} bytes to come",
            wanted.len()
        );
        let mut before = 0;
        let mut paths = Vec::with_capacity(wanted.len());
        for file in wanted {
            paths.push(file.path.clone());
            let file_size = file.size;
            self.fetch(file, before, size).await?;
            before += file_size;
        }
        Ok(paths)
    }

    /// Checks the manifest and says which file goes where.
    fn plan(&self, dir: &Path) -> Result<Vec<Wanted>, Error> {
        let files = &self.manifest.files;
        let chosen = files
            .iter()
            .filter(|file| self.kind.is_none_or(|kind| file.kind() == kind));
        let mut names = BTreeSet::new();
        let mut wanted = Vec::new();
        for file in chosen {
            let local_name = local_name(file).map_err(|reason| self.unusable(reason))?;
            if !names.insert(local_name) {
                return Err(self.unusable(format!("two files are named {local_name}")));
            }
            let sha256 = file.sha256[..]
                .try_into()
                .map_err(|_| self.unusable(format!("{} has no sha256 of 32 bytes", file.name)))?;
            wanted.push(Wanted {
                name: file.name.clone(),
                size: file.size,
                sha256,
                path: dir.join(local_name),
            });
        }
        if wanted.is_empty() {
            return Err(self.unusable("it lists none of the files asked for".to_owned()));
        }
        Ok(wanted)
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Manifest {
            checkpoint_id: self.manifest.checkpoint_id.clone(),
            reason,
        }
    }

    /// Brings one file, however many reads that takes.
    async fn fetch(&mut self, wanted: Wanted, before: u64, size: u64) -> Result<(), Error> {
        let name = wanted.name.clone();
        let doing = format!("downloading {name}");
        let mut waits = self.policy.waits();
        let mut wrong_bytes_left = WRONG_BYTES_ALLOWED;
        let Some(mut partial) = open(wanted).await? else {
            return Ok(());
        };
        loop {
            let started_at = partial.received();
            let outcome;
            (partial, outcome) = self.read_on(partial, before, size).await?;
            let error = match outcome {
                ReadEnd::Full => match partial.verify() {
                    Ok(()) => return blocking::run(move || partial.keep()).await,
                    Err(wrong) => {
                        // The wrong byte may be anywhere in what is held.
                        partial.restart()?;
                        self.wrong(&name, wrong, &mut wrong_bytes_left)?
                    }
                },
                ReadEnd::Wrong(wrong) => self.wrong(&name, wrong, &mut wrong_bytes_left)?,
                ReadEnd::Broken(error) if error.is_fatal() => return Err(error),
                ReadEnd::Broken(error) => error,
            };
            if partial.received() > started_at {
                waits = self.policy.waits();
            }
            let Some(wait) = waits.next() else {
                return Err(error);
            };
            announce(&doing, &error, wait);
            self.connection.pause(wait).await;
        }
    }

    /// Reads from where the partial file ends until it is full or the answer ends.
    async fn read_on(
        &mut self,
        mut partial: PartialFile,
        before: u64,
        size: u64,
    ) -> Result<(PartialFile, ReadEnd), Error> {
        if partial.is_full() {
            return Ok((partial, ReadEnd::Full));
        }
        let request = ReadRequest {
            context: Some(self.context.clone()),
            checkpoint_id: self.manifest.checkpoint_id.clone(),
            name: partial.wanted().name.clone(),
            offset: partial.received(),
        };
        let mut chunks =
            match timeout(self.silence, read(self.connection, self.of_any, request)).await {
                Ok(Ok(response)) => response.into_inner(),
                Ok(Err(status)) => return Ok((partial, broken(Error::call(READ, status)))),
                Err(_) => return Ok((partial, broken(Error::silent(READ, self.silence)))),
            };
        loop {
            let chunk = match timeout(self.silence, chunks.message()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if partial.is_full() => return Ok((partial, ReadEnd::Full)),
                Ok(Ok(None)) => {
                    let reason = format!(
                        "the answer ended at byte {} of {}",
                        partial.received(),
                        partial.wanted().size
                    );
                    let error = Error::Interrupted { call: READ, reason };
                    return Ok((partial, ReadEnd::Broken(error)));
                }
                Ok(Err(status)) => return Ok((partial, broken(Error::call(READ, status)))),
                Err(_) => return Ok((partial, broken(Error::silent(READ, self.silence)))),
            };
            let appended;
            (partial, appended) = blocking::run(move || {
                let appended = partial.append(&chunk)?;
                Ok((partial, appended))
            })
            .await?;
            if let Err(wrong) = appended {
                return Ok((partial, ReadEnd::Wrong(wrong)));
            }
            (self.on_progress)(Progress {
                file: &partial.wanted().name,
                file_received: partial.received(),
                file_size: partial.wanted().size,
                received: before + partial.received(),
                size,
            });
        }
    }

    /// Counts wrong bytes: an error to retry while there are attempts left,
    /// else the download's end.
    fn wrong(&self, name: &str, wrong: WrongBytes, left: &mut u32) -> Result<Error, Error> {
        let WrongBytes(reason) = wrong;
        *left -= 1;
        if *left == 0 {
            return Err(Error::Corrupt {
                checkpoint_id: self.manifest.checkpoint_id.clone(),
                file: name.to_owned(),
                reason,
            });
        }
        warn!(file = name, "wrong bytes: {reason}");
        Ok(Error::Interrupted {
            call: READ,
            reason: format!("wrong bytes: {reason}"),
        })
    }
}

/// Opens what there is of a file; `None` if that is all of it.
async fn open(wanted: Wanted) -> Result<Option<PartialFile>, Error> {
    let deadline = Instant::now() + STRAGGLER_PATIENCE;
    loop {
        let wanted = wanted.clone();
        match blocking::run(move || wanted.open()).await {
            Err(error) if error.is_busy() && Instant::now() < deadline => {
                sleep(STRAGGLER_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

const READ: &str = "Read";

async fn read(
    connection: &Connection,
    of_any: bool,
    request: ReadRequest,
) -> Result<Response<Streaming<ReadChunk>>, Status> {
    match of_any {
        true => connection.coordinators().read_file(request).await,
        false => connection.checkpoints().read(request).await,
    }
}

/// How one read ended.
enum ReadEnd {
    /// The partial file has its full size.
    Full,
    /// What came is not what was promised.
    Wrong(WrongBytes),
    /// It stopped, or never began.
    Broken(Error),
}

fn broken(error: Error) -> ReadEnd {
    ReadEnd::Broken(error)
}

/// The last part of a file's name, when the name leads nowhere but down.
fn local_name(file: &CheckpointFile) -> Result<&str, String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(['\\', '\0'])
            && !part.ends_with(".partial")
    };
    match file.name.rsplit('/').next() {
        Some(last) if file.name.split('/').all(is_plain) => Ok(last),
        _ => Err(format!("{:?} is not a name for a file", file.name)),
    }
}

/// Makes the folder and compares its free space with the bytes still to come.
fn prepare_dir(dir: &Path, wanted: &[Wanted]) -> Result<u64, Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::file(dir, source))?;
    let needed = sum(wanted.iter().map(Wanted::missing_bytes));
    let available = fs4::available_space(dir).map_err(|source| Error::file(dir, source))?;
    if needed > available {
        return Err(Error::NoSpace {
            dir: dir.to_owned(),
            needed,
            available,
        });
    }
    Ok(needed)
}

/// Sizes come from a manifest that nobody has checked: their sum may not fit.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
