//! Deltas, merged runs and plain files say what the changes said.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;
use super::{Change, Twin, changes, compare, delta, write_files};

#[test]
fn deltas_do_what_their_changes_do() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (backend, mut twin) = (ModelBackend::new(), Twin::default());
        let directory = tempfile::tempdir().unwrap();
        for number in 0..rng.random_range(1..6) {
            let changes = changes(&mut rng, 40);
            twin.apply(&changes);
            let delta = delta(&changes);
            let said = changes.iter().filter(|c| !matches!(c, Change::DeleteRange(_, _))).count();
            assert_eq!(delta.len(), said);
            let empty = delta.is_empty();
            let runs = delta.into_runs();
            assert_eq!(runs.is_empty(), empty);
            let files = write_files(&backend, directory.path(), &number.to_string(), &runs);
            for (file, (family, run)) in files.iter().zip(runs.iter()) {
                assert_eq!(file.family, family);
                assert_eq!(&read_plain(&file.path).unwrap(), run);
            }
            backend.ingest(&files).unwrap();
            // Once more does no harm.
            backend.ingest(&files).unwrap();
            compare(&backend, &twin, &mut rng);
        }
    }
}

/// Deltas of several workers, merged into one run per family, against the changes
/// one after another.
#[test]
fn merged_runs_do_what_all_deltas_do() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (backend, mut twin) = (ModelBackend::new(), Twin::default());
        let before = changes(&mut rng, 40);
        twin.apply(&before);
        for (family, run) in delta(&before).into_runs() {
            backend.apply(family, &run);
        }
        let workers = rng.random_range(1..4);
        let mut deltas = Vec::new();
        for _ in 0..rng.random_range(1..5) {
            let changes = changes(&mut rng, 40);
            twin.apply(&changes);
            deltas.push(by_worker(&changes, workers));
        }
        for family in Family::ALL {
            let runs: Vec<Vec<SortedRun>> = deltas
                .iter()
                .map(|d| d.iter().filter_map(|runs| runs.get(family).cloned()).collect())
                .collect();
            let merged = merge_runs(&runs).unwrap();
            assert!(merged.entries().eq(MergedEntries::new(&runs)));
            assert!(merged.entries().map(|(key, _)| key).is_sorted_by(|a, b| a < b));
            backend.apply(family, &merged);
        }
        compare(&backend, &twin, &mut rng);
    }
}

/// Each key belongs to one worker; range deletions are anyone's.
fn by_worker(changes: &[Change], workers: usize) -> Vec<SortedRuns> {
    let owner = |(position, change): (usize, &Change)| match change {
        Change::Put(_, key, _) | Change::Delete(_, key) => {
            key.iter().map(|b| usize::from(*b)).sum::<usize>() % workers
        }
        Change::DeleteRange(_, _) => position % workers,
    };
    let share = |worker| {
        let own = changes.iter().enumerate().filter(|c| owner(*c) == worker);
        delta(&own.map(|(_, change)| change.clone()).collect::<Vec<_>>()).into_runs()
    };
    (0..workers).map(share).collect()
}

#[test]
fn range_deletions_are_joined() {
    let mut delta = Delta::new();
    for (from, to) in [(3, 5), (1, 2), (2, 3), (9, 9), (4, 4), (7, 9), (4, 6), (8, 7)] {
        delta.delete_range(Family::View, KeyRange { from: vec![from], to: vec![to] });
    }
    let runs = delta.into_runs();
    let ranges = runs.get(Family::View).unwrap().ranges();
    let bounds: Vec<_> = ranges.iter().map(|r| (r.from[0], r.to[0])).collect();
    assert_eq!(bounds, [(1, 6), (7, 9)]);
}

#[test]
fn a_delta_without_changes_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none");
    let empty = SortedRun::default();
    assert_eq!(write_sorted_run(&PlainFormat, &path, &empty).unwrap(), None);
    assert!(!path.exists());
}

#[test]
fn keys_out_of_order_are_refused_and_leave_no_file() {
    struct Unordered(u8);
    impl RunSource for Unordered {
        fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError> {
            self.0 += 1;
            Ok((self.0 < 3).then_some((&b"same"[..], None)))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unordered");
    let error = write_run(&PlainFormat, &path, &[], &mut Unordered(0)).unwrap_err();
    assert_eq!(error, StateError::Order);
    assert!(!path.exists());
}

#[test]
fn damaged_plain_files_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    let mut rng = StdRng::seed_from_u64(7);
    let all = delta(&changes(&mut rng, 40)).into_runs();
    let (_, run) = all.into_iter().next().unwrap();
    write_sorted_run(&PlainFormat, &path, &run).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << rng.random_range(0..8);
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(read_plain(&path), Err(StateError::Damaged(_))), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(read_plain(&path), Err(StateError::Damaged(_))), "length {at}");
    }
    assert!(matches!(read_plain(&directory.path().join("x")), Err(StateError::Io { .. })));
}

/// A cursor sees the state as it was when it was made.
#[test]
fn cursors_are_pinned() {
    let backend = ModelBackend::new();
    let put = |key: u8| {
        let mut delta = Delta::new();
        delta.put(Family::Meta, &[key], b"value").unwrap();
        for (family, run) in delta.into_runs() {
            backend.apply(family, &run);
        }
    };
    put(1);
    let all = KeyRange { from: vec![0], to: vec![9] };
    let mut cursor = backend.scan(Family::Meta, &all).unwrap();
    put(2);
    assert!(cursor.next_entry().unwrap().is_some());
    assert!(cursor.next_entry().unwrap().is_none());
    assert_eq!(backend.stats(Family::Meta).unwrap().entries, 2);
}
