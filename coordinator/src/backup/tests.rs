//! A backup is what was stored, or it is refused.

use super::*;
use crate::records::{Checkpoint, CheckpointFile, FileKind, Record};
use crate::store::tests::{checkpoint, generation, run_record, step};
use crate::store::{Embedded, Pair};

fn store(folder: &Path) -> Embedded {
    Embedded::open(&folder.join("ledger.redb")).unwrap()
}

/// A store with a run of so many steps.
fn with_run(folder: &Path, steps: u64) -> std::sync::Arc<Embedded> {
    let keyspace = std::sync::Arc::new(store(folder));
    let run = RunStore::new(keyspace.clone());
    run.create_run(&run_record(), Some(&checkpoint())).unwrap();
    let mut records = vec![Record::Term(1), generation(1, 0)];
    records.extend((0..steps).map(|number| Record::Step(step(1, number))));
    run.commit(&records).unwrap();
    keyspace
}

/// Restores records alone, and says how many were replaced.
fn restore(backup: &Backup, into: &impl Keyspace, force: bool) -> Result<usize, BackupError> {
    let restored = backup.restore(&[], into, force, &CancellationToken::new());
    restored.map(|(_, replaced)| replaced)
}

#[test]
fn what_is_restored_is_what_was_stored() {
    let folder = tempfile::tempdir().unwrap();
    let original = with_run(folder.path(), 10);
    let path = folder.path().join("backup");
    let backup = Backup::of(&original).unwrap();
    backup.write(&path).unwrap();
    let read = Backup::read(&path).unwrap();
    assert_eq!(read, backup);
    assert_eq!(read.about.run_id, "first");

    let other = tempfile::tempdir().unwrap();
    let restored = store(other.path());
    assert_eq!(restore(&read, &restored, false).unwrap(), 0);
    assert_eq!(
        Frozen::of(&restored).unwrap(),
        Frozen::of(&original).unwrap()
    );
    let (restored, original) = (RunStore::new(restored), RunStore::new(original));
    assert_eq!(restored.history().unwrap(), original.history().unwrap());
}

#[test]
fn a_store_with_records_is_replaced_only_by_force_and_then_whole() {
    let folder = tempfile::tempdir().unwrap();
    let backup = Backup::of(&with_run(folder.path(), 3)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let fuller = with_run(other.path(), 500);
    let before = Frozen::of(&fuller).unwrap();
    let error = restore(&backup, &fuller, false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--force") && text.contains("first"), "{text}");
    assert_eq!(Frozen::of(&fuller).unwrap(), before);
    let replaced = restore(&backup, &fuller, true).unwrap();
    assert_eq!(replaced, before.pairs().len());
    assert_eq!(Frozen::of(&fuller).unwrap(), backup.records);
}

#[test]
fn a_store_without_a_run_has_nothing_to_back_up() {
    let folder = tempfile::tempdir().unwrap();
    let error = Backup::of(&store(folder.path())).unwrap_err();
    assert!(matches!(error, BackupError::NoRun), "{error}");
}

#[test]
fn every_damaged_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    Backup::of(&with_run(folder.path(), 1))
        .unwrap()
        .write(&path)
        .unwrap();
    let whole = fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        assert!(decode(&damaged).is_err(), "byte {place}");
    }
    for length in [0, 1, MAGIC.len(), 60, whole.len() / 2, whole.len() - 1] {
        assert!(decode(&whole[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_later_versions_backup_is_told_from_a_damaged_one() {
    let later = [MAGIC, b"{\"format\":2,\"more\":true}\n", &[0; 100]].concat();
    assert!(decode(&later).unwrap_err().contains("newer"));
}

/// A checkpoint with these weights in `folder`.
fn kept(folder: &Path, weights: &[u8]) -> Checkpoint {
    let file = CheckpointFile {
        name: "model.safetensors".to_owned(),
        kind: FileKind::Model,
        size: weights.len() as u64,
        sha256: <Sha256 as sha2::Digest>::digest(weights).into(),
    };
    let checkpoint = Checkpoint {
        files: vec![file],
        ..checkpoint()
    };
    let place = folder.join(&checkpoint.id.0).join("model");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("model.safetensors"), weights).unwrap();
    fs::write(folder.join(&checkpoint.id.0).join("manifest.json"), "{}").unwrap();
    checkpoint
}

/// Everything below a folder, with what files hold.
fn all_in(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.clone(), fs::read(&path).ok()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn go_on() -> CancellationToken {
    CancellationToken::new()
}

/// A backup of a run with a checkpoint, and folders to restore it into.
struct Bench {
    folder: tempfile::TempDir,
    backup: Backup,
    checkpoint: Checkpoint,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("saved");
        let checkpoint = kept(&saved, b"weights");
        let of = folder.path().join("of");
        fs::create_dir(&of).unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        Bench {
            backup: Backup::of(&with_run(&of, 3)).unwrap(),
            folder,
            checkpoint,
        }
    }

    fn saved(&self) -> PathBuf {
        self.folder.path().join("saved")
    }

    fn to(&self) -> PathBuf {
        self.folder.path().join("to/checkpoints")
    }

    fn weights(&self, root: &Path) -> PathBuf {
        root.join(&self.checkpoint.id.0)
            .join("model/model.safetensors")
    }

    fn trees(&self) -> Vec<Tree> {
        let checkpoints = std::slice::from_ref(&self.checkpoint);
        vec![Tree::of_checkpoints(&self.saved(), &self.to(), checkpoints).unwrap()]
    }

    fn restore(
        &self,
        into: &impl Keyspace,
        force: bool,
        stop: &CancellationToken,
    ) -> Result<(Vec<Copied>, usize), BackupError> {
        self.backup.restore(&self.trees(), into, force, stop)
    }
}

/// A store that looks at a file before it writes, and may not write then.
struct Looking {
    file: PathBuf,
    expected: &'static [u8],
    failure: Option<Refusal>,
}

type Refusal = fn() -> StoreError;

impl Keyspace for Looking {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn scan(&self, _from: &[u8], _to: &[u8]) -> Result<Vec<Pair>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _batch: Batch) -> Result<(), StoreError> {
        assert_eq!(fs::read(&self.file).unwrap(), self.expected);
        self.failure.map_or(Ok(()), |failure| Err(failure()))
    }
}

fn deposed() -> StoreError {
    StoreError::Deposed {
        why: "its lease was not renewed".to_owned(),
    }
}

fn uncertain() -> StoreError {
    StoreError::Uncertain {
        waited: std::time::Duration::from_secs(10),
        reason: "no answer".to_owned(),
    }
}

#[test]
fn files_are_there_before_the_records_are_and_go_if_these_do_not_come() {
    for (failure, stays) in [
        (None, true),
        (Some(deposed as Refusal), false),
        // It may be that they did come.
        (Some(uncertain as Refusal), true),
    ] {
        let bench = Bench::new();
        let to = bench.folder.path().join("to");
        let store = Looking {
            file: bench.weights(&bench.to()),
            expected: b"weights",
            failure,
        };
        let restored = bench.restore(&store, false, &go_on());
        assert_eq!(restored.is_ok(), failure.is_none());
        assert_eq!(bench.weights(&bench.to()).exists(), stays);
        assert_eq!(all_in(&to).is_empty(), !stays, "{:?}", all_in(&to));
        let hidden = bench.to().join(".partial-carried");
        assert!(!hidden.exists());
        if let Err(error @ BackupError::Uncertain { .. }) = restored {
            assert!(error.to_string().contains("--force"), "{error}");
        }
    }
}

#[test]
fn other_content_is_refused_and_by_force_replaced_unless_the_records_do_not_come() {
    let bench = Bench::new();
    let mine = kept(&bench.to(), b"another");
    assert_eq!(mine.id, bench.checkpoint.id);
    let to = bench.folder.path().join("to");
    let before = all_in(&to);
    let place = bench.weights(&bench.to());
    let store = |failure: Option<Refusal>| Looking {
        file: place.clone(),
        expected: b"weights",
        failure,
    };

    let error = bench.restore(&store(None), false, &go_on()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BackupError::InTheWay { .. }), "{text}");
    assert!(text.contains("model.safetensors") && text.contains("--force"));
    assert_eq!(all_in(&to), before);

    let error = bench.restore(&store(Some(deposed)), true, &go_on());
    assert!(matches!(error, Err(BackupError::Store(_))), "{error:?}");
    assert_eq!(all_in(&to), before);

    let (copied, _) = bench.restore(&store(None), true, &go_on()).unwrap();
    assert_eq!((copied[0].files, copied[0].linked), (2, 1));
    assert_eq!(fs::read(&place).unwrap(), b"weights");
    assert_eq!(all_in(&to).len(), before.len());
    // Again: what is there stays.
    let (copied, _) = bench.restore(&store(None), false, &go_on()).unwrap();
    assert_eq!((copied[0].files, copied[0].linked), (2, 0));
}

#[test]
fn a_backup_that_is_not_what_its_records_say_is_not_restored() {
    let bench = Bench::new();
    fs::write(bench.weights(&bench.saved()), b"weighty").unwrap();
    let into = store(bench.folder.path());
    let error = bench.restore(&into, false, &go_on()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("model.safetensors"), "{text}");
    assert!(text.contains("another copy"), "{text}");
    assert!(all_in(&bench.folder.path().join("to")).is_empty());
    assert!(RunStore::new(into).run().unwrap().is_none());

    // What is there already and right needs no backup.
    kept(&bench.to(), b"weights");
    let into = tempfile::tempdir().unwrap();
    bench.restore(&store(into.path()), false, &go_on()).unwrap();
}

#[test]
fn a_restore_that_is_interrupted_has_changed_nothing() {
    let bench = Bench::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let into = store(bench.folder.path());
    let error = bench.restore(&into, false, &stop).unwrap_err();
    assert!(matches!(error, BackupError::Interrupted), "{error}");
    assert!(all_in(&bench.folder.path().join("to")).is_empty());
    assert!(RunStore::new(into).run().unwrap().is_none());
}

/// Carries a tree, as a backup does.
fn carry(trees: &[Tree]) -> Result<Copied, BackupError> {
    let (mut placing, copied) = Placing::prepare(trees, Purpose::Backup, &go_on())?;
    placing.place()?;
    placing.keep();
    Ok(copied[0])
}

#[test]
fn trees_are_linked_without_what_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("ab")).unwrap();
    fs::create_dir_all(from.join(".partial-x")).unwrap();
    for name in ["ab/one", "two", "ab/three.partial", ".partial-x/four"] {
        fs::write(from.join(name), name).unwrap();
    }
    let copied = carry(&[Tree::of(&from, &to).unwrap()]).unwrap();
    assert_eq!((copied.files, copied.bytes, copied.linked), (2, 9, 2));
    assert_eq!(fs::read_to_string(to.join("ab/one")).unwrap(), "ab/one");
    assert!(!to.join("ab/three.partial").exists() && !to.join(".partial-x").exists());
    // Again: what is there stays.
    let again = carry(&[Tree::of(&from, &to).unwrap()]).unwrap();
    assert_eq!((again.files, again.linked), (2, 0));

    // What another backup has kept is not replaced, nor is anything added to it.
    fs::remove_file(to.join("two")).unwrap();
    fs::write(to.join("two"), "not").unwrap();
    fs::write(from.join("five"), "five").unwrap();
    let before = all_in(&to);
    let error = carry(&[Tree::of(&from, &to).unwrap()]).unwrap_err();
    assert!(error.to_string().contains("another folder"), "{error}");
    assert_eq!(all_in(&to), before);
}

#[test]
fn a_checkpoint_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let missing = || Tree::of_checkpoints(folder.path(), &to, &[checkpoint()]).unwrap_err();
    assert!(missing().to_string().contains(&checkpoint().id.0));
    // Its folder is not all that there should be.
    fs::create_dir(folder.path().join(&checkpoint().id.0)).unwrap();
    let error = missing();
    assert!(matches!(error, BackupError::NoCheckpoint { .. }), "{error}");
}
