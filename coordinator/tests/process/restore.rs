//! Packed pages and checkpoints that go with the records: in place before these,
//! or not at all.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;

use crate::bench::{Bench, until};
use crate::store::{finished_run, json, refusal};

const BACKUP: [&str; 7] = [
    "backup",
    "--state-dir",
    "state",
    "--to",
    "saved",
    "--packed",
    "--checkpoints",
];
const RESTORE: [&str; 5] = ["restore", "--from", "saved", "--state-dir", "state"];

/// The weights of some checkpoint below a folder.
fn weights(folder: &Path) -> PathBuf {
    let mut checkpoints = fs::read_dir(folder.join("checkpoints")).unwrap();
    let checkpoint = checkpoints.next().unwrap().unwrap();
    checkpoint.path().join("model/model.safetensors")
}

/// Replaces a file by one of the same size, and leaves other names of it alone.
fn alter(path: &Path) {
    let mut content = fs::read(path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

async fn backed_up() -> Bench {
    let bench = finished_run().await;
    json(&bench, &BACKUP);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_checkpoints_no_record_is_restored() {
    let bench = backed_up().await;
    let steps = json(&bench, &["steps", "--state-dir", "state"]);
    fs::remove_dir_all(bench.state_dir()).unwrap();
    let damaged = weights(&bench.path("saved"));
    alter(&damaged);
    let refused = refusal(&bench, &RESTORE);
    for words in [
        "nothing was restored",
        "model.safetensors",
        "use another copy",
    ] {
        assert!(refused.contains(words), "{words:?} is not in: {refused}");
    }
    assert!(!bench.state_dir().exists(), "something is left behind");

    fs::remove_file(&damaged).unwrap();
    let refused = refusal(&bench, &RESTORE);
    assert!(refused.contains("saved/records.backup"), "{refused}");
    assert!(!bench.state_dir().exists(), "something is left behind");
    // As it says.
    let records = "saved/records.backup";
    json(
        &bench,
        &["restore", "--from", records, "--state-dir", "state"],
    );
    assert_eq!(json(&bench, &["steps", "--state-dir", "state"]), steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_content_is_replaced_only_by_force() {
    let bench = backed_up().await;
    let audit = json(&bench, &["audit", "--state-dir", "state"]);
    let place = weights(&bench.state_dir());
    let saved = fs::read(&place).unwrap();
    alter(&place);
    let other = fs::read(&place).unwrap();
    fs::remove_file(bench.state_dir().join("ledger.redb")).unwrap();

    let refused = refusal(&bench, &RESTORE);
    let named = place.strip_prefix(bench.folder.path()).unwrap();
    assert!(refused.contains(named.to_str().unwrap()), "{refused}");
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(fs::read(&place).unwrap(), other);
    assert!(!bench.state_dir().join("ledger.redb").exists());

    let restored = json(&bench, &[&RESTORE[..], &["--force"]].concat());
    assert_eq!(restored["checkpoints"]["linked"], 1, "{restored}");
    assert_eq!(fs::read(&place).unwrap(), saved);
    assert_eq!(json(&bench, &["audit", "--state-dir", "state"]), audit);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_coordinator_starts_while_files_are_being_backed_up() {
    let bench = finished_run().await;
    // On another disk files are read, and one can be read for as long as we like.
    let elsewhere = tempfile::tempdir_in("/dev/shm");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let elsewhere = match elsewhere {
        Ok(folder) if device(folder.path()) != device(bench.folder.path()) => folder,
        _ => {
            eprintln!("SKIPPED: /dev/shm is not there, or no other disk");
            return;
        }
    };
    let fifo = bench.state_dir().join("packed/fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let to = elsewhere.path().join("saved").display().to_string();
    let backup = ["backup", "--state-dir", "state", "--to", &to, "--packed"];
    let mut child = bench
        .command(&backup.map(str::to_owned))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let being_read = until("the backup to read", || {
        assert_eq!(child.try_wait().unwrap(), None);
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(&fifo);
        opened.ok()
    })
    .await;
    let refused = bench.refusal(&bench.flags(1));
    assert!(
        refused.contains("in use by another coordinator"),
        "{refused}"
    );
    drop(being_read);
    let status = until("the backup", || child.try_wait().unwrap()).await;
    assert!(status.success());
    assert!(Path::new(&to).join("records.backup").exists());
}
