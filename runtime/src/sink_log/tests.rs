//! Rows through the log: what is collected, laid out and read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_storage::state::{Delta, ModelBackend, StateError};
use tidemill_types::plan::{ChangelogKind, SinkLog};
use tidemill_types::vnode::hash_of_vnode;
use tidemill_types::{Epoch, Ops, TableId, VnodeMap, WorkerIndex};

use super::*;

fn log(lanes: u32, rolling_rows: u64, rolling_bytes: u64) -> SinkLog {
    SinkLog { lanes, incarnation: 1, rolling_rows, rolling_bytes, memory_bytes: 1, max_bytes: 1 }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn numbers(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

fn commit(backend: &ModelBackend, delta: Delta) {
    for (family, run) in delta.into_runs() {
        backend.apply(family, &run);
    }
}

/// Parts by writer and number, with their rows.
fn read(table: &LogTable, backend: &ModelBackend, epoch: u64) -> BTreeMap<(u16, u64), Vec<i64>> {
    let mut parts: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    let mut last = None;
    let each = |part: PartKey, batch: tidemill_types::ChangeBatch| {
        assert!(last <= Some(part), "a part is read in one piece");
        last = Some(part);
        let values = batch.rows.column(0).as_primitive::<Int64Type>().values();
        parts.entry((part.writer, part.part)).or_default().extend(values);
        Ok::<(), StateError>(())
    };
    table.read(backend, Epoch(epoch), each).unwrap();
    parts
}

#[test]
fn parts_are_cut_by_lane_and_writer() {
    let table = LogTable::new(TableId(3), &columns(), ChangelogKind::AppendOnly).unwrap();
    let backend = ModelBackend::new();
    let mut delta = Delta::new();
    let map = VnodeMap::new(3);
    // Two lanes over three workers: the second worker has a share of both.
    for worker in 0..3 {
        let vnodes = map.range(WorkerIndex(worker));
        let mut collector = Collector::new(log(2, 4, u64::MAX), &vnodes);
        let hashes: Vec<u64> = vnodes.clone().map(hash_of_vnode).collect();
        let rows = numbers(i64::from(vnodes.start)..i64::from(vnodes.end));
        let bytes = collector.push(table.values(), &[rows], &hashes).unwrap();
        assert!(bytes.is_some_and(|bytes| bytes == collector.bytes()));
        if worker != 1 {
            let foreign = hash_of_vnode((vnodes.end + 400) % 1024);
            let outside = collector.push(table.values(), &[numbers(0..1)], &[foreign]).unwrap();
            assert_eq!(outside, None, "of a lane that it has no share of");
        }
        for lane in collector.take() {
            table.write(&mut delta, Epoch(7), &lane).unwrap();
        }
        assert!(collector.take().is_empty() && collector.bytes() == 0);
    }
    commit(&backend, delta);
    let parts = read(&table, &backend, 7);
    let writers: Vec<u16> = parts.keys().map(|(writer, _)| *writer).collect();
    let mut distinct = writers.clone();
    distinct.dedup();
    assert_eq!(distinct, [0, 342, 512, 683]);
    assert!(parts.values().all(|rows| rows.len() <= 4 && rows.is_sorted()));
    let first: Vec<i64> = (0..342).collect();
    let of_first = parts.range((0, 0)..(1, 0)).flat_map(|(_, rows)| rows.clone());
    assert_eq!(of_first.collect::<Vec<_>>(), first);
}

#[test]
fn a_part_ends_by_its_bytes_too() {
    let table = LogTable::new(TableId(3), &columns(), ChangelogKind::AppendOnly).unwrap();
    let mut collector = Collector::new(log(1, u64::MAX, 25), &(0..1024));
    collector.push(table.values(), &[numbers(0..7)], &[0; 7]).unwrap();
    // Ten bytes a row: a version, a byte of NULLs and the number.
    assert_eq!(collector.take()[0].parts, [0, 3, 6]);
}

#[test]
fn slices_are_found_and_expired_in_order() {
    let table = LogTable::new(TableId(3), &columns(), ChangelogKind::AppendOnly).unwrap();
    let neighbour = LogTable::new(TableId(4), &columns(), ChangelogKind::AppendOnly).unwrap();
    let backend = ModelBackend::new();
    for (table, epochs) in [(&table, &[5, 9, 12][..]), (&neighbour, &[1, 9])] {
        for epoch in epochs {
            let mut collector = Collector::new(log(1, 100_000, u64::MAX), &(0..1024));
            collector.push(table.values(), &[numbers(0..5_000)], &[0; 5_000]).unwrap();
            let mut delta = Delta::new();
            table.write(&mut delta, Epoch(*epoch), &collector.take()[0]).unwrap();
            commit(&backend, delta);
        }
    }
    let first = |after: Option<u64>, through| {
        table.first_slice(&backend, after.map(Epoch), Epoch(through)).unwrap().map(|e| e.0)
    };
    assert_eq!(first(None, 4), None);
    assert_eq!(first(None, 5), Some(5));
    assert_eq!(first(Some(5), 20), Some(9));
    assert_eq!(first(Some(9), 11), None);
    assert_eq!(read(&table, &backend, 9)[&(0, 0)], (0..5_000).collect::<Vec<_>>());
    let all = table.bytes(&backend, None, Epoch(12)).unwrap();
    assert_eq!(table.bytes(&backend, Some(Epoch(9)), Epoch(12)).unwrap() * 3, all);
    let mut delta = Delta::new();
    table.expire(&mut delta, Epoch(9));
    commit(&backend, delta);
    assert_eq!(first(None, 20), Some(12));
    let kept = neighbour.first_slice(&backend, None, Epoch(20)).unwrap();
    assert_eq!(kept, Some(Epoch(1)), "another table's");
}

#[test]
fn changes_keep_their_signs() {
    let table = LogTable::new(TableId(3), &columns(), ChangelogKind::Upsert).unwrap();
    assert!(table.is_signed());
    let backend = ModelBackend::new();
    let mut collector = Collector::new(log(1, 100, u64::MAX), &(0..1024));
    let signs: ArrayRef = Arc::new(BooleanArray::from(vec![false, true]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    collector.push(table.values(), &[signs, values], &[0; 2]).unwrap();
    let mut delta = Delta::new();
    table.write(&mut delta, Epoch(1), &collector.take()[0]).unwrap();
    commit(&backend, delta);
    let each = |_, batch: tidemill_types::ChangeBatch| {
        let Ops::Signs { neg } = &batch.ops else { panic!() };
        assert!(!neg.value(0) && neg.value(1) && batch.rows.column(0).is_null(1));
        Ok::<(), StateError>(())
    };
    table.read(&backend, Epoch(1), each).unwrap();
}

#[test]
fn memory_is_counted_until_it_is_committed() {
    let progress = SinkProgress::new(100);
    progress.collected(60);
    assert!(progress.is_filling() && !progress.is_full());
    progress.dumped(Epoch(3), 60);
    progress.collected(45);
    assert!(progress.is_full());
    progress.dumped(Epoch(8), 45);
    progress.committed(Epoch(3));
    assert!(!progress.is_full() && !progress.is_filling());
    progress.collected(10);
    assert!(progress.is_filling());
    progress.committed(Epoch(8));
    assert!(!progress.is_filling());
    assert_eq!(progress.delivered(), None);
    progress.set_delivered(Epoch(8));
    progress.set_delivered(Epoch(3));
    assert_eq!(progress.delivered(), Some(Epoch(8)), "it never falls");
}
