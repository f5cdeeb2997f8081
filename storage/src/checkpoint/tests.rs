//! Checkpoints on real, faulty and lossy stores.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::records::{AppendError, WriterId};
use crate::store::faulty::{FaultyStore, StoreFaults};
use crate::store::{
    Chance, DiskFaults, FileWork, LocalStore, LossyDisk, NoWait, OsDisk, RetryPolicy, Store,
};

const SETTINGS: GroupSettings =
    GroupSettings { retain: 2, age_floor: Duration::ZERO, fold_after: 3 };

fn memory() -> Store {
    FaultyStore::new(Arc::new(InMemory::new()), 0, StoreFaults::default()).store(3)
}

fn delta(family: &str, body: impl Into<Bytes>) -> LocalFile {
    let body = FileBody::Bytes(body.into());
    let (first_key, last_key) = (Bytes::from_static(b"a"), Bytes::from_static(b"z"));
    LocalFile { family: family.to_owned(), body, first_key, last_key, entries: 2 }
}

fn parts(epoch: u64) -> ManifestParts {
    let split = SplitPosition {
        operator: 4,
        source: 9,
        split: 1,
        split_name: "part-1".to_owned(),
        offset: epoch * 10,
        rejected: 3,
        watermark: -5,
    };
    let operator = OperatorProgress {
        operator: 7,
        watermarks: vec![i64::MIN, i64::MAX],
        counters: vec![1, 2],
        opaque: Bytes::from_static(b"opaque"),
    };
    ManifestParts {
        epoch,
        parallelism: 2,
        created_at_us: 1_700_000_000_000_000,
        sources: vec![split],
        operators: vec![operator],
        skeleton: Bytes::from_static(b"skeleton"),
        ..ManifestParts::default()
    }
}

async fn take(store: &Store, writer: u128) -> GroupCheckpoints {
    GroupCheckpoints::take_over(store, 1, WriterId(writer), SETTINGS).await.unwrap()
}

/// The contents of all files of a checkpoint, in order.
async fn contents(checkpoints: &GroupCheckpoints, manifest: &Manifest) -> Vec<Bytes> {
    let mut contents = Vec::new();
    for file in manifest.files() {
        contents.push(checkpoints.fetch_bytes(file).await.unwrap());
    }
    contents
}

async fn replace(store: &Store, path: &str, bytes: Bytes) {
    store.delete(path).await.unwrap();
    assert!(store.create(path, bytes).await.unwrap().is_created());
}

#[tokio::test]
async fn what_was_committed_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let local = LocalStore::open(Arc::new(OsDisk), &root, FileWork::Pool).unwrap();
    let store = Store::new(Arc::new(local), Path::default());
    let mut checkpoints = take(&store, 1).await;
    assert_eq!(checkpoints.latest().await.unwrap(), None);

    // Larger than one part.
    let large: Vec<u8> = (0..20_000_000u32).map(|i| (i % 253) as u8).collect();
    let path = directory.path().join("large.sst");
    std::fs::write(&path, &large).unwrap();
    let large_file = LocalFile { body: FileBody::Path(path), ..delta("mv", "") };
    let files = vec![delta("agg", "one"), large_file, delta("agg", "")];
    let committed = checkpoints.commit(files, parts(100)).await.unwrap();
    assert_eq!((committed.checkpoint.checkpoint, committed.record), (1, 2));

    let base = checkpoints.uploader().upload(delta("agg", "base")).await.unwrap();
    let with_base =
        ManifestParts { base: BaseChange::Replace { files: vec![base], through: 1 }, ..parts(200) };
    checkpoints.commit(vec![delta("agg", "two")], with_base).await.unwrap();
    let finished = ManifestParts { finished: true, ..parts(300) };
    checkpoints.commit(vec![delta("agg", "three")], finished).await.unwrap();

    let restored = take(&store, 2).await;
    let latest = restored.latest().await.unwrap().unwrap();
    assert_eq!(GroupCheckpoints::peek(&store, 1).await.unwrap().as_ref(), Some(&latest));
    assert_eq!((latest.checkpoint, latest.parent, latest.epoch), (3, Some(2), 300));
    assert!(latest.finished);
    let expected = parts(300);
    assert_eq!(
        (latest.sources.clone(), latest.operators.clone()),
        (expected.sources, expected.operators)
    );
    assert_eq!((latest.skeleton.clone(), latest.parallelism), (expected.skeleton, 2));
    assert_eq!(contents(&restored, &latest).await, ["base", "two", "three"]);

    let first = restored.history()[0].clone();
    let first = first.read(&store, 1).await.unwrap();
    let to = directory.path().join("fetched.sst");
    restored.fetch(&first.deltas[1], &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), large);
    assert_eq!(first.deltas[1].length, 20_000_000);
    assert_eq!(first.deltas[2].length, 0);
}

#[tokio::test]
async fn damaged_files_are_refused_by_name() {
    let store = memory();
    let mut checkpoints = take(&store, 1).await;
    let first = vec![delta("agg", "0123456789")];
    checkpoints.commit(first, parts(1)).await.unwrap();
    checkpoints.commit(vec![delta("agg", "abcdefghij")], parts(2)).await.unwrap();
    let latest = checkpoints.latest().await.unwrap().unwrap();
    let [older, newer] = &latest.deltas[..] else { panic!("{latest:?}") };
    let good = store.get(&newer.path).await.unwrap().unwrap();
    let other_generation = store.get(&older.path).await.unwrap().unwrap();
    let mut flipped = good.to_vec();
    flipped[3] ^= 0x10;

    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("file.sst");
    for (bytes, message) in [
        (flipped.into(), "its bytes do not match the checksum in the manifest"),
        (other_generation, "its bytes do not match the checksum in the manifest"),
        (good.slice(..9), "it has 9 bytes where 10 were committed"),
        (Bytes::new(), "it has 0 bytes where 10 were committed"),
        (Bytes::from_static(b"abcdefghijk"), "it has more than 10 bytes where 10 were committed"),
    ] {
        replace(&store, &newer.path, bytes).await;
        let refused = checkpoints.fetch(newer, &to).await.unwrap_err().to_string();
        assert_eq!(refused, format!("{}: {message}", newer.path));
        assert!(!to.exists(), "what was refused was left");
        let refused = checkpoints.fetch_bytes(newer).await.unwrap_err().to_string();
        assert_eq!(refused, format!("{}: {message}", newer.path));
    }
    store.delete(&newer.path).await.unwrap();
    let missing = checkpoints.fetch(newer, &to).await.unwrap_err().to_string();
    assert_eq!(missing, format!("{}: the file is missing from the store", newer.path));
    checkpoints.fetch(older, &to).await.unwrap();

    // A manifest that names what is not the group's, or not of that family.
    let elsewhere = FileRef { path: "groups/2/files/x.sst".to_owned(), ..newer.clone() };
    let refused = checkpoints.fetch(&elsewhere, &to).await.unwrap_err().to_string();
    assert_eq!(refused, "groups/2/files/x.sst: it is not a file of group 1");
    let family = FileRef { family: "mv".to_owned(), ..older.clone() };
    let refused = checkpoints.fetch(&family, &to).await.unwrap_err().to_string();
    assert!(refused.ends_with(": it is not of the family mv"), "{refused}");
}

#[tokio::test]
async fn damaged_manifests_are_refused_and_the_one_before_can_be_used() {
    let store = memory();
    let mut checkpoints = take(&store, 1).await;
    checkpoints.commit(vec![delta("agg", "one")], parts(1)).await.unwrap();
    checkpoints.commit(vec![delta("agg", "two")], parts(2)).await.unwrap();
    let path = checkpoints.history()[1].manifest.clone();
    let good = store.get(&path).await.unwrap().unwrap();
    let mut flipped = good.to_vec();
    flipped[20] ^= 1;
    let other = store.get(&checkpoints.history()[0].manifest).await.unwrap().unwrap();
    for bytes in [flipped.into(), good.slice(..good.len() - 1), other, Bytes::new()] {
        replace(&store, &path, bytes).await;
        let refused = checkpoints.latest().await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{path}: ")), "{refused}");
        assert!(GroupCheckpoints::peek(&store, 1).await.is_err());
        let collected = checkpoints.collect_garbage(i64::MAX).await;
        assert!(collected.is_err(), "garbage was collected without knowing what is needed");
    }
    let mut restarted = take(&store, 2).await;
    assert!(restarted.commit(Vec::new(), parts(3)).await.is_err());
    assert!(matches!(
        restarted.resume_from(7).await,
        Err(CheckpointError::NoCheckpoint { checkpoint: 7, .. })
    ));
    let one = restarted.resume_from(1).await.unwrap();
    assert_eq!(contents(&restarted, &one).await, ["one"]);
    restarted.commit(vec![delta("agg", "three")], parts(3)).await.unwrap();
    let latest = restarted.latest().await.unwrap().unwrap();
    assert_eq!(latest.parent, Some(1));
    assert_eq!(contents(&restarted, &latest).await, ["one", "three"]);
}

#[tokio::test]
async fn an_old_owner_commits_nothing_and_epochs_rise() {
    let store = memory();
    let mut old = take(&store, 1).await;
    old.commit(vec![delta("agg", "one")], parts(5)).await.unwrap();
    for epoch in [4, 5] {
        let refused = old.commit(Vec::new(), parts(epoch)).await.unwrap_err();
        assert!(matches!(refused, CheckpointError::EpochOrder { last: 5, .. }), "{refused}");
    }
    let refused = old.commit(vec![delta("a-b", "")], parts(6)).await.unwrap_err();
    assert!(matches!(refused, CheckpointError::Family { .. }), "{refused}");
    let mut new = take(&store, 2).await;
    let fenced = old.commit(vec![delta("agg", "old")], parts(6)).await.unwrap_err();
    assert!(matches!(fenced, CheckpointError::Append(AppendError::Fenced { .. })), "{fenced}");
    new.commit(vec![delta("agg", "new")], parts(6)).await.unwrap();
    let latest = new.latest().await.unwrap().unwrap();
    assert_eq!(contents(&new, &latest).await, ["one", "new"]);
    // The old owner's garbage goes; a collection by the old owner does no harm.
    old.collect_garbage(i64::MAX - 1).await.unwrap();
    new.collect_garbage(i64::MAX - 1).await.unwrap();
    assert_eq!(store.list("groups/1/files").await.unwrap().len(), 2);
    assert_eq!(contents(&new, &latest).await, ["one", "new"]);
}

#[tokio::test]
async fn garbage_goes_and_what_is_retained_stays() {
    let store = memory();
    let mut checkpoints = take(&store, 1).await;
    for epoch in 1..=20 {
        let through = epoch - 1;
        let uploader = checkpoints.uploader();
        let base = uploader.upload(delta("agg", format!("base {through}"))).await;
        let files = vec![base.unwrap()];
        checkpoints.collect_garbage(i64::MAX - 1).await.unwrap();
        let base = match epoch % 4 {
            0 => BaseChange::Replace { files, through },
            _ => {
                checkpoints.uploader().release(&files[0]);
                BaseChange::Keep
            }
        };
        let parts = ManifestParts { base, ..parts(epoch) };
        checkpoints.commit(vec![delta("agg", format!("{epoch}"))], parts).await.unwrap();
    }
    checkpoints.collect_garbage(i64::MAX - 1).await.unwrap();
    let latest = checkpoints.latest().await.unwrap().unwrap();
    assert_eq!(contents(&checkpoints, &latest).await, ["base 19", "20"]);
    assert_eq!(checkpoints.history().len(), 2);
    // 19 has a base and four deltas, 20 a base and one.
    assert_eq!(store.list("groups/1/files").await.unwrap().len(), 5 + 2);
    assert_eq!(store.list("groups/1/manifests").await.unwrap().len(), 2);
    assert!(store.list("groups/1/records").await.unwrap().len() < 10);
    let restarted = take(&store, 2).await;
    assert_eq!(restarted.latest().await.unwrap().unwrap(), latest);
}

/// Takes over, commits and collects until something fails. Returns the epoch that was
/// acknowledged last.
fn run(store: &Store, writer: u128, acknowledged: &mut u64) -> Result<(), CheckpointError> {
    let taken = GroupCheckpoints::take_over(store, 1, WriterId(writer), SETTINGS);
    let mut checkpoints = block_on(taken)?;
    for _ in 0..3 {
        let last = block_on(checkpoints.latest())?.map_or(0, |manifest| manifest.epoch);
        let files = vec![delta("agg", body(last + 1))];
        let committed = block_on(checkpoints.commit(files, parts(last + 1)))?;
        *acknowledged = committed.checkpoint.epoch;
        block_on(checkpoints.collect_garbage(i64::MAX - 1))?;
    }
    Ok(())
}

fn body(epoch: u64) -> Vec<u8> {
    vec![epoch as u8; 700]
}

fn assert_restorable(store: &Store, acknowledged: u64, attempted: u64, what: &str) {
    let restored = block_on(GroupCheckpoints::take_over(store, 1, WriterId(99), SETTINGS));
    let restored = restored.unwrap_or_else(|error| panic!("{what}: {error}"));
    let latest = block_on(restored.latest()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let epoch = latest.as_ref().map_or(0, |manifest| manifest.epoch);
    assert!(
        (acknowledged..=attempted).contains(&epoch),
        "{what}: epoch {epoch}, acknowledged {acknowledged}"
    );
    if let Some(manifest) = latest {
        let found = block_on(contents(&restored, &manifest));
        let expected: Vec<Vec<u8>> = (1..=epoch).map(body).collect();
        assert_eq!(found, expected, "{what}");
    }
}

fn lossy_store(disk: &LossyDisk) -> Result<Store, CheckpointError> {
    let root = FilePath::new("/data/store");
    let local = LocalStore::open(Arc::new(disk.clone()), root, FileWork::Inline)?;
    let policy = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let store = Store::new(Arc::new(local), Path::default());
    Ok(store.with_pace(policy, Arc::new(NoWait), Chance::seeded(1)))
}

#[test]
fn power_failure_at_every_disk_operation() {
    for seed in 0..12 {
        let mut at = 0;
        loop {
            let disk = LossyDisk::new(seed * 1000 + at);
            let mut acknowledged = 0;
            run(&lossy_store(&disk).unwrap(), 1, &mut acknowledged).unwrap();
            assert_eq!(acknowledged, 3);
            disk.set_faults(DiskFaults { crash_at: Some(at), ..DiskFaults::default() });
            let ran = lossy_store(&disk).and_then(|store| run(&store, 2, &mut acknowledged));
            let operations = disk.operations();
            disk.crash();
            let what = format!("seed {seed}, operation {at}");
            assert_restorable(&lossy_store(&disk).unwrap(), acknowledged, acknowledged + 1, &what);
            if operations <= at {
                ran.unwrap();
                break;
            }
            at += 1;
        }
        assert!(at > 60, "only {at} operations");
    }
}

#[test]
fn disk_errors_and_power_failures_over_many_lives() {
    for seed in 0..150 {
        let disk = LossyDisk::new(seed);
        let mut acknowledged = 0;
        for life in 0..4 {
            disk.set_faults(DiskFaults {
                crash_at: Some((seed * 7 + life * 31) % 150),
                fail_before_per_mille: 20,
                apply_then_fail_per_mille: 20,
                no_space_per_mille: 10,
            });
            let _ = lossy_store(&disk)
                .and_then(|store| run(&store, u128::from(life) + 1, &mut acknowledged));
            disk.crash();
            // A commit of unknown outcome may have been the last but one thing done.
            let store = lossy_store(&disk).unwrap();
            let latest = block_on(GroupCheckpoints::peek(&store, 1)).unwrap();
            let epoch = latest.map_or(0, |manifest| manifest.epoch);
            let what = format!("seed {seed}, life {life}");
            assert_restorable(&store, acknowledged, epoch.max(acknowledged), &what);
            acknowledged = epoch;
        }
    }
}

/// Puts that fail, take effect and fail, or land late, and a second owner.
#[test]
fn faults_of_the_store_neither_lose_nor_invent_checkpoints() {
    let (mut committed_total, mut settled_total) = (0, 0);
    for seed in 0..200 {
        let faults = StoreFaults {
            fail_before: 100,
            apply_then_fail: 150,
            land_late: 100,
            ..StoreFaults::default()
        };
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), seed, faults);
        let store = faulty.store(2);
        let mut acknowledged = 0;
        for life in 0..4 {
            let taken = GroupCheckpoints::take_over(&store, 1, WriterId(life), SETTINGS);
            let Ok(mut checkpoints) = block_on(taken) else { continue };
            for _ in 0..4 {
                let Ok(latest) = block_on(checkpoints.latest()) else { continue };
                let epoch = latest.map_or(0, |manifest| manifest.epoch) + 1;
                let files = vec![delta("agg", body(epoch))];
                let committed = match block_on(checkpoints.commit(files, parts(epoch))) {
                    Ok(committed) => Some(committed),
                    Err(CheckpointError::Append(AppendError::Fenced { .. })) => break,
                    Err(_) => {
                        let settled = (0..20).find_map(|_| block_on(checkpoints.settle()).ok());
                        settled_total += usize::from(matches!(settled, Some(Some(_))));
                        settled.flatten()
                    }
                };
                if let Some(committed) = committed {
                    assert_eq!(committed.checkpoint.epoch, epoch, "seed {seed}");
                    acknowledged = epoch;
                    committed_total += 1;
                }
                let _ = block_on(checkpoints.collect_garbage(i64::MAX - 1));
            }
        }
        faulty.set_faults(StoreFaults::default());
        block_on(faulty.land_all());
        // The last life may have left one record that lands after all.
        assert_restorable(&store, acknowledged, acknowledged + 1, &format!("seed {seed}"));
    }
    assert!(committed_total > 1000 && settled_total > 20, "{committed_total} {settled_total}");
}
