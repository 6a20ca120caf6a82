//! What every keyspace must do, on each that there is: a file, and a real etcd.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::*;
use crate::machine::History;
use crate::store::etcd::tests::{LONG, Real};

/// Somewhere that a keyspace can be opened, and opened again.
trait Place {
    /// `None`, said loudly, where this machine cannot have one.
    fn prepare(test: &str) -> Option<Self>
    where
        Self: Sized;

    /// Opens it to write; the one before must be dropped first.
    fn open(&self) -> Opened;
}

struct Opened {
    keyspace: Arc<dyn Keyspace>,
    _leadership: Option<Leadership>,
}

impl Opened {
    fn run(&self) -> RunStore {
        RunStore::new(self.keyspace.clone())
    }

    fn commit(&self, changes: &[(&[u8], Option<&[u8]>)]) {
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key.to_vec(), value.to_vec()),
                None => batch.delete(key.to_vec()),
            }
        }
        self.keyspace.commit(batch).unwrap();
    }

    fn keys(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let pairs = self.keyspace.scan(from, to).unwrap();
        pairs.into_iter().map(|(key, _)| key).collect()
    }
}

struct OnDisk(tempfile::TempDir);

impl Place for OnDisk {
    fn prepare(_test: &str) -> Option<OnDisk> {
        Some(OnDisk(tempfile::tempdir().unwrap()))
    }

    fn open(&self) -> Opened {
        let path = self.0.path().join("ledger.redb");
        Opened {
            keyspace: Arc::new(Embedded::open(&path).unwrap()),
            _leadership: None,
        }
    }
}

struct InEtcd {
    real: Real,
    runtime: Runtime,
}

impl Place for InEtcd {
    fn prepare(test: &str) -> Option<InEtcd> {
        Some(InEtcd {
            real: Real::start(test)?,
            runtime: Runtime::new().unwrap(),
        })
    }

    fn open(&self) -> Opened {
        let leadership = self.runtime.block_on(async {
            let etcd = self.real.connect().await;
            etcd.campaign("test:1", LONG).await.unwrap()
        });
        Opened {
            keyspace: Arc::new(leadership.keyspace()),
            _leadership: Some(leadership),
        }
    }
}

macro_rules! on_every_keyspace {
    ($($name:ident)*) => {
        mod on_disk {
            $(#[test]
            fn $name() {
                super::check::<super::OnDisk>(stringify!($name), super::$name);
            })*
        }
        mod in_etcd {
            $(#[test]
            fn $name() {
                super::check::<super::InEtcd>(stringify!($name), super::$name);
            })*
        }
    };
}

on_every_keyspace! {
    what_is_committed_is_read_and_what_is_deleted_is_not
    a_scan_has_its_lower_bound_and_not_its_upper
    keys_are_any_bytes_and_sort_as_bytes
    of_several_changes_of_a_key_the_last_counts
    a_batch_of_thousands_is_one_batch
    a_scan_of_thousands_is_whole
    values_of_half_a_megabyte_come_back
    readers_see_all_of_a_batch_or_nothing
    it_behaves_like_a_sorted_map
    it_is_the_same_after_opening_it_again
    every_record_of_a_run_comes_back
    steps_follow_the_surviving_lineage
    a_forgotten_checkpoint_is_gone
    an_empty_store_has_no_run_and_no_history
    a_run_is_created_with_its_first_checkpoint
}

fn check<P: Place>(test: &str, body: fn(&dyn Place)) {
    if let Some(place) = P::prepare(test) {
        body(&place);
    }
}

fn what_is_committed_is_read_and_what_is_deleted_is_not(place: &dyn Place) {
    let store = place.open();
    let get = |key: &[u8]| store.keyspace.get(key).unwrap();
    assert_eq!(get(b"a"), None);
    store.commit(&[(b"a", Some(b"1")), (b"b", Some(b""))]);
    assert_eq!(get(b"a").as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(b"b").as_deref(), Some(b"".as_slice()));
    store.commit(&[(b"a", None), (b"b", Some(b"2")), (b"never", None)]);
    assert_eq!(get(b"a"), None);
    assert_eq!(get(b"b").as_deref(), Some(b"2".as_slice()));
    store.commit(&[]);
    assert_eq!(store.keys(b"", b"\xff"), [b"b"]);
}

fn a_scan_has_its_lower_bound_and_not_its_upper(place: &dyn Place) {
    let store = place.open();
    store.commit(&[b"a", b"b", b"c"].map(|key| (key.as_slice(), Some(key.as_slice()))));
    assert_eq!(store.keys(b"a", b"c"), [b"a", b"b"]);
    assert_eq!(store.keys(b"a\0", b"b\0"), [b"b"]);
    assert_eq!(store.keys(b"b", b"b").len(), 0);
    assert_eq!(store.keys(b"c", b"a").len(), 0);
}

fn keys_are_any_bytes_and_sort_as_bytes(place: &dyn Place) {
    let store = place.open();
    let numbers = [0, 1, 255, 256, 65_535, u64::MAX];
    for number in numbers.iter().rev() {
        store.commit(&[(&number.to_be_bytes(), Some(b"x"))]);
    }
    // The last of them is not before an upper bound of eight bytes.
    let keys = store.keys(&0_u64.to_be_bytes(), b"\xff\xff\xff\xff\xff\xff\xff\xff\0");
    assert_eq!(keys, numbers.map(|number| number.to_be_bytes()));
}

fn of_several_changes_of_a_key_the_last_counts(place: &dyn Place) {
    let store = place.open();
    store.commit(&[
        (b"a", Some(b"1")),
        (b"a", Some(b"2")),
        (b"b", Some(b"3")),
        (b"b", None),
    ]);
    assert_eq!(
        store.keyspace.get(b"a").unwrap().as_deref(),
        Some(b"2".as_slice())
    );
    assert_eq!(store.keyspace.get(b"b").unwrap(), None);
}

fn numbered(numbers: impl IntoIterator<Item = u32>, value: &[u8]) -> Batch {
    let mut batch = Batch::default();
    for number in numbers {
        batch.put(number.to_be_bytes().to_vec(), value.to_vec());
    }
    batch
}

fn a_batch_of_thousands_is_one_batch(place: &dyn Place) {
    let store = place.open();
    store.keyspace.commit(numbered(0..5000, b"first")).unwrap();
    let mut second = numbered(0..1000, b"second");
    for number in 1000..4000_u32 {
        second.delete(number.to_be_bytes().to_vec());
    }
    store.keyspace.commit(second).unwrap();
    let pairs = store.keyspace.scan(b"", b"\xff").unwrap();
    let values: BTreeMap<&[u8], usize> =
        pairs
            .iter()
            .fold(BTreeMap::new(), |mut counts, (_, value)| {
                *counts.entry(value.as_slice()).or_default() += 1;
                counts
            });
    let expected = [(b"first".as_slice(), 1000), (b"second", 1000)];
    assert_eq!(values, BTreeMap::from(expected));
}

fn a_scan_of_thousands_is_whole(place: &dyn Place) {
    let store = place.open();
    store.keyspace.commit(numbered(0..3500, b"x")).unwrap();
    let keys = store.keys(&7_u32.to_be_bytes(), &3207_u32.to_be_bytes());
    let expected: Vec<_> = (7..3207_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(keys, expected);
}

fn values_of_half_a_megabyte_come_back(place: &dyn Place) {
    let store = place.open();
    let value = |byte: u8| vec![byte; 512 << 10];
    let mut batch = Batch::default();
    for byte in 0..7 {
        batch.put(vec![byte], value(byte));
    }
    store.keyspace.commit(batch).unwrap();
    let pairs = store.keyspace.scan(b"\0", b"\x07").unwrap();
    let expected: Vec<Pair> = (0..7).map(|byte| (vec![byte], value(byte))).collect();
    assert!(pairs == expected, "they differ");
}

fn readers_see_all_of_a_batch_or_nothing(place: &dyn Place) {
    const BATCHES: u32 = 12;
    // One that fits into a transaction of any store, and one that does not.
    for (prefix, size) in [(b"few/", 5_u32), (b"all/", 700)] {
        let store = place.open();
        let set_all = |value: u32| {
            let mut batch = Batch::default();
            for number in 0..size {
                let key = [prefix.as_slice(), &number.to_be_bytes()].concat();
                batch.put(key, value.to_be_bytes().to_vec());
            }
            store.keyspace.commit(batch).unwrap();
        };
        set_all(0);
        let done = AtomicBool::new(false);
        let end = [prefix.as_slice(), b"\xff\xff\xff\xff"].concat();
        let read = || {
            let mut seen = 0;
            loop {
                let was_last = done.load(Ordering::Acquire);
                let pairs = store.keyspace.scan(prefix, &end).unwrap();
                assert_eq!(pairs.len(), size as usize);
                let (_, first) = &pairs[0];
                assert!(
                    pairs.iter().all(|(_, value)| value == first),
                    "half a batch"
                );
                let value = u32::from_be_bytes(first.as_slice().try_into().unwrap());
                assert!(value >= seen, "{value} after {seen}");
                seen = value;
                if was_last {
                    return seen;
                }
            }
        };
        thread::scope(|scope| {
            let readers = [scope.spawn(read), scope.spawn(read)];
            (1..=BATCHES).for_each(set_all);
            done.store(true, Ordering::Release);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), BATCHES);
            }
        });
    }
}

fn it_behaves_like_a_sorted_map(place: &dyn Place) {
    let store = place.open();
    let change = (0..40_u8, prop::option::of(any::<u8>()));
    let small = prop::collection::vec(change, 0..6);
    // So many changes of the same keys that etcd must merge them.
    let wide = (0..400_u16).prop_map(|first| {
        (0..150_u16)
            .map(|n| ((n % 40) as u8, Some((first + n) as u8)))
            .collect()
    });
    let batches = prop::collection::vec(prop_oneof![4 => small, 1 => wide], 1..6);
    let bounds = (0..45_u8, 0..45_u8);
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: 24,
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    // The keyspace goes on from case to case, and the map with it.
    let model = std::cell::RefCell::new(BTreeMap::<Vec<u8>, Vec<u8>>::new());
    let checked = runner.run(&(batches, bounds), |(batches, (from, to))| {
        let mut model = model.borrow_mut();
        for changes in batches {
            let mut batch = Batch::default();
            for (key, value) in changes {
                let key = vec![key];
                match value {
                    Some(value) => {
                        batch.put(key.clone(), vec![value]);
                        model.insert(key, vec![value]);
                    }
                    None => {
                        batch.delete(key.clone());
                        model.remove(&key);
                    }
                }
            }
            store.keyspace.commit(batch).unwrap();
        }
        let pairs = store.keyspace.scan(&[from], &[to]).unwrap();
        let expected: Vec<Pair> = match from < to {
            true => model
                .range(vec![from]..vec![to])
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            false => Vec::new(),
        };
        prop_assert_eq!(pairs, expected);
        prop_assert_eq!(
            store.keyspace.get(&[from]).unwrap(),
            model.get(&vec![from]).cloned()
        );
        Ok(())
    });
    checked.unwrap();
}

fn it_is_the_same_after_opening_it_again(place: &dyn Place) {
    let first = place.open();
    first.commit(&[(b"a", Some(b"1"))]);
    first.keyspace.commit(numbered(0..300, b"x")).unwrap();
    let before = first.keyspace.scan(b"", b"\xff").unwrap();
    drop(first);
    let second = place.open();
    assert_eq!(second.keyspace.scan(b"", b"\xff").unwrap(), before);
    second.commit(&[(b"a", Some(b"2"))]);
    assert_eq!(
        second.keyspace.get(b"a").unwrap().as_deref(),
        Some(b"2".as_slice())
    );
}

fn every_record_of_a_run_comes_back(place: &dyn Place) {
    let row = |page| PageRow::Packed {
        page: PageId(page),
        sequences: 3,
        digest: PageDigest([page as u8; 32]),
        dropped_tokens: 9,
    };
    let skipped = PageRow::Skipped {
        page: PageId(2),
        reason: "too big".to_owned(),
    };
    let evaluation = checkpoint().evaluation.unwrap();
    let records = [
        Record::Term(3),
        generation(1, 0),
        Record::Row(Slot::Training(Ordinal(300)), row(1)),
        Record::Row(Slot::Training(Ordinal(2)), skipped.clone()),
        Record::Row(Slot::Evaluation(0), row(3)),
        Record::Step(step(1, 0)),
        Record::Step(step(1, 1)),
        Record::Evaluation(1, evaluation),
        Record::Checkpoint(checkpoint()),
        Record::Complete(Cursor::start()),
    ];
    place.open().run().commit(&records).unwrap();

    let opened = place.open();
    let store = opened.run();
    let history = store.history().unwrap();
    assert_eq!(history.term, 3);
    assert_eq!(history.generations.len(), 1);
    assert_eq!(history.steps, [step(1, 0), step(1, 1)]);
    assert_eq!(history.evaluations, [(1, evaluation)]);
    assert_eq!(history.checkpoints, [checkpoint()]);
    assert_eq!(history.complete, Some(Cursor::start()));
    assert_eq!(
        store.row(Slot::Training(Ordinal(2))).unwrap(),
        Some(skipped)
    );
    assert_eq!(store.row(Slot::Training(Ordinal(3))).unwrap(), None);
    let rows = store.rows().unwrap();
    let slots: Vec<Slot> = rows.into_iter().map(|(slot, _)| slot).collect();
    let expected = [
        Slot::Evaluation(0),
        Slot::Training(Ordinal(2)),
        Slot::Training(Ordinal(300)),
    ];
    assert_eq!(slots, expected);
}

fn steps_follow_the_surviving_lineage(place: &dyn Place) {
    let opened = place.open();
    let store = opened.run();
    let steps = [(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)];
    let mut records = vec![generation(1, 0), generation(2, 1)];
    records.extend(steps.map(|(generation, number)| Record::Step(step(generation, number))));
    store.commit(&records).unwrap();
    let surviving = store.lineage_steps(0, u64::MAX).unwrap();
    assert_eq!(surviving, [step(1, 0), step(2, 1), step(2, 2), step(2, 3)]);
    assert_eq!(store.lineage_steps(1, 3).unwrap(), [step(2, 1), step(2, 2)]);
    assert_eq!(store.all_steps().unwrap().len(), steps.len());
    assert_eq!(store.history().unwrap().reported().step, 4);
}

fn a_forgotten_checkpoint_is_gone(place: &dyn Place) {
    let opened = place.open();
    let store = opened.run();
    store.commit(&[Record::Checkpoint(checkpoint())]).unwrap();
    store.forget_checkpoint(&checkpoint().id).unwrap();
    assert_eq!(store.checkpoints().unwrap(), []);
}

fn an_empty_store_has_no_run_and_no_history(place: &dyn Place) {
    let opened = place.open();
    assert_eq!(opened.run().run().unwrap(), None);
    assert_eq!(opened.run().history().unwrap(), History::default());
}

fn a_run_is_created_with_its_first_checkpoint(place: &dyn Place) {
    let record = run_record();
    let opened = place.open();
    opened
        .run()
        .create_run(&record, Some(&checkpoint()))
        .unwrap();
    drop(opened);
    let store = place.open().run();
    // The store's thread lives as long as somebody reads.
    assert_eq!(store.run().unwrap(), Some(record));
    assert_eq!(store.checkpoints().unwrap(), [checkpoint()]);
}
