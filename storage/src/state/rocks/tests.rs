//! The database against the twin and the model, over random histories.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::tests::{Twin, changes, compare, delta, everything, range, scan, write_files};
use super::super::*;
use super::*;

fn create(directory: &Path) -> RocksBackend {
    let config = RocksConfig { cache_bytes: 1 << 20, background_jobs: 1 };
    RocksBackend::create(directory, config).unwrap()
}

/// Deltas, drops, compactions and restarts, in any order.
#[test]
fn the_database_equals_its_model() {
    for seed in 0..16 {
        let mut rng = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let (state, files) = (directory.path().join("state"), directory.path().join("files"));
        std::fs::create_dir(&files).unwrap();
        let (mut backend, model) = (create(&state), ModelBackend::new());
        let mut twin = Twin::default();
        let mut committed = Vec::new();
        for step in 0..rng.random_range(1..25) {
            match rng.random_range(0..12) {
                0 => {
                    // Only what is in files outlives the process.
                    drop(backend);
                    backend = create(&state);
                    assert!(
                        Family::ALL.iter().all(|f| scan(&backend, *f, &everything()).is_empty())
                    );
                    backend.ingest(&committed).unwrap();
                }
                1 => {
                    for family in Family::ALL {
                        let handle = backend.family(family).unwrap();
                        backend.db.compact_range_cf(handle, None::<&[u8]>, None::<&[u8]>);
                    }
                }
                2 => {
                    // A drop at once, and in a delta for the next start.
                    let (family, range) = (Family::ALL[rng.random_range(0..3)], range(&mut rng));
                    backend.drop_range(family, &range).unwrap();
                    model.drop_range(family, &range).unwrap();
                    let changes = [super::super::tests::Change::DeleteRange(family, range)];
                    twin.apply(&changes);
                    let runs = delta(&changes).into_runs();
                    committed.extend(write_files(&backend, &files, &step.to_string(), &runs));
                }
                _ => {
                    let changes = changes(&mut rng, 40);
                    twin.apply(&changes);
                    let runs = delta(&changes).into_runs();
                    let new = write_files(&backend, &files, &step.to_string(), &runs);
                    let digest = |file: &IngestFile| file::digest(&file.path).unwrap();
                    let written: Vec<_> = new.iter().map(digest).collect();
                    backend.ingest(&new).unwrap();
                    runs.iter().for_each(|(family, run)| model.apply(family, run));
                    if rng.random_bool(0.2) {
                        backend.ingest(&new).unwrap();
                    }
                    // The files stay the caller's: they are what a checkpoint has.
                    assert_eq!(new.iter().map(digest).collect::<Vec<_>>(), written);
                    committed.extend(new);
                }
            }
            compare(&backend, &twin, &mut rng);
            compare(&model, &twin, &mut rng);
            assert_eq!(std::fs::read_dir(&backend.incoming).unwrap().count(), 0);
        }
    }
}

/// More keys than are looked up at once, in files with filters that matter.
#[test]
fn many_keys_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let backend = create(&directory.path().join("state"));
    let mut delta = Delta::new();
    let keys: Vec<Vec<u8>> = (0..20_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    for key in keys.iter().step_by(2) {
        delta.put(Family::Aggregate, key, &key[2..]).unwrap();
    }
    let files = write_files(&backend, directory.path(), "many", &delta.into_runs());
    backend.ingest(&files).unwrap();
    let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut found = 0;
    backend
        .get_many(Family::Aggregate, &wanted, &mut |position, value| {
            assert_eq!(value, (position % 2 == 0).then(|| &keys[position][2..]));
            found += usize::from(value.is_some());
            Ok(())
        })
        .unwrap();
    assert_eq!(found, 10_000);
    let stats = backend.stats(Family::Aggregate).unwrap();
    assert_eq!((stats.entries, stats.files), (10_000, 1));
    assert_eq!(stats.bytes, std::fs::metadata(&files[0].path).unwrap().len());
    assert_eq!(backend.stats(Family::Join).unwrap(), FamilyStats::default());
    // An error of the receiver ends the call.
    let stop = StateError::Order;
    let mut calls = 0;
    let result = backend.get_many(Family::Aggregate, &wanted, &mut |_, _| {
        calls += 1;
        Err(stop.clone())
    });
    assert_eq!((result, calls), (Err(StateError::Order), 1));
}

/// A cursor sees the state as it was when it was made, through drops of files too.
#[test]
fn cursors_are_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let backend = create(&directory.path().join("state"));
    let mut delta = Delta::new();
    for key in 0..100u8 {
        delta.put(Family::View, &[key], &[key]).unwrap();
    }
    let files = write_files(&backend, directory.path(), "a", &delta.into_runs());
    backend.ingest(&files).unwrap();
    let all = everything();
    let mut cursor = backend.scan(Family::View, &all).unwrap();
    backend.drop_range(Family::View, &all).unwrap();
    assert!(scan(&backend, Family::View, &all).is_empty());
    let mut found = 0;
    while let Some((key, value)) = cursor.next_entry().unwrap() {
        assert_eq!((key, value), (&[found][..], &[found][..]));
        found += 1;
    }
    assert_eq!(found, 100);
}

#[test]
fn damaged_and_missing_files_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let backend = create(&directory.path().join("state"));
    let mut delta = Delta::new();
    delta.put(Family::Meta, b"key", b"value").unwrap();
    let files = write_files(&backend, directory.path(), "a", &delta.into_runs());
    let bytes = std::fs::read(&files[0].path).unwrap();
    std::fs::write(&files[0].path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(backend.ingest(&files).is_err());
    std::fs::remove_file(&files[0].path).unwrap();
    assert!(matches!(backend.ingest(&files), Err(StateError::Io { .. })));
    assert_eq!(std::fs::read_dir(&backend.incoming).unwrap().count(), 0);
    // The database goes on.
    std::fs::write(&files[0].path, &bytes).unwrap();
    backend.ingest(&files).unwrap();
    assert_eq!(scan(&backend, Family::Meta, &everything()).len(), 1);
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"precious").unwrap();
    let mut delta = Delta::new();
    delta.put(Family::Meta, b"key", b"value").unwrap();
    let runs = delta.into_runs();
    for format in [&SstFormat::new() as &dyn RunFormat, &PlainFormat] {
        let run = runs.get(Family::Meta).unwrap();
        assert!(matches!(write_sorted_run(format, &path, run), Err(StateError::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}

#[test]
fn the_last_key_below_an_end_is_below_it() {
    assert_eq!(last_key_below(&[1, 0]), [1]);
    assert!(last_key_below(&[1]).as_slice() < &[1][..]);
    assert!(last_key_below(&[1]).as_slice() > &[0, 255, 255][..]);
    assert!(last_key_below(&[]).is_empty());
}
