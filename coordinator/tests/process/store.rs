//! Records in one store or the other: read, backed up, restored, moved.

use std::fs;
use std::process::Output;
use std::time::Duration;

use coordinator::store::{Etcd, EtcdConfig, StoreUrl};
use local_cluster::EtcdServer;
use proto::v1;
use serde_json::Value;

use crate::bench::{Bench, Running, with};
use crate::worker::{End, FakeWorker, Quirks};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn json(bench: &Bench, arguments: &[&str]) -> Value {
    let output = bench.command_output(&[arguments, &["--json"]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn refusal(bench: &Bench, arguments: &[&str]) -> String {
    let output = bench.command_output(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

async fn trained_to_the_end(bench: &Bench, running: Running) {
    let worker = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    assert_eq!(
        worker.work().await,
        End::Stopped(v1::stop::Reason::Complete)
    );
    assert!(running.ended().await.success(), "{}", bench.log());
}

/// A finished run in the bench's state directory.
pub(crate) async fn finished_run() -> Bench {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    trained_to_the_end(&bench, running).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_moves_from_redb_to_etcd_and_back() {
    if !EtcdServer::is_there_for("a_run_moves_from_redb_to_etcd_and_back") {
        return;
    }
    let bench = finished_run().await;
    let server = EtcdServer::start(bench.folder.path()).unwrap();
    let url = &format!("etcd://{}/moved", server.endpoint());
    let steps = json(&bench, &["steps", "--state-dir", "state"]);
    let audit = json(&bench, &["audit", "--state-dir", "state"]);
    assert!(refusal(&bench, &["steps", "--store", url]).contains("there is no run"));

    let saved = json(&bench, &["backup", "--state-dir", "state", "--to", "one"]);
    assert!(saved["records"].as_u64().unwrap() > steps.as_array().unwrap().len() as u64);
    let restored = json(&bench, &["restore", "--from", "one", "--store", url]);
    assert_eq!(restored["records"], saved["records"]);
    assert_eq!(json(&bench, &["steps", "--store", url]), steps);
    let asked = ["audit", "--store", url, "--state-dir", "state"];
    assert_eq!(json(&bench, &asked), audit);
    assert!(refusal(&bench, &["audit", "--store", url]).contains("--state-dir"));

    // What is there is not overwritten by accident, nor under a leader's feet.
    let again = refusal(&bench, &["restore", "--from", "one", "--store", url]);
    assert!(again.contains("--force"), "{again}");
    let StoreUrl::Etcd(etcd_url) = url.parse().unwrap() else {
        panic!("{url} is etcd's");
    };
    let etcd = Etcd::connect(&EtcdConfig::new(etcd_url)).await.unwrap();
    let lease = Duration::from_secs(60);
    let leadership = etcd.campaign("leader:1", lease).await.unwrap();
    let led = ["restore", "--from", "one", "--store", url, "--force"];
    let refused = refusal(&bench, &led);
    assert!(refused.contains("leader:1 leads"), "{refused}");
    // Reading disturbs nobody.
    json(&bench, &["backup", "--store", url, "--to", "two"]);
    leadership.resign().await.unwrap();
    let replaced = json(&bench, &led);
    assert_eq!(replaced["replaced"], saved["records"]);

    json(&bench, &["restore", "--from", "two", "--state-dir", "back"]);
    assert_eq!(json(&bench, &["steps", "--state-dir", "back"]), steps);
    let refused = refusal(&bench, &["restore", "--from", "two", "--state-dir", "back"]);
    assert!(refused.contains("--force"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_pages_and_checkpoints_is_all_that_a_run_needs() {
    let bench = finished_run().await;
    let audit = json(&bench, &["audit", "--state-dir", "state"]);
    let backup = ["backup", "--state-dir", "state", "--to", "saved"];
    let saved = json(
        &bench,
        &[&backup[..], &["--packed", "--checkpoints"]].concat(),
    );
    for what in ["packed", "checkpoints"] {
        let files = saved[what]["files"].as_u64().unwrap();
        assert!(files > 0 && saved[what]["linked"] == files, "{saved}");
    }
    fs::remove_dir_all(bench.state_dir()).unwrap();
    json(
        &bench,
        &["restore", "--from", "saved", "--state-dir", "state"],
    );
    assert_eq!(json(&bench, &["audit", "--state-dir", "state"]), audit);

    let further = bench
        .start(&with(bench.flags(1), "--num_epochs", "3"))
        .await;
    trained_to_the_end(&bench, further).await;
    let (longer, clean) = bench.ask(&["audit", "--json"]);
    assert!(
        clean && longer["epochs"].as_array().unwrap().len() == 3,
        "{longer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_or_empty_is_not_backed_up() {
    let bench = Bench::new();
    let backup = ["backup", "--state-dir", "state", "--to", "file"];
    assert!(refusal(&bench, &backup).contains("there is no run"));
    let running = bench.start(&bench.flags(1)).await;
    let refused = refusal(&bench, &backup);
    assert!(
        refused.contains("in use by another coordinator"),
        "{refused}"
    );
    assert!(!bench.path("file").exists());
    drop(running);
}

#[test]
fn flags_of_the_store_are_refused_with_the_right_way() {
    let bench = Bench::new();
    let steps = |arguments: &[&str]| refusal(&bench, &[&["steps"], arguments].concat());
    let secret = steps(&["--store", "etcd://miner:hunter2@h:1"]);
    assert!(secret.contains("--etcd-password-file"), "{secret}");
    assert!(!secret.contains("hunter2"), "{secret}");
    let no_password = steps(&["--store", "etcd://h:1", "--etcd-user", "miner"]);
    assert!(
        no_password.contains("PEREGRINE_ETCD_PASSWORD"),
        "{no_password}"
    );
    let no_tls = steps(&["--store", "etcd://h:1", "--etcd-ca", "ca.pem"]);
    assert!(no_tls.contains("etcds://"), "{no_tls}");
    let no_etcd = steps(&["--state-dir", "state", "--etcd-ca", "ca.pem"]);
    assert!(no_etcd.contains("--store etcd://"), "{no_etcd}");
    assert!(steps(&[]).contains("--coordinator"));
}
