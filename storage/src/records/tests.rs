//! Sequences on real and on faulty stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::store::faulty::{FaultyStore, StoreFaults};
use crate::store::{FileWork, LocalStore, OsDisk, Store};

fn memory() -> Store {
    FaultyStore::new(Arc::new(InMemory::new()), 0, StoreFaults::default()).store(3)
}

fn text(record: &Record) -> String {
    String::from_utf8(record.payload.to_vec()).unwrap()
}

async fn take(store: &Store, writer: u128) -> (RecordSequence, Loaded) {
    RecordSequence::take_over(store, "s", WriterId(writer)).await.unwrap()
}

async fn append(sequence: &mut RecordSequence, payload: &'static str) -> u64 {
    sequence.append(Bytes::from_static(payload.as_bytes())).await.unwrap()
}

/// Replaces the object at `path`, which nothing but damage does.
async fn damage(store: &Store, path: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = store.get(path).await.unwrap().unwrap().to_vec();
    change(&mut bytes);
    store.delete(path).await.unwrap();
    assert!(store.create(path, bytes.into()).await.unwrap().is_created());
}

#[tokio::test]
async fn a_new_owner_fences_the_old_one_and_has_its_records() {
    let store = memory();
    let (mut first, loaded) = take(&store, 1).await;
    assert_eq!((loaded, first.term(), first.last()), (Loaded::default(), 1, 1));
    assert_eq!(append(&mut first, "a").await, 2);
    assert_eq!(append(&mut first, "b").await, 3);

    let (mut second, loaded) = take(&store, 2).await;
    assert_eq!(loaded.records.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((second.term(), second.last()), (2, 4));
    let fenced = first.append(Bytes::from_static(b"c")).await.unwrap_err();
    assert_eq!(fenced.to_string(), "another writer has taken over s: its record 4 is not ours");
    let again = first.append(Bytes::from_static(b"c")).await.unwrap_err();
    assert!(matches!(again, AppendError::Fenced { .. }));
    assert_eq!(append(&mut second, "d").await, 5);

    let loaded = RecordSequence::load(&store, "s").await.unwrap();
    let numbers: Vec<_> = loaded.records.iter().map(|r| (r.number, r.term)).collect();
    assert_eq!(numbers, [(2, 1), (3, 1), (5, 2)]);
    let later = RecordSequence::read_from(&store, "s", 3).await.unwrap();
    assert_eq!(later.iter().map(text).collect::<Vec<_>>(), ["b", "d"]);
    assert!(RecordSequence::read_from(&store, "s", 6).await.unwrap().is_empty());
}

#[tokio::test]
async fn snapshots_take_the_place_of_records() {
    let store = memory();
    let (mut owner, _) = take(&store, 1).await;
    append(&mut owner, "a").await;
    let mut stale = take(&store, 2).await.0;
    let mut owner = {
        drop(owner);
        append(&mut stale, "b").await;
        take(&store, 3).await.0
    };
    // Records 1, 3 and 5 are of terms; `stale` would write 5.
    append(&mut owner, "c").await;
    owner.snapshot(Bytes::from_static(b"abc")).await.unwrap();
    append(&mut owner, "d").await;
    owner.snapshot(Bytes::from_static(b"abcd")).await.unwrap();
    append(&mut owner, "e").await;
    let numbers: Vec<_> = store.list("s").await.unwrap().into_iter().map(|o| o.path).collect();
    let expected = [
        "s/records/00000000000000000001",
        "s/records/00000000000000000003",
        "s/records/00000000000000000005",
        "s/records/00000000000000000007",
        "s/records/00000000000000000008",
        "s/snapshot/00000000000000000006",
        "s/snapshot/00000000000000000007",
    ];
    assert_eq!(numbers, expected);

    let loaded = RecordSequence::load(&store, "s").await.unwrap();
    assert_eq!(loaded.snapshot.unwrap().payload, "abcd");
    assert_eq!(loaded.records.iter().map(text).collect::<Vec<_>>(), ["e"]);
    let folded = RecordSequence::read_from(&store, "s", 4).await.unwrap_err();
    assert!(matches!(folded, SequenceError::Folded { snapshot: 7, .. }), "{folded}");
    let fenced = stale.append(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(fenced, AppendError::Fenced { number: 5, .. }), "{fenced}");

    // A later owner does not remove the term records that it never read.
    let (mut next, _) = take(&store, 4).await;
    next.snapshot(Bytes::from_static(b"abcde")).await.unwrap();
    append(&mut next, "f").await;
    next.snapshot(Bytes::from_static(b"abcdef")).await.unwrap();
    let left = store.list("s/records").await.unwrap();
    let left: Vec<_> = left.iter().map(|o| &o.path[o.path.len() - 2..]).collect();
    assert_eq!(left, ["01", "03", "05", "09", "10"]);

    // A damaged snapshot is passed over.
    damage(&store, "s/snapshot/00000000000000000010", |bytes| bytes[40] ^= 1).await;
    let loaded = RecordSequence::load(&store, "s").await.unwrap();
    assert_eq!(loaded.snapshot.unwrap().payload, "abcde");
    assert_eq!(loaded.records.iter().map(text).collect::<Vec<_>>(), ["f"]);
    damage(&store, "s/snapshot/00000000000000000009", |bytes| bytes.truncate(20)).await;
    let refused = RecordSequence::load(&store, "s").await.unwrap_err().to_string();
    assert!(refused.starts_with("s/snapshot/00000000000000000010: "), "{refused}");
}

#[tokio::test]
async fn damage_is_refused_with_the_name_of_the_file() {
    let two = "s/records/00000000000000000002";
    let path = two;
    // A flipped bit, the end missing, nearly everything missing.
    for (message, flip, length) in [
        ("its bytes do not match its checksum", 4, 1000),
        ("its bytes do not match its checksum", 0, 60),
        ("is not a whole record", 0, 10),
    ] {
        let change = |bytes: &mut Vec<u8>| {
            bytes[50] ^= flip;
            bytes.truncate(length);
        };
        let store = memory();
        let (mut owner, _) = take(&store, 1).await;
        append(&mut owner, "some payload").await;
        append(&mut owner, "more").await;
        damage(&store, path, change).await;
        for refused in [
            RecordSequence::load(&store, "s").await.unwrap_err(),
            RecordSequence::take_over(&store, "s", WriterId(2)).await.unwrap_err(),
        ] {
            let refused = refused.to_string();
            assert!(refused.starts_with(path) && refused.contains(message), "{refused}");
        }
        store.delete(path).await.unwrap();
        let gap = RecordSequence::take_over(&store, "s", WriterId(2)).await.unwrap_err();
        assert_eq!(
            gap.to_string(),
            format!("{path}: the record is missing, and later ones are there")
        );
        assert!(RecordSequence::read_from(&store, "s", 1).await.is_err());
    }
    // A record of another sequence in the right place.
    let store = memory();
    let (mut other, _) = RecordSequence::take_over(&store, "t", WriterId(1)).await.unwrap();
    append(&mut other, "x").await;
    take(&store, 1).await;
    let bytes = store.get("t/records/00000000000000000002").await.unwrap().unwrap();
    assert!(store.create(two, bytes).await.unwrap().is_created());
    let refused = RecordSequence::load(&store, "s").await.unwrap_err().to_string();
    assert_eq!(refused, format!("{two}: it belongs to the sequence \"t\""));
}

/// An append whose future is dropped while the store works is as one that timed out.
#[tokio::test]
async fn a_dropped_append_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let local = LocalStore::open(Arc::new(OsDisk), directory.path(), FileWork::Pool).unwrap();
    let store = Store::new(Arc::new(local), Path::default());
    let (mut owner, _) = take(&store, 1).await;
    assert!(owner.append(Bytes::from_static(b"a")).now_or_never().is_none());
    assert!(owner.is_unsettled());
    let refused = owner.append(Bytes::from_static(b"b")).await.unwrap_err();
    assert!(matches!(refused, AppendError::Unsettled { number: 2, .. }), "{refused}");
    assert_eq!(owner.settle().await.unwrap(), 2);
    assert_eq!(append(&mut owner, "b").await, 3);
    let loaded = RecordSequence::load(&store, "s").await.unwrap();
    assert_eq!(loaded.records.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
}

/// Writers that take over from each other, as fast as they can, on a real directory.
#[test]
fn two_writers_race_on_a_directory() {
    const APPENDS: usize = 120;
    let directory = tempfile::tempdir().unwrap();
    let local = LocalStore::open(Arc::new(OsDisk), directory.path(), FileWork::Inline).unwrap();
    let acknowledged: Vec<BTreeMap<u64, String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2u128)
            .map(|writer| {
                let store = Store::new(Arc::new(local.clone()), Path::default());
                scope.spawn(move || block_on(race(&store, writer, APPENDS)))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let store = Store::new(Arc::new(local), Path::default());
    let loaded = block_on(RecordSequence::load(&store, "s")).unwrap();
    let found: BTreeMap<u64, String> = loaded.records.iter().map(|r| (r.number, text(r))).collect();
    let mut total = 0;
    for records in &acknowledged {
        assert_eq!(records.len(), APPENDS);
        for (number, payload) in records {
            assert_eq!(found.get(number), Some(payload), "record {number}");
            total += 1;
        }
    }
    assert_eq!(found.len(), total, "records that nobody was told of");
    let terms: BTreeSet<u64> = loaded.records.iter().map(|r| r.term).collect();
    assert!(terms.len() > 2, "they never took over from each other");
}

async fn race(store: &Store, writer: u128, appends: usize) -> BTreeMap<u64, String> {
    let mut acknowledged = BTreeMap::new();
    let mut incarnation = 0;
    while acknowledged.len() < appends {
        incarnation += 1;
        let id = WriterId(writer << 64 | incarnation);
        let Ok((mut sequence, _)) = RecordSequence::take_over(store, "s", id).await else {
            continue;
        };
        while acknowledged.len() < appends {
            let payload = format!("{writer} {incarnation} {}", acknowledged.len());
            match sequence.append(payload.clone().into()).await {
                Ok(number) => assert!(acknowledged.insert(number, payload).is_none()),
                Err(AppendError::Fenced { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    acknowledged
}

/// Puts that fail before, after, or land later: what was acknowledged is there once,
/// what was refused is not there, nothing is there twice.
#[test]
fn faults_neither_lose_nor_double_records() {
    let (mut acknowledged_total, mut unsettled_total, mut fenced_total) = (0, 0, 0);
    for seed in 0..300 {
        let faults = StoreFaults {
            fail_before: 150,
            apply_then_fail: 150,
            land_late: 100,
            ..StoreFaults::default()
        };
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), seed, faults);
        let store = faulty.store(3);
        let mut writers: Vec<Option<RecordSequence>> = vec![None, None];
        let mut acknowledged = BTreeMap::new();
        let mut payloads: u64 = 0;
        let mut incarnations = 0;
        for step in 0..40 {
            let slot = &mut writers[(seed as usize + step / 3) % 2];
            let Some(sequence) = slot else {
                incarnations += 1;
                let id = WriterId(incarnations);
                *slot = block_on(RecordSequence::take_over(&store, "s", id)).ok().map(|t| t.0);
                continue;
            };
            payloads += 1;
            let payload = Bytes::copy_from_slice(&payloads.to_le_bytes());
            let mut appended = block_on(sequence.append(payload.clone()));
            for _ in 0..20 {
                if !matches!(appended, Err(AppendError::Unsettled { .. })) {
                    break;
                }
                unsettled_total += 1;
                appended = block_on(sequence.settle());
            }
            match appended {
                Ok(number) => drop(acknowledged.insert(number, payload)),
                Err(AppendError::Fenced { .. }) => {
                    fenced_total += 1;
                    *slot = None;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
            if step % 7 == 0
                && let Some(sequence) = slot
            {
                // Not a fold of anything; only its number matters here.
                let _ = block_on(sequence.snapshot(Bytes::new()));
            }
        }
        faulty.set_faults(StoreFaults::default());
        block_on(faulty.land_all());
        let loaded = block_on(RecordSequence::load(&store, "s")).unwrap();
        let mut seen = BTreeSet::new();
        for record in &loaded.records {
            assert!(seen.insert(record.payload.clone()), "seed {seed}: a record is there twice");
            if let Some(payload) = acknowledged.get(&record.number) {
                assert_eq!(&record.payload, payload, "seed {seed}: record {}", record.number);
            }
        }
        let covered = loaded.snapshot.map_or(0, |snapshot| snapshot.number);
        let found: BTreeSet<u64> = loaded.records.iter().map(|r| r.number).collect();
        for number in acknowledged.keys().filter(|number| **number > covered) {
            assert!(found.contains(number), "seed {seed}: record {number} was lost");
        }
        acknowledged_total += acknowledged.len();
    }
    assert!(
        acknowledged_total > 3000 && unsettled_total > 100 && fenced_total > 300,
        "{acknowledged_total} {unsettled_total} {fenced_total}"
    );
}

#[test]
fn epochs_are_never_handed_out_twice() {
    for seed in 0..100 {
        let faults = StoreFaults {
            fail_before: 100,
            apply_then_fail: 100,
            land_late: 100,
            ..StoreFaults::default()
        };
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), seed, faults);
        let store = faulty.store(3);
        let mut seen = BTreeSet::new();
        // The incarnation before goes on using what it reserved.
        let mut before: Option<EpochBlocks> = None;
        for incarnation in 0..12 {
            let id = WriterId(incarnation);
            let taken = block_on(EpochBlocks::take_over(&store, "epochs", id, 3));
            let Ok(mut epochs) = taken else { continue };
            let mut last = seen.last().copied().unwrap_or_default();
            for _ in 0..25 {
                if let Ok(epoch) = block_on(epochs.next()) {
                    assert!(seen.insert(epoch), "seed {seed}: {epoch} again");
                    assert!(epoch > last && epoch.0 > 0, "seed {seed}: {epoch} after {last}");
                    last = epoch;
                }
            }
            if let Some(mut before) = before.take() {
                // A block of unknown outcome may turn out to be its own, no other.
                for blocks in 0..3 {
                    while let Some(epoch) = before.take() {
                        assert!(
                            seen.insert(epoch),
                            "seed {seed}: {epoch} again, by the one before"
                        );
                    }
                    if block_on(before.reserve()).is_err() {
                        break;
                    }
                    assert!(blocks < 1, "seed {seed}: not fenced");
                }
            }
            before = Some(epochs);
        }
        assert!(seen.len() > 100, "seed {seed}: only {}", seen.len());
    }
}

#[tokio::test]
async fn block_records_are_folded() {
    let store = memory();
    let mut last = 0;
    for incarnation in 0..3 {
        let id = WriterId(incarnation);
        let mut epochs = EpochBlocks::take_over(&store, "epochs", id, 1).await.unwrap();
        for _ in 0..200 {
            let epoch = epochs.next().await.unwrap().0;
            assert!(epoch > last);
            last = epoch;
        }
        assert_eq!(epochs.reserved(), 0);
    }
    let objects = store.list("epochs").await.unwrap().len();
    assert!(objects < 150, "{objects} objects for 600 records");
}
