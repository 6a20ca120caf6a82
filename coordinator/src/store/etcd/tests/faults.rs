//! etcd is killed, paused and cut off while a leader commits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use etcd::wire::RangeRequest;
use local_cluster::wait_until;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::proxy::Proxy;
use super::*;

/// How long anything here may take before the test has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// A client that gives members up quickly and etcd late.
fn hasty(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig {
        attempt: Duration::from_millis(200),
        patience: LIMIT,
        ..config(endpoints)
    }
}

/// Commits numbered batches of three records until it is told to stop.
struct Writer {
    committed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Writer {
    fn start(keyspace: FencedEtcd) -> Writer {
        let committed = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::task::spawn_blocking({
            let (committed, stop) = (committed.clone(), stop.clone());
            move || {
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    keyspace.commit(numbered(number))?;
                    committed.store(number + 1, Ordering::Release);
                }
                Ok(())
            }
        });
        Writer {
            committed,
            stop,
            task,
        }
    }

    /// Waits for `more` batches from now on.
    async fn commits(&self, more: u64) {
        let wanted = self.committed.load(Ordering::Acquire) + more;
        let started = Instant::now();
        while self.committed.load(Ordering::Acquire) < wanted {
            assert!(started.elapsed() < LIMIT, "the writer is stuck");
            assert!(!self.task.is_finished(), "the writer has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the writer, and returns how many batches it committed.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap().unwrap();
        self.committed.load(Ordering::Acquire)
    }
}

fn numbered(number: u64) -> Batch {
    let mut batch = Batch::default();
    for part in ["a", "b", "c"] {
        let key = format!("{number:06}/{part}");
        batch.put(key.into_bytes(), b"x".to_vec());
    }
    batch
}

/// Asserts that these batches are there, none of them twice, and no other.
async fn assert_written_once(leadership: &Leadership, batches: u64) {
    let reading = &leadership.writing.reading;
    let records = reading.client.range(RangeRequest {
        key: reading.layout.record(b""),
        range_end: reading.layout.record(b"\xff"),
        ..RangeRequest::default()
    });
    let records = records.await.unwrap().kvs;
    assert_eq!(records.len() as u64, 3 * batches);
    for record in &records {
        let key = String::from_utf8_lossy(&record.key);
        assert_eq!(record.create_revision, record.mod_revision, "{key} twice");
    }
    let together = records.chunks(3).all(|batch| {
        let first = batch.first().unwrap();
        batch
            .iter()
            .all(|record| record.mod_revision == first.mod_revision)
    });
    assert!(together, "parts of a batch at different times");
    // One for taking over.
    assert_eq!(leadership.writing.progress.lock().await.mark(), batches + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_lost_or_doubled_when_etcd_is_killed() {
    let Some(mut real) = Real::start("no_batch_is_lost_or_doubled_when_etcd_is_killed") else {
        return;
    };
    let etcd = Etcd::connect(&hasty(&[real.server.endpoint()]))
        .await
        .unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let writer = Writer::start(leadership.keyspace());
    for _ in 0..3 {
        writer.commits(20).await;
        real.server.restart().unwrap();
    }
    writer.commits(20).await;
    let batches = writer.stop().await;
    assert_written_once(&leadership, batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_lost_or_doubled_when_etcd_pauses() {
    let Some(mut real) = Real::start("no_batch_is_lost_or_doubled_when_etcd_pauses") else {
        return;
    };
    let config = hasty(&[real.server.endpoint()]);
    let pause = config.attempt * 3;
    let leadership = Etcd::connect(&config)
        .await
        .unwrap()
        .campaign("a:1", LONG)
        .await
        .unwrap();
    let writer = Writer::start(leadership.keyspace());
    for _ in 0..4 {
        writer.commits(10).await;
        real.server.pause().unwrap();
        // Long enough for copies of the same transaction to queue up.
        tokio::time::sleep(pause).await;
        real.server.resume().unwrap();
    }
    writer.commits(10).await;
    let batches = writer.stop().await;
    assert_written_once(&leadership, batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_doubled_when_answers_are_lost() {
    let Some(real) = Real::start("no_batch_is_doubled_when_answers_are_lost") else {
        return;
    };
    let proxy = Proxy::start(real.server.endpoint()).await;
    let etcd = Etcd::connect(&hasty(&[proxy.endpoint()])).await.unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let keyspace = leadership.keyspace();
    const BATCHES: u64 = 60;
    for number in 0..BATCHES {
        if number % 3 == 1 {
            // The transaction's, or a renewal's, and then another one's.
            proxy.swallow_an_answer();
        }
        commit(&keyspace, numbered(number)).await.unwrap();
    }
    assert!(proxy.swallowed() > 0);
    assert_written_once(&leadership, BATCHES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_go_on_when_a_member_of_three_is_killed_or_paused() {
    if !EtcdServer::is_there_for("commits_go_on_when_a_member_of_three_is_killed_or_paused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut members = EtcdServer::start_cluster(folder.path(), 3).unwrap();
    let endpoints: Vec<_> = members.iter().map(EtcdServer::endpoint).collect();
    let etcd = Etcd::connect(&hasty(&endpoints)).await.unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let writer = Writer::start(leadership.keyspace());
    for fault in ["killed", "paused"] {
        writer.commits(10).await;
        // Nobody does for the moment that an election takes.
        let leader = wait_until("a member to lead", LIMIT, || {
            Ok(members.iter().position(EtcdServer::leads))
        });
        let member = &mut members[leader.unwrap()];
        match fault {
            "killed" => member.kill(),
            _ => member.pause().unwrap(),
        }
        writer.commits(10).await;
        match fault {
            "killed" => member.restart().unwrap(),
            _ => member.resume().unwrap(),
        }
    }
    // And whichever member the client asks.
    for member in &mut members {
        writer.commits(5).await;
        member.kill();
        writer.commits(5).await;
        member.restart().unwrap();
    }
    let batches = writer.stop().await;
    assert_written_once(&leadership, batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_commit_fails_in_words_within_its_bound() {
    if !EtcdServer::is_there_for("without_a_quorum_a_commit_fails_in_words_within_its_bound") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut members = EtcdServer::start_cluster(folder.path(), 3).unwrap();
    let endpoints: Vec<_> = members.iter().map(EtcdServer::endpoint).collect();
    // For what comes before the members are killed, too.
    let patience = Duration::from_secs(8);
    let impatient = EtcdConfig {
        patience,
        ..hasty(&endpoints)
    };
    let etcd = Etcd::connect(&impatient).await.unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let keyspace = leadership.keyspace();
    commit(&keyspace, numbered(0)).await.unwrap();
    for member in &mut members[..2] {
        member.kill();
    }
    let started = Instant::now();
    let error = commit(&keyspace, numbered(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Uncertain { .. }), "{error}");
    // An attempt that began before the end of patience may end after it.
    assert!(started.elapsed() < patience * 4, "{:?}", started.elapsed());
    assert!(error.to_string().contains("not known"), "{error}");
    let again = commit(&keyspace, numbered(2)).await.unwrap_err();
    assert!(matches!(again, StoreError::Uncertain { .. }), "{again}");
    let reader = etcd.reader();
    let read = tokio::task::spawn_blocking(move || reader.get(b"000000/a"));
    let error = read.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("did not answer"), "{error}");

    // With the others back, who opens it anew finds the batch or does not.
    for member in &mut members[..2] {
        member.start_again().unwrap();
    }
    let etcd = Etcd::connect(&hasty(&endpoints)).await.unwrap();
    let client = &etcd.reading.client;
    client.revoke(leadership.writing.fence.lease).await.unwrap();
    let next = etcd.campaign("b:1", LONG).await.unwrap();
    let keys = everything(&next.keyspace()).len();
    assert!(keys == 3 || keys == 6, "{keys}");
    commit(&next.keyspace(), numbered(3)).await.unwrap();
    assert_eq!(everything(&next.keyspace()).len(), keys + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_waits_for_etcd() {
    let Some(mut real) = Real::start("a_candidate_waits_for_etcd") else {
        return;
    };
    let config = EtcdConfig {
        attempt: Duration::from_millis(100),
        patience: Duration::from_millis(300),
        ..real.config()
    };
    // So little patience may not be enough every time on a slow machine.
    let connecting = async {
        loop {
            match Etcd::connect(&config).await {
                Ok(etcd) => return etcd,
                Err(error) => assert!(error.may_pass(), "{error}"),
            }
        }
    };
    let etcd = tokio::time::timeout(LIMIT, connecting).await.unwrap();
    real.server.kill();
    // A lease that is left behind by an attempt that took too long has to run out.
    let campaign = tokio::spawn(async move { etcd.campaign("a:1", MEDIUM).await });
    real.server.restart().unwrap();
    let elected = tokio::time::timeout(LIMIT, campaign).await.unwrap();
    elected.unwrap().unwrap();
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named_in_words() {
    // A port that nobody else gets, and at which nobody listens.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = taken.local_addr().unwrap().to_string();
    let config = EtcdConfig {
        attempt: Duration::from_secs(1),
        patience: Duration::from_secs(3),
        ..config(std::slice::from_ref(&endpoint))
    };
    let error = Etcd::connect(&config).await.map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&endpoint) && text.contains("refused"),
        "{text}"
    );
}
