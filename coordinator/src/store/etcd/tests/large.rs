//! Batches larger than a transaction, cut short in every place.

use etcd::wire::RangeRequest;

use super::*;
use crate::store::etcd::layout::StagedBatch;
use crate::store::etcd::staged::{Changes, changes_of, encode, groups};
use crate::store::etcd::write::Writing;

const SIZE: u32 = 1000;

fn all_are(value: &str) -> Batch {
    let mut batch = Batch::default();
    for number in 0..SIZE {
        batch.put(
            format!("{number:04}").into_bytes(),
            value.as_bytes().to_vec(),
        );
    }
    batch
}

fn changes(value: &str) -> Changes {
    changes_of(all_are(value)).unwrap()
}

/// The one value that all of the keys have.
fn value_of_all(keyspace: &impl Keyspace) -> String {
    let pairs = everything(keyspace);
    assert_eq!(pairs.len(), SIZE as usize);
    let (_, first) = pairs.first().unwrap();
    assert!(
        pairs.iter().all(|(_, value)| value == first),
        "half a batch"
    );
    let alone = keyspace.get(b"0999").unwrap().unwrap();
    assert_eq!(&String::from_utf8(alone).unwrap(), first);
    first.clone()
}

/// How many keys there are besides records.
async fn leftovers(etcd: &Etcd) -> usize {
    let (staged, staged_end) = etcd.reading.layout.all_staged();
    let range = |key, range_end| {
        etcd.reading.client.range(RangeRequest {
            key,
            range_end,
            ..RangeRequest::default()
        })
    };
    let staged = range(staged, staged_end).await.unwrap();
    let batch = range(etcd.reading.layout.batch(), Vec::new())
        .await
        .unwrap();
    staged.kvs.len() + batch.kvs.len()
}

/// What a leader had done of writing `new` over `old` when it was killed.
async fn crashed_after(
    real: &Real,
    deed: impl AsyncFn(&Writing),
    expected_before: &str,
    expected_after: &str,
) {
    let etcd = real.connect().await;
    let doomed = etcd.campaign("doomed:1", LONG).await.unwrap();
    commit(&doomed.keyspace(), all_are("old")).await.unwrap();
    assert_eq!(leftovers(&etcd).await, 0);
    deed(&doomed.writing).await;
    assert!(leftovers(&etcd).await > 0);
    assert_eq!(value_of_all(&etcd.reader()), expected_before);
    doomed.resign().await.unwrap();
    assert_eq!(value_of_all(&etcd.reader()), expected_before);

    let next = etcd.campaign("next:1", LONG).await.unwrap();
    assert_eq!(value_of_all(&etcd.reader()), expected_after);
    assert_eq!(leftovers(&etcd).await, 0);
    commit(&next.keyspace(), all_are("newest")).await.unwrap();
    assert_eq!(value_of_all(&etcd.reader()), "newest");
    assert_eq!(leftovers(&etcd).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_were_never_committed_are_never_seen_and_tidied_up() {
    let Some(real) = Real::start("parts_that_were_never_committed") else {
        return;
    };
    let only_parts = async |writing: &Writing| {
        let progress = writing.progress.lock().await;
        let encoded = encode(&changes("new"));
        let batch = StagedBatch {
            token: writing.fence.token,
            number: 99,
            parts: 1,
            changes: SIZE as usize,
            sha256: String::new(),
        };
        writing
            .stage(progress.mark(), &batch, &encoded)
            .await
            .unwrap();
    };
    crashed_after(&real, only_parts, "old", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_committed_is_seen_whole_before_it_is_spread() {
    let Some(real) = Real::start("a_batch_that_was_committed_is_seen_whole") else {
        return;
    };
    let committed = async |writing: &Writing| {
        let mut progress = writing.progress.lock().await;
        let new = changes("new");
        writing.commit_parts(&mut progress, &new).await.unwrap();
    };
    crashed_after(&real, committed, "new", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_half_spread_is_seen_whole() {
    let Some(real) = Real::start("a_batch_that_was_half_spread_is_seen_whole") else {
        return;
    };
    let half_spread = async |writing: &Writing| {
        let mut progress = writing.progress.lock().await;
        let new = changes("new");
        writing.commit_parts(&mut progress, &new).await.unwrap();
        for group in groups(new).into_iter().take(4) {
            let operations = writing.operations(group);
            writing
                .guarded(Vec::new(), operations, |_| false)
                .await
                .unwrap();
        }
    };
    crashed_after(&real, half_spread, "new", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_another_batch_are_not_taken_for_it() {
    let Some(real) = Real::start("parts_of_another_batch_are_not_taken_for_it") else {
        return;
    };
    let etcd = real.connect().await;
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let writing = &leadership.writing;
    let mut progress = writing.progress.lock().await;
    let batch = writing
        .commit_parts(&mut progress, &changes("new"))
        .await
        .unwrap();
    // Somebody meddles.
    let part = etcd.reading.layout.part(batch.token, batch.number, 0);
    let meddling = vec![::etcd::txn::put(part, b"else".to_vec())];
    writing
        .guarded(Vec::new(), meddling, |_| false)
        .await
        .unwrap();
    let error = etcd.reader().scan(b"", b"\xff").unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
