//! A backup is what was stored, or it is refused.

use super::*;
use crate::records::Record;
use crate::store::Embedded;
use crate::store::tests::{checkpoint, generation, run_record, step};

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
    assert_eq!(read.restore(&restored, false).unwrap(), 0);
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
    let error = backup.restore(&fuller, false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--force") && text.contains("first"), "{text}");
    assert_eq!(Frozen::of(&fuller).unwrap(), before);
    let replaced = backup.restore(&fuller, true).unwrap();
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

#[test]
fn trees_are_linked_without_what_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("ab")).unwrap();
    fs::create_dir_all(from.join(".partial-x")).unwrap();
    for name in ["ab/one", "two", "ab/three.partial", ".partial-x/four"] {
        fs::write(from.join(name), name).unwrap();
    }
    let copied = link_tree(&from, &to).unwrap();
    assert_eq!((copied.files, copied.bytes, copied.linked), (2, 9, 2));
    assert_eq!(fs::read_to_string(to.join("ab/one")).unwrap(), "ab/one");
    assert!(!to.join("ab/three.partial").exists() && !to.join(".partial-x").exists());
    // Again: what is there stays.
    assert_eq!(link_tree(&from, &to).unwrap().linked, 0);
}

#[test]
fn a_checkpoint_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let error = link_checkpoints(folder.path(), &to, &[checkpoint()]).unwrap_err();
    assert!(error.to_string().contains(&checkpoint().id.0), "{error}");
}
