//! Who leads, who waits, and who must not write any more.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_waits_until_the_leader_resigns() {
    let Some(real) = Real::start("a_candidate_waits_until_the_leader_resigns") else {
        return;
    };
    let first = real.connect().await;
    assert_eq!(first.leader().await.unwrap(), None);
    let leadership = first.campaign("a:1", LONG).await.unwrap();
    let second = real.connect().await;
    let leader = second.leader().await.unwrap().unwrap();
    assert_eq!(leader.address, "a:1");
    assert_eq!(leader.token, leadership.token());

    let waiting = tokio::spawn(async move { second.campaign("b:1", LONG).await });
    assert!(!waiting.is_finished());
    commit(&leadership.keyspace(), batch(&[("k", "a's")]))
        .await
        .unwrap();
    let token = leadership.token();
    leadership.resign().await.unwrap();
    let successor = waiting.await.unwrap().unwrap();
    assert!(successor.token() > token);
    assert_eq!(first.leader().await.unwrap().unwrap().address, "b:1");
    assert_eq!(
        everything(&successor.keyspace()),
        [("k".to_owned(), "a's".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leaders_write_fails_and_changes_nothing() {
    let Some(real) = Real::start("a_deposed_leaders_write_fails_and_changes_nothing") else {
        return;
    };
    let etcd = real.connect().await;
    let old = etcd.campaign("a:1", LONG).await.unwrap();
    commit(&old.keyspace(), batch(&[("k", "1")])).await.unwrap();
    // As if the machine had been away for longer than its lease.
    let client = &etcd.reading.client;
    client.revoke(old.writing.fence.lease).await.unwrap();
    let new = real.connect().await.campaign("b:1", LONG).await.unwrap();

    for size in [1, 1000] {
        let mut late = Batch::default();
        for n in 0..size {
            late.put(format!("late/{n}").into_bytes(), b"x".to_vec());
        }
        late.put(b"k".to_vec(), b"2".to_vec());
        let error = commit(&old.keyspace(), late).await.unwrap_err();
        assert!(matches!(error, StoreError::Deposed { .. }), "{error}");
    }
    let lost = old.lost().await;
    assert!(matches!(lost, StoreError::Deposed { .. }), "{lost}");
    let kept = [("k".to_owned(), "1".to_owned())];
    assert_eq!(everything(&new.keyspace()), kept);
    assert_eq!(everything(&etcd.reader()), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_cannot_write() {
    let Some(real) = Real::start("readers_cannot_write") else {
        return;
    };
    let reader = real.connect().await.reader();
    let error = reader.commit(batch(&[("k", "1")])).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    assert_eq!(everything(&reader), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_lost_before_the_lease_can_have_run_out() {
    let Some(mut real) = Real::start("leadership_is_lost_before_the_lease_can_have_run_out") else {
        return;
    };
    let etcd = real.connect().await;
    // A machine that stands still for a moment lets everybody notice too late, but not
    // every time.
    let mut late = Vec::new();
    for _ in 0..5 {
        let leadership = etcd.campaign("a:1", SHORT).await.unwrap();
        let silent = Instant::now();
        real.server.pause().unwrap();
        let lost = leadership.lost().await;
        let took = silent.elapsed();
        let error = commit(&leadership.keyspace(), Batch::default()).await;
        assert!(
            matches!(error, Err(StoreError::Deposed { .. })),
            "{error:?}"
        );
        real.server.resume().unwrap();
        if took < SHORT && lost.to_string().contains("not renewed") {
            return;
        }
        late.push((took, lost));
    }
    panic!("{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_for_as_long_as_it_is_held() {
    let Some(real) = Real::start("a_lease_is_renewed_for_as_long_as_it_is_held") else {
        return;
    };
    let leadership = real.connect().await.campaign("a:1", MEDIUM).await.unwrap();
    let longer = MEDIUM + Duration::from_secs(1);
    let lost = tokio::time::timeout(longer, leadership.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
    commit(&leadership.keyspace(), batch(&[("k", "1")]))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_key_was_deleted_notices_by_itself() {
    let Some(real) = Real::start("a_leader_whose_key_was_deleted_notices_by_itself") else {
        return;
    };
    let etcd = real.connect().await;
    let leadership = etcd.campaign("a:1", MEDIUM).await.unwrap();
    let request = ::etcd::wire::TxnRequest {
        success: vec![::etcd::txn::delete(etcd.reading.layout.leader())],
        ..Default::default()
    };
    etcd.reading.client.txn(request).await.unwrap();
    let error = leadership.lost().await;
    assert!(error.to_string().contains("deleted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_withdraws_leaves_no_leader_behind() {
    let Some(real) = Real::start("who_withdraws_leaves_no_leader_behind") else {
        return;
    };
    let etcd = real.connect().await;
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let other = real.connect().await;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.campaign("b:1", LONG).await.map(|_| ()) }
    });
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    drop(leadership);
    // Long before its lease would have run out.
    let next = other.campaign("c:1", LONG);
    let next = tokio::time::timeout(LONG / 2, next).await.unwrap().unwrap();
    assert_eq!(etcd.leader().await.unwrap().unwrap().address, "c:1");
    drop(next);
}
