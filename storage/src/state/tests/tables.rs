//! Tables against a map of their rows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Int64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_types::vnode::{hash_columns, vnode_of};
use tidemill_types::{TableId, VNODE_COUNT};

use super::super::codec::samples::{choose, column, value_types};
use super::super::*;

type Key = (Option<i64>, String);

/// Slice and key -> value.
type Rows = BTreeMap<(Option<i64>, Key), String>;

fn table(number: u32, sliced: bool, hashed: bool) -> StateTable {
    let key = KeyCodec::new(&[DataType::Int64, DataType::Utf8View]).unwrap();
    let value = ValueCodec::new(&[DataType::Utf8View]).unwrap();
    let family = if sliced { Family::Window } else { Family::Aggregate };
    StateTable::new(TableId(number), family, sliced, hashed, key, value).unwrap()
}

/// The distribution key is the first column.
fn key_columns<'a>(keys: impl Iterator<Item = &'a Key> + Clone) -> (Vec<ArrayRef>, Vec<u64>) {
    let number: ArrayRef = Arc::new(Int64Array::from_iter(keys.clone().map(|k| k.0)));
    let text: ArrayRef = Arc::new(StringViewArray::from_iter_values(keys.map(|k| &k.1)));
    let mut hashes = Vec::new();
    hash_columns(std::slice::from_ref(&number), number.len(), &mut hashes).unwrap();
    (vec![number, text], hashes)
}

fn random_key(rng: &mut StdRng) -> Key {
    let number = rng.random_bool(0.9).then(|| rng.random_range(-20..20));
    let text = ["", "a", "a\0", "ab", "a text that is longer than a view"][rng.random_range(0..5)];
    (number, text.to_owned())
}

fn random_slice(rng: &mut StdRng, table: &StateTable) -> Option<i64> {
    let slices = [i64::MIN, -10, 0, 10, 20, i64::MAX];
    table.layout().sliced().then(|| slices[rng.random_range(0..6)])
}

/// Random writes, deletions and expiries of one delta.
fn change(rng: &mut StdRng, table: &mut StateTable, delta: &mut Delta, rows: &mut Rows) {
    // Expiries concern the rows before the delta, so they come first here.
    for _ in 0..rng.random_range(0..2) {
        match (rng.random_range(0..5), random_slice(rng, table)) {
            (0, _) => {
                table.expire_table(delta);
                rows.clear();
            }
            (1, Some(last)) => {
                table.expire_slices_through(delta, last);
                rows.retain(|(slice, _), _| *slice > Some(last));
            }
            (_, Some(gone)) => {
                table.expire_slice(delta, gone);
                rows.retain(|(slice, _), _| *slice != Some(gone));
            }
            (_, None) => {}
        }
    }
    for _ in 0..rng.random_range(0..4) {
        let slice = random_slice(rng, table);
        let keys: Vec<_> = (0..rng.random_range(0..60)).map(|_| random_key(rng)).collect();
        let (columns, hashes) = key_columns(keys.iter());
        if rng.random_bool(0.3) {
            table.delete(delta, slice, &hashes, &columns).unwrap();
            keys.into_iter().for_each(|key| drop(rows.remove(&(slice, key))));
        } else {
            let values: Vec<_> = keys.iter().map(|_| rng.random::<u16>().to_string()).collect();
            let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(&values));
            table.write(delta, slice, &hashes, &columns, &[column]).unwrap();
            rows.extend(keys.into_iter().map(|key| (slice, key)).zip(values));
        }
    }
}

fn read(table: &StateTable, backend: &dyn StateBackend, vnodes: Range<u16>) -> Rows {
    let mut found = Rows::new();
    table
        .read(backend, vnodes.clone(), |rows: StateRows| {
            let (numbers, texts) =
                (rows.keys[0].as_primitive::<Int64Type>(), rows.keys[1].as_string_view());
            assert!((1..=READ_ROWS).contains(&rows.rows) && numbers.len() == rows.rows);
            let mut hashes = Vec::new();
            hash_columns(&rows.keys[..1], rows.rows, &mut hashes).unwrap();
            assert_eq!(rows.hashes, if table.layout().hashed() { hashes.clone() } else { vec![] });
            assert!(hashes.iter().all(|hash| vnodes.contains(&vnode_of(*hash))));
            for row in 0..rows.rows {
                let number = numbers.is_valid(row).then(|| numbers.value(row));
                let key = (rows.slice, (number, texts.value(row).to_owned()));
                let value = rows.values[0].as_string_view().value(row).to_owned();
                assert!(found.insert(key, value).is_none(), "a row comes once");
            }
            Ok::<_, StateError>(())
        })
        .unwrap();
    found
}

fn find(rng: &mut StdRng, table: &mut StateTable, backend: &dyn StateBackend, rows: &Rows) {
    let slice = random_slice(rng, table);
    let keys: Vec<_> = (0..20).map(|_| random_key(rng)).collect();
    let (columns, hashes) = key_columns(keys.iter());
    let (positions, values) = table.find(backend, slice, &hashes, &columns).unwrap();
    let values = values[0].as_string_view().iter().map(|v| v.unwrap().to_owned());
    let found: Vec<_> = positions.into_iter().zip(values).collect();
    let expected: Vec<_> = keys
        .into_iter()
        .enumerate()
        .filter_map(|(position, key)| Some((position, rows.get(&(slice, key))?.clone())))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn tables_keep_their_rows() {
    for seed in 0..120 {
        let mut rng = StdRng::seed_from_u64(seed);
        let backend = ModelBackend::new();
        let mut tables: Vec<(StateTable, Rows)> =
            (0..4).map(|n| (table(n * 3 + 250, n & 1 == 1, n & 2 == 2), Rows::new())).collect();
        for _ in 0..rng.random_range(1..8) {
            let mut delta = Delta::new();
            for (table, rows) in &mut tables {
                change(&mut rng, table, &mut delta, rows);
            }
            for (family, run) in delta.into_runs() {
                backend.apply(family, &run);
            }
        }
        for (table, rows) in &mut tables {
            assert_eq!(&read(table, &backend, 0..VNODE_COUNT as u16), rows, "seed {seed}");
            // Any cut into ranges gives every row once.
            let (a, b) = (rng.random_range(0..=1024), rng.random_range(0..=1024));
            let mut parts = Rows::new();
            for vnodes in [0..a.min(b), a.min(b)..a.max(b), a.max(b)..1024] {
                parts.extend(read(table, &backend, vnodes));
            }
            assert_eq!(&parts, rows, "seed {seed}");
            find(&mut rng, table, &backend, rows);
        }
    }
}

/// Batches end at their limit, and columns of every type pass through.
#[test]
fn many_rows_of_many_types() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let types = choose(&mut rng, &value_types(), 1..8);
        let key = KeyCodec::new(&[DataType::Int64]).unwrap();
        let value = ValueCodec::new(&types).unwrap();
        let mut table =
            StateTable::new(TableId(1), Family::Aggregate, false, true, key, value).unwrap();
        let rows = 2 * READ_ROWS + 100;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let mut hashes = Vec::new();
        hash_columns(std::slice::from_ref(&numbers), rows, &mut hashes).unwrap();
        let values: Vec<_> = types.iter().map(|t| column(&mut rng, t, rows)).collect();
        let mut delta = Delta::new();
        table.write(&mut delta, None, &hashes, &[numbers], &values).unwrap();
        let backend = ModelBackend::new();
        delta.into_runs().into_iter().for_each(|(family, run)| backend.apply(family, &run));
        let (mut sizes, mut found) = (Vec::new(), 0);
        table
            .read(&backend, 0..1024, |batch| {
                sizes.push(batch.rows);
                for row in 0..batch.rows {
                    let number = batch.keys[0].as_primitive::<Int64Type>().value(row) as usize;
                    assert_eq!(batch.hashes[row], hashes[number]);
                    for (found, written) in batch.values.iter().zip(&values) {
                        assert_eq!(
                            found.slice(row, 1).to_data(),
                            written.slice(number, 1).to_data()
                        );
                    }
                }
                found += batch.rows;
                Ok::<_, StateError>(())
            })
            .unwrap();
        assert_eq!(found, rows);
        assert!(sizes.iter().all(|size| *size <= READ_ROWS) && sizes.len() >= 3, "{sizes:?}");
    }
}

#[test]
fn what_does_not_fit_the_table_is_refused() {
    let mut sliced = table(1, true, true);
    let (columns, hashes) = key_columns([(Some(1), String::new())].iter());
    let mut delta = Delta::new();
    for (slice, columns) in [(None, &columns[..]), (Some(1), &columns[..1])] {
        let error = sliced.delete(&mut delta, slice, &hashes, columns).unwrap_err();
        assert!(matches!(error, StateError::Columns { .. }));
    }
    let error = sliced.write(&mut delta, Some(1), &hashes, &columns, &[]).unwrap_err();
    assert!(matches!(error, StateError::Columns { .. }));
    assert!(delta.is_empty());
}

/// Entries of another meaning under a table's prefix are told, not read.
#[test]
fn damaged_entries_are_told() {
    let damaged = [&b"\0\0\0\x01"[..], b"\0\0\0\x01\0\0\0\0\0\0\0\0\0\x01\x01", b"\0\0\0\x01\0"];
    for key in damaged {
        let backend = ModelBackend::new();
        let mut delta = Delta::new();
        delta.put(Family::Window, key, b"\x01").unwrap();
        delta.into_runs().into_iter().for_each(|(family, run)| backend.apply(family, &run));
        for vnodes in [0..1024, 0..512] {
            let nothing = |_: StateRows| Ok::<_, StateError>(());
            let error = table(1, true, false).read(&backend, vnodes, nothing).unwrap_err();
            assert!(matches!(error, StateError::Damaged(_)));
        }
    }
}
