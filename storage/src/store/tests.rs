//! The store's promises: whole objects, one creator, nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

use super::faulty::{FaultyStore, StoreFaults};
use super::*;

fn local_in(directory: &FilePath) -> LocalStore {
    LocalStore::open(Arc::new(OsDisk), directory, FileWork::Pool).unwrap()
}

fn on_lossy(disk: &LossyDisk) -> Result<LocalStore, StoreError> {
    LocalStore::open(Arc::new(disk.clone()), FilePath::new("/data/store"), FileWork::Inline)
}

fn store_of(objects: impl ObjectStore) -> Store {
    let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
    Store::new(Arc::new(objects), Path::default()).with_pace(
        policy,
        Arc::new(NoWait),
        Chance::seeded(1),
    )
}

#[tokio::test]
async fn objects_are_read_listed_copied_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let local = local_in(directory.path());
    let path = |text: &str| Path::parse(text).unwrap();
    let read = async |text: &str| local.get(&path(text)).await?.bytes().await;

    for name in ["a/1", "a/2", "a/b/3", "c"] {
        local.put(&path(name), name.into()).await.unwrap();
    }
    local.put(&path("c"), "replaced".into()).await.unwrap();
    assert_eq!(read("c").await.unwrap(), "replaced");
    let head = local.head(&path("a/b/3")).await.unwrap();
    assert_eq!((head.size, head.location), (5, path("a/b/3")));

    let names = async |prefix: Option<&str>| {
        let prefix = prefix.map(path);
        let listed: Vec<_> = local.list(prefix.as_ref()).try_collect().await.unwrap();
        listed.into_iter().map(|m| m.location.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None).await, ["c", "a/1", "a/2", "a/b/3"]);
    assert_eq!(names(Some("a")).await, ["a/1", "a/2", "a/b/3"]);
    assert_eq!(names(Some("a/1")).await, [""; 0]);
    assert_eq!(names(Some("missing")).await, [""; 0]);
    let children = local.list_with_delimiter(Some(&path("a"))).await.unwrap();
    assert_eq!(children.common_prefixes, [path("a/b")]);
    assert_eq!(children.objects.len(), 2);

    local.copy_if_not_exists(&path("a/1"), &path("x/y/1")).await.unwrap();
    assert_eq!(read("x/y/1").await.unwrap(), "a/1");
    let again = local.copy_if_not_exists(&path("a/2"), &path("x/y/1")).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    local.copy(&path("a/2"), &path("x/y/1")).await.unwrap();
    local.copy(&path("a/2"), &path("a/2")).await.unwrap();
    assert_eq!(read("x/y/1").await.unwrap(), "a/2");
    local.rename(&path("a/2"), &path("r")).await.unwrap();
    assert!(local.rename_if_not_exists(&path("a/1"), &path("r")).await.is_err());
    assert_eq!(read("r").await.unwrap(), "a/2");
    local.rename_if_not_exists(&path("r"), &path("s")).await.unwrap();
    local.delete(&path("s")).await.unwrap();
    for gone in ["a/2", "r", "s", "a", "nothing/at/all"] {
        let missing = read(gone).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{gone}: {missing:?}");
    }
    assert!(matches!(local.delete(&path("s")).await, Err(Error::NotFound { .. })));
    let left = std::fs::read_dir(directory.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files were left");
}

#[tokio::test]
async fn what_a_directory_cannot_do_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let local = local_in(directory.path());
    let update = PutMode::Update(UpdateVersion { e_tag: None, version: None });
    let answer = local.put_opts(&Path::from("a"), "x".into(), update.into()).await;
    assert!(matches!(answer, Err(Error::NotImplemented { .. })), "{answer:?}");
    for reserved in ["", "tmp", "tmp/x"] {
        let answer = local.put(&Path::parse(reserved).unwrap(), "x".into()).await;
        assert!(matches!(answer, Err(Error::NotSupported { .. })), "{answer:?}");
    }
    local.put(&Path::from("file"), "x".into()).await.unwrap();
    assert!(local.put(&Path::from("file/below"), "x".into()).await.is_err());
    assert!(local.put(&Path::from("a/b"), "x".into()).await.is_ok());
    assert!(local.put(&Path::from("a"), "x".into()).await.is_err());
}

#[tokio::test]
async fn ranges_conditions_and_large_objects() {
    let directory = tempfile::tempdir().unwrap();
    let local = local_in(directory.path());
    let bytes: Vec<u8> = (0..2_500_000u32).map(|i| (i % 251) as u8).collect();
    let path = Path::from("large");

    let mut upload = local.put_multipart(&path).await.unwrap();
    let parts: Vec<_> =
        bytes.chunks(1_000_000).map(|part| upload.put_part(part.to_vec().into())).collect();
    // Parts may land in any order.
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    assert!(local.head(&path).await.is_err(), "visible before it is complete");
    upload.complete().await.unwrap();
    assert!(upload.complete().await.is_err());
    assert_eq!(local.get(&path).await.unwrap().bytes().await.unwrap(), bytes);

    let wanted: [Range<u64>; 3] = [0..10, 1_048_570..1_048_590, 2_499_999..2_500_000];
    for (piece, range) in local.get_ranges(&path, &wanted).await.unwrap().iter().zip(wanted) {
        assert_eq!(piece, &bytes[range.start as usize..range.end as usize]);
    }
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(7)));
    let suffix = local.get_opts(&path, suffix).await.unwrap().bytes().await.unwrap();
    assert_eq!(suffix, &bytes[bytes.len() - 7..]);
    assert!(local.get_range(&path, 2_500_000..2_500_001).await.is_err());

    let tag = local.head(&path).await.unwrap().e_tag;
    local.get_opts(&path, GetOptions::new().with_if_match(tag)).await.unwrap();
    let other = GetOptions::new().with_if_match(Some("other"));
    assert!(matches!(local.get_opts(&path, other).await, Err(Error::Precondition { .. })));

    let mut dropped = local.put_multipart(&Path::from("dropped")).await.unwrap();
    dropped.put_part("x".into()).await.unwrap();
    drop(dropped);
    let mut aborted = local.put_multipart(&Path::from("aborted")).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}

/// Threads create the same names, each with its own bytes, while others read them.
#[test]
fn of_many_threads_one_creates_and_no_reader_sees_a_part() {
    const THREADS: usize = 8;
    const NAMES: usize = 40;
    const LENGTH: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let local = local_in(directory.path());
    let body = |writer: usize| Bytes::from(vec![writer as u8; LENGTH]);
    let wins: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let local = local.clone();
                scope.spawn(move || {
                    let mut wins = Vec::new();
                    for name in 0..NAMES {
                        let path = Path::from(format!("d{}/{name}", name % 3));
                        let create = PutOptions::from(PutMode::Create);
                        let put = block_on(local.put_opts(&path, body(writer).into(), create));
                        assert!(matches!(put, Ok(_) | Err(Error::AlreadyExists { .. })));
                        wins.push(put.is_ok());
                        let found = block_on(async { local.get(&path).await?.bytes().await });
                        let found = found.unwrap();
                        assert_eq!(found.len(), LENGTH, "a part was read");
                        assert!(found.iter().all(|byte| *byte == found[0]), "mixed bytes");
                        assert_eq!(put.is_ok(), usize::from(found[0]) == writer);
                    }
                    wins
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for name in 0..NAMES {
        assert_eq!(wins.iter().filter(|w| w[name]).count(), 1, "creators of {name}");
    }
}

#[test]
fn opening_removes_what_was_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/er");
    drop(local_in(&root));
    std::fs::write(root.join("tmp/left-over"), "half").unwrap();
    drop(local_in(&root));
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

/// Creates and replaces objects; returns what was acknowledged.
fn work_until_failure(local: &LocalStore) -> BTreeMap<String, Bytes> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..6u8 {
        let name = format!("d{}/{}", number % 2, number / 2);
        let bytes = Bytes::from(vec![number + 1; 1500]);
        let options = PutOptions::from(PutMode::Create);
        let path = Path::from(name.as_str());
        let put = local.put_opts(&path, bytes.clone().into(), options);
        if block_on(put).is_ok() {
            acknowledged.insert(name, bytes);
        }
    }
    acknowledged
}

fn assert_whole(seed: u64, at: u64, local: LocalStore, acknowledged: &BTreeMap<String, Bytes>) {
    let store = store_of(local);
    for (name, bytes) in acknowledged {
        let found = block_on(store.get(name)).unwrap();
        assert_eq!(found.as_ref(), Some(bytes), "seed {seed}, operation {at}: {name} was lost");
    }
    for object in block_on(store.list("")).unwrap() {
        let found = block_on(store.get(&object.path)).unwrap().unwrap();
        assert_eq!(found.len(), 1500, "seed {seed}, operation {at}: {} is torn", object.path);
        assert!(found.iter().all(|b| *b == found[0]), "seed {seed}, operation {at}: torn");
    }
}

#[test]
fn power_failure_at_every_operation_loses_nothing_acknowledged() {
    for seed in 0..40 {
        let mut at = 0;
        loop {
            let disk = LossyDisk::new(seed);
            disk.set_faults(DiskFaults { crash_at: Some(at), ..DiskFaults::default() });
            let opened = on_lossy(&disk);
            let acknowledged = opened.map(|local| work_until_failure(&local)).unwrap_or_default();
            if disk.operations() <= at {
                assert_eq!(acknowledged.len(), 6);
                break;
            }
            disk.crash();
            let local = on_lossy(&disk).unwrap();
            assert_whole(seed, at, local, &acknowledged);
            // What is found after the failure survives the next one.
            let found = block_on(store_of(on_lossy(&disk).unwrap()).list("")).unwrap();
            disk.crash();
            let again = block_on(store_of(on_lossy(&disk).unwrap()).list("")).unwrap();
            assert_eq!(found, again, "seed {seed}, operation {at}");
            at += 1;
        }
        assert!(at > 30, "only {at} operations");
    }
}

#[test]
fn disk_errors_and_power_failures_together() {
    let mut failures = 0;
    for seed in 0..400 {
        let disk = LossyDisk::new(seed);
        let local = on_lossy(&disk).unwrap();
        disk.set_faults(DiskFaults {
            crash_at: Some(seed % 60),
            fail_before_per_mille: 60,
            apply_then_fail_per_mille: 60,
            no_space_per_mille: 30,
        });
        let store = store_of(local);
        let mut acknowledged = BTreeMap::new();
        for number in 0..6u8 {
            let name = format!("d{}/{}", number % 2, number / 2);
            let bytes = Bytes::from(vec![number + 1; 1500]);
            match block_on(store.create(&name, bytes.clone())) {
                Ok(Create::Created) => drop(acknowledged.insert(name, bytes)),
                Ok(Create::AlreadyExists) => panic!("seed {seed}: nobody else creates {name}"),
                Err(StoreError::Unknown { .. }) => failures += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        disk.crash();
        assert_whole(seed, disk.operations(), on_lossy(&disk).unwrap(), &acknowledged);
    }
    assert!(failures > 100, "only {failures} failures");
}

/// Two writers, unknown outcomes, puts that land late: the truth is what is there.
#[test]
fn creations_with_unknown_outcomes_do_not_lie() {
    let (mut created, mut refused, mut unknown) = (0, 0, 0);
    for seed in 0..500 {
        let faults = StoreFaults {
            fail_before: 200,
            apply_then_fail: 200,
            land_late: 200,
            ..StoreFaults::default()
        };
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), seed, faults);
        let store = faulty.store(4);
        let outcomes = ["one", "two"].map(|writer| {
            let bytes = Bytes::from_static(writer.as_bytes());
            (writer, block_on(store.create("x", bytes)))
        });
        faulty.set_faults(StoreFaults::default());
        block_on(faulty.land_all());
        let found = block_on(store.get("x")).unwrap();
        for (writer, outcome) in outcomes {
            let ours = found.as_ref().is_some_and(|bytes| bytes == writer.as_bytes());
            match outcome {
                Ok(Create::Created) => {
                    created += 1;
                    assert!(ours, "seed {seed}: {writer} created it, {found:?} is there");
                }
                Ok(Create::AlreadyExists) => {
                    refused += 1;
                    assert!(!ours && found.is_some(), "seed {seed}: {writer} was refused its own");
                }
                Err(_) => unknown += 1,
            }
        }
    }
    assert!(created > 300 && refused > 100 && unknown > 10, "{created} {refused} {unknown}");
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    let faults = StoreFaults { ignore_condition: 1000, ..StoreFaults::default() };
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), 1, faults);
    let refused = probe(&faulty.store(3)).await.unwrap_err();
    assert!(refused.to_string().contains("creates an object that exists already"), "{refused}");
    faulty.set_faults(StoreFaults::default());
    probe(&faulty.store(3)).await.unwrap();
    assert!(faulty.store(3).list("").await.unwrap().is_empty(), "the probe left something");
    let flaky = StoreFaults { fail_before: 200, apply_then_fail: 200, ..StoreFaults::default() };
    for seed in 0..50 {
        let flaky = FaultyStore::new(Arc::new(InMemory::new()), seed, flaky);
        probe(&flaky.store(20)).await.unwrap();
    }
}

#[tokio::test]
async fn addresses() {
    let data = tempfile::tempdir().unwrap();
    let default = Store::open(None, data.path()).await.unwrap();
    assert!(default.create("a/b", Bytes::from_static(b"x")).await.unwrap().is_created());
    assert!(data.path().join("store/a/b").is_file());

    let elsewhere = data.path().join("else where");
    let url = format!("file://{}", elsewhere.display());
    Store::open(Some(&url), data.path()).await.unwrap();
    assert!(elsewhere.join("tmp").is_dir());

    for (url, message) in [
        (
            "s3://bucket/x",
            "s3://bucket/x: stores of kind \"s3\" are not supported; use file:///path",
        ),
        ("file://x", "file://x: file:// is followed by an absolute path: file:///path"),
        ("/x", "/x: a store's address is like file:///path"),
    ] {
        let refused = Store::open(Some(url), data.path()).await.unwrap_err();
        assert_eq!(refused.to_string(), message);
    }
}
