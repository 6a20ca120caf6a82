//! A leader in a process of its own, which is stopped and killed.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use local_cluster::{Process, Signal, wait_until};

use super::*;

/// Where the child finds etcd.
const ENDPOINT: &str = "PEREGRINE_TEST_ETCD";
/// Seconds of the child's lease.
const LEASE: &str = "PEREGRINE_TEST_LEASE";
const LIMIT: Duration = Duration::from_secs(60);
/// Records that a child changes together: more than a transaction holds.
const SIZE: u32 = 400;

/// What a child does: leads, and sets all records to 1, 2, 3, … until it cannot.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is what the tests below start as a process of its own"]
async fn child() {
    let endpoint = env::var(ENDPOINT).expect("started by a test below");
    let lease = env::var(LEASE).unwrap().parse().unwrap();
    let etcd = Etcd::connect(&config(&[endpoint])).await.unwrap();
    let leadership = etcd
        .campaign("child:1", Duration::from_secs(lease))
        .await
        .unwrap();
    let lost = tokio::spawn(leadership.lost());
    for value in 1.. {
        match commit(&leadership.keyspace(), all_are(value)).await {
            Ok(()) => println!("committed {value}"),
            Err(error) => {
                println!("failed: {error}");
                break;
            }
        }
    }
    println!("lost: {}", lost.await.unwrap());
}

fn start_child(real: &Real, folder: &Path, lease: Duration) -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "store::etcd::tests::processes::child"])
        .args(["--ignored", "--nocapture"])
        .env(ENDPOINT, real.server.endpoint())
        .env(LEASE, lease.as_secs().to_string());
    Process::start("leader", &mut command, folder).unwrap()
}

fn all_are(value: u64) -> Batch {
    let mut batch = Batch::default();
    for number in 0..SIZE {
        let key = format!("{number:04}").into_bytes();
        batch.put(key, value.to_string().into_bytes());
    }
    batch
}

/// The one value that all records have.
fn value_of_all(keyspace: &impl Keyspace) -> u64 {
    let pairs = everything(keyspace);
    assert_eq!(pairs.len(), SIZE as usize);
    let (_, first) = pairs.first().unwrap();
    assert!(
        pairs.iter().all(|(_, value)| value == first),
        "half a batch"
    );
    first.parse().unwrap()
}

fn last_committed(child: &Process) -> u64 {
    let text = child.output_text();
    let mut committed = text
        .lines()
        .filter_map(|line| line.strip_prefix("committed "));
    committed
        .next_back()
        .map_or(0, |value| value.parse().unwrap())
}

fn wait_for_commits(child: &Process, value: u64) {
    wait_until(format!("the child's batch {value}"), LIMIT, || {
        Ok((last_committed(child) >= value).then_some(()))
    })
    .map_err(|error| format!("{error}\n{}", child.log_tail()))
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_is_deposed_and_writes_nothing_more() {
    let test = "a_leader_that_was_stopped_is_deposed_and_writes_nothing_more";
    let Some(real) = Real::start(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut child = start_child(&real, folder.path(), MEDIUM);
    wait_for_commits(&child, 3);
    child.signal(Signal::STOP).unwrap();
    let etcd = real.connect().await;
    let successor = tokio::time::timeout(LIMIT, etcd.campaign("next:1", LONG))
        .await
        .unwrap()
        .unwrap();
    assert!(value_of_all(&etcd.reader()) >= 3);
    commit(&successor.keyspace(), all_are(1_000_000))
        .await
        .unwrap();

    child.signal(Signal::CONT).unwrap();
    child.wait(LIMIT).unwrap();
    let said = child.output_text();
    assert!(
        said.contains("failed: this coordinator leads no longer"),
        "{said}"
    );
    assert!(
        said.contains("lost: this coordinator leads no longer"),
        "{said}"
    );
    assert_eq!(value_of_all(&etcd.reader()), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_when_its_lease_has_run_out() {
    let Some(real) = Real::start("a_killed_leader_is_replaced_when_its_lease_has_run_out") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut child = start_child(&real, folder.path(), MEDIUM);
    wait_for_commits(&child, 1);
    let etcd = real.connect().await;
    let standing_by = tokio::spawn(async move {
        let elected = etcd.campaign("next:1", LONG).await;
        (elected, Instant::now())
    });
    let killed = Instant::now();
    child.kill();
    let (elected, when) = standing_by.await.unwrap();
    elected.unwrap();
    let took = when - killed;
    // The lease, half a second in which etcd notices that it has run out, and what a
    // slow machine takes beside.
    assert!(took < MEDIUM + Duration::from_secs(30), "{took:?}");
    println!("took over after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_leaves_whole_batches() {
    let Some(real) = Real::start("a_leader_that_is_killed_leaves_whole_batches") else {
        return;
    };
    let etcd = real.connect().await;
    let mut least = 0;
    for round in 1..=4_u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start_child(&real, folder.path(), LONG);
        // At another place of a batch each time, as far as chance goes.
        wait_for_commits(&child, round);
        let lease = {
            let request = ::etcd::wire::RangeRequest {
                key: etcd.reading.layout.leader(),
                ..Default::default()
            };
            let answer = etcd.reading.client.range(request).await.unwrap();
            answer.kvs.first().unwrap().lease
        };
        child.kill();
        least = last_committed(&child).max(least);
        // Instead of waiting for as long as the lease is. What is still on its way to
        // etcd comes too late from here on.
        etcd.reading.client.revoke(lease).await.unwrap();
        let seen = value_of_all(&etcd.reader());
        let successor = etcd.campaign("next:1", LONG).await.unwrap();
        assert_eq!(value_of_all(&etcd.reader()), seen);
        let killed_at = last_committed(&child);
        assert!(
            seen == killed_at || seen == killed_at + 1,
            "{seen}, {killed_at}"
        );
        successor.resign().await.unwrap();
    }
    assert!(least >= 4);
}
