//! Deltas, files, tables and backends together, against slow twins.

mod merging;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use rand::Rng;
use rand::rngs::StdRng;

use super::*;

/// A family's entries.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries of all families, changed one by one.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Twin {
    pub(super) families: [Entries; Family::ALL.len()],
}

/// Changes of one delta, in order.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, KeyRange),
}

impl Twin {
    /// Range deletions first, as they apply to what was there before.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::DeleteRange(family, range) = change {
                self.families[family.index()].retain(|key, _| !range.contains(key));
            }
        }
        for change in changes {
            match change {
                Change::Put(family, key, value) => {
                    self.families[family.index()].insert(key.clone(), value.clone());
                }
                Change::Delete(family, key) => {
                    self.families[family.index()].remove(key);
                }
                Change::DeleteRange(_, _) => {}
            }
        }
    }
}

pub(super) fn delta(changes: &[Change]) -> Delta {
    let mut delta = Delta::new();
    for change in changes {
        match change {
            Change::Put(family, key, value) => delta.put(*family, key, value).unwrap(),
            Change::Delete(family, key) => delta.delete(*family, key).unwrap(),
            Change::DeleteRange(family, range) => delta.delete_range(*family, range.clone()),
        }
    }
    delta
}

/// Few letters: keys meet again, and begin one another.
pub(super) fn key(rng: &mut StdRng) -> Vec<u8> {
    (0..rng.random_range(1..5)).map(|_| [0, 1, 255][rng.random_range(0..3)]).collect()
}

pub(super) fn range(rng: &mut StdRng) -> KeyRange {
    KeyRange { from: key(rng), to: key(rng) }
}

fn family(rng: &mut StdRng) -> Family {
    Family::ALL[rng.random_range(0..3)]
}

pub(super) fn changes(rng: &mut StdRng, most: usize) -> Vec<Change> {
    let count = rng.random_range(0..=most);
    let change = |rng: &mut StdRng| match rng.random_range(0..12) {
        0 => Change::DeleteRange(family(rng), range(rng)),
        1..4 => Change::Delete(family(rng), key(rng)),
        _ => {
            let length = [0, 1, 30][rng.random_range(0..3)];
            let value = (0..length).map(|_| rng.random()).collect();
            Change::Put(family(rng), key(rng), value)
        }
    };
    (0..count).map(|_| change(rng)).collect()
}

pub(super) fn scan(backend: &dyn StateBackend, family: Family, range: &KeyRange) -> Entries {
    let mut cursor = backend.scan(family, range).unwrap();
    let mut found = Entries::new();
    while let Some((key, value)) = cursor.next_entry().unwrap() {
        let after = found.last_key_value().is_none_or(|(last, _)| last.as_slice() < key);
        assert!(after, "a cursor goes forward");
        found.insert(key.to_vec(), value.to_vec());
    }
    assert!(cursor.next_entry().unwrap().is_none());
    found
}

/// Keys of the tests lie in it.
pub(super) fn everything() -> KeyRange {
    KeyRange { from: Vec::new(), to: vec![255; 8] }
}

/// Writes the runs of a delta to files of the backend's format.
pub(super) fn write_files(
    backend: &dyn StateBackend,
    directory: &Path,
    name: &str,
    runs: &SortedRuns,
) -> Vec<IngestFile> {
    let format = backend.run_format();
    let file = |(family, run): (Family, &SortedRun)| {
        let path = directory.join(format!("{name}-{}.{}", family.name(), format.extension()));
        let file = write_sorted_run(format, &path, run).unwrap().unwrap();
        assert_eq!(file.entries, run.len() as u64);
        assert_eq!(file.bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!((file.bytes, file.digest), file::digest(&path).unwrap());
        IngestFile { family, path }
    };
    runs.iter().map(file).collect()
}

/// Everything that a backend answers is what the twin has.
pub(super) fn compare(backend: &dyn StateBackend, twin: &Twin, rng: &mut StdRng) {
    for family in Family::ALL {
        let entries = &twin.families[family.index()];
        assert_eq!(&scan(backend, family, &everything()), entries);
        for _ in 0..4 {
            let range = range(rng);
            let mut expected = entries.clone();
            expected.retain(|key, _| range.contains(key));
            assert_eq!(scan(backend, family, &range), expected);
        }
        let mut keys: Vec<_> = (0..rng.random_range(0..20)).map(|_| key(rng)).collect();
        if rng.random() {
            keys.sort_unstable();
        }
        let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        let mut found = vec![None; keys.len()];
        let mut answers = 0;
        backend
            .get_many(family, &keys, &mut |position, value| {
                found[position] = value.map(<[u8]>::to_vec);
                answers += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(answers, keys.len());
        let expected: Vec<_> = keys.iter().map(|key| entries.get(*key).cloned()).collect();
        assert_eq!(found, expected);
    }
}
