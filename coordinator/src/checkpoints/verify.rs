//! Whether checkpoints on disk are what their manifests say.
//!
//! Sizes are compared first, which finds what is missing or cut short at once;
//! then contents, several files at a time, for that takes as long as reading
//! them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::{CheckpointError, CheckpointFolder};
use crate::records::{Checkpoint, CheckpointFile, FileKind};

/// Bytes of a file in memory at a time.
const CHUNK: usize = 1 << 20;
/// How often people are told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// One file to compare.
struct Task<'a> {
    checkpoint: usize,
    path: PathBuf,
    file: &'a CheckpointFile,
}

/// What threads that compare files share.
struct Work<'a> {
    tasks: Vec<Task<'a>>,
    next: AtomicUsize,
    bytes: u64,
    done: AtomicU64,
    told: Mutex<Instant>,
    /// The first finding of each checkpoint.
    found: Mutex<Vec<Result<(), CheckpointError>>>,
}

impl CheckpointFolder {
    /// Compares every file of a checkpoint with the manifest.
    ///
    /// # Errors
    /// A file that is missing, different, or cannot be read.
    pub fn verify(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let found = self.verify_all(std::slice::from_ref(checkpoint));
        found.into_iter().collect()
    }

    /// Compares every file of several checkpoints with their manifests; one
    /// answer for each checkpoint, in their order.
    pub fn verify_all(&self, checkpoints: &[Checkpoint]) -> Vec<Result<(), CheckpointError>> {
        let mut tasks = Vec::new();
        let mut found = Vec::new();
        for (index, checkpoint) in checkpoints.iter().enumerate() {
            let files = checkpoint.files.iter().map(|file| Task {
                checkpoint: index,
                path: self.file_path(&checkpoint.id, file.kind, &file.name),
                file,
            });
            let files: Vec<Task<'_>> = files.collect();
            let sizes = files.iter().try_for_each(Task::compare_size);
            if sizes.is_ok() {
                tasks.extend(files);
            }
            found.push(sizes);
        }
        let work = Work {
            bytes: tasks.iter().map(|task| task.file.size).sum(),
            tasks,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            told: Mutex::new(Instant::now()),
            found: Mutex::new(found),
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads.min(work.tasks.len()) {
                scope.spawn(|| work.run());
            }
        });
        work.found
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task<'_> {
    fn compare_size(&self) -> Result<(), CheckpointError> {
        let metadata = fs::metadata(&self.path);
        let found = metadata.map_err(|source| CheckpointError::io(&self.path, source))?;
        self.expect(found.len() == self.file.size, || {
            format!("it has {} bytes instead of {}", found.len(), self.file.size)
        })
    }

    fn compare_content(&self, on_bytes: impl FnMut(u64)) -> Result<(), CheckpointError> {
        let found = read_through(&self.path, on_bytes)?;
        self.expect(found == (self.file.size, self.file.sha256), || {
            "its SHA-256 is not its manifest's".to_owned()
        })
    }

    fn expect(&self, is_so: bool, problem: impl FnOnce() -> String) -> Result<(), CheckpointError> {
        if is_so {
            return Ok(());
        }
        Err(CheckpointError::Damaged {
            path: self.path.clone(),
            problem: problem(),
        })
    }
}

impl Work<'_> {
    fn run(&self) {
        while let Some(task) = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let compared = task.compare_content(|bytes| self.tell(bytes));
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            if found[task.checkpoint].is_ok() {
                found[task.checkpoint] = compared;
            }
        }
    }

    fn tell(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= PROGRESS_EVERY {
            *told = Instant::now();
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            tracing::info!(
                "comparing checkpoints with their hashes: {:.1} of {:.1} GB",
                gigabytes(done),
                gigabytes(self.bytes)
            );
        }
    }
}

/// A file's entry in a manifest.
pub(super) fn describe(path: &Path, kind: FileKind) -> Result<CheckpointFile, CheckpointError> {
    let (size, sha256) = read_through(path, |_| {})?;
    let name = path.file_name().unwrap_or_default();
    Ok(CheckpointFile {
        name: name.to_string_lossy().into_owned(),
        kind,
        size,
        sha256,
    })
}

/// A file's size and SHA-256. `on_bytes` hears of every piece that is read.
fn read_through(
    path: &Path,
    mut on_bytes: impl FnMut(u64),
) -> Result<(u64, [u8; 32]), CheckpointError> {
    let failed = |source| CheckpointError::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let mut part = (&mut file).take(CHUNK as u64);
        let read = part.read_to_end(&mut chunk).map_err(failed)? as u64;
        if read == 0 {
            break;
        }
        size += read;
        hasher.update(&chunk);
        on_bytes(read);
    }
    Ok((size, hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use ledger::Cursor;

    use super::*;
    use crate::records::CheckpointId;

    /// A checkpoint of three files of different sizes, on disk.
    fn kept(folder: &CheckpointFolder, step: u64) -> Checkpoint {
        let id = CheckpointId::of(step, 1);
        let mut files = Vec::new();
        for (name, kind, size) in [
            ("config.json", FileKind::Model, 20),
            ("model.safetensors", FileKind::Model, CHUNK + 5),
            ("optimizer.safetensors", FileKind::State, 2 * CHUNK),
        ] {
            let path = folder.file_path(&id, kind, name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content: Vec<u8> = (0..size).map(|at| (at as u64 * 31 + step) as u8).collect();
            fs::write(&path, content).unwrap();
            files.push(describe(&path, kind).unwrap());
        }
        Checkpoint {
            id,
            generation: 1,
            cursor: Cursor::start(),
            evaluation: None,
            training_loss: 1.0,
            parameters: 1,
            files,
            created_unix_ms: 0,
        }
    }

    /// Of four whole checkpoints the third is damaged.
    fn damaged(damage: impl Fn(&Path)) -> String {
        let root = tempfile::tempdir().unwrap();
        let model = layout::Gpt2Config::default();
        let folder = CheckpointFolder::open(root.path(), &model, &[]).unwrap();
        let checkpoints: Vec<Checkpoint> = (0..4).map(|step| kept(&folder, step)).collect();
        assert!(folder.verify_all(&checkpoints).iter().all(Result::is_ok));
        let file = folder.file_path(&checkpoints[2].id, FileKind::State, "optimizer.safetensors");
        damage(&file);
        let found = folder.verify_all(&checkpoints);
        for (index, found) in found.iter().enumerate() {
            assert_eq!(found.is_ok(), index != 2, "{index}: {found:?}");
        }
        let error = folder.verify(&checkpoints[2]).unwrap_err();
        assert!(error.is_damage(), "{error}");
        assert!(
            error.to_string().contains("optimizer.safetensors"),
            "{error}"
        );
        error.to_string()
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let words = damaged(|path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        });
        assert!(words.contains("SHA-256"), "{words}");
    }

    #[test]
    fn a_cut_file_is_found() {
        let words = damaged(|path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(9)
                .unwrap();
        });
        assert!(words.contains("9 bytes instead of"), "{words}");
    }

    #[test]
    fn a_missing_file_is_found() {
        damaged(|path| fs::remove_file(path).unwrap());
    }
}
