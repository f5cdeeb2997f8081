//! Views against a slow twin: a `BTreeMap` per epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_types::{ChangeBatch, Epoch, ObjectId, Ops};

use super::*;

/// (key text, key number) -> value
type Model = BTreeMap<(Option<String>, i64), i64>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("number", DataType::Int64, false),
    ]))
}

fn keyed(parts: usize) -> Arc<View> {
    let schema = ViewSchema { stored: schema(), key: vec![1, 2], append_only: false };
    ViewStore::new().create(ObjectId(1), schema, parts).unwrap()
}

fn rows(values: &[(i64, Option<String>, i64)]) -> RecordBatch {
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(values.iter().map(|v| v.0))),
            Arc::new(StringViewArray::from_iter(values.iter().map(|v| v.1.as_deref()))),
            Arc::new(Int64Array::from_iter_values(values.iter().map(|v| v.2))),
        ],
    )
    .unwrap()
}

fn read(
    snapshot: &ViewSnapshot,
    part: usize,
    batch_rows: usize,
) -> Vec<((Option<String>, i64), i64)> {
    let mut out = Vec::new();
    // Columns in another order than stored, to check the projection too.
    for batch in snapshot.scan(part, Some(&[2, 0, 1]), batch_rows) {
        let batch = batch.unwrap();
        assert!(batch.num_rows() > 0 && batch.num_rows() <= batch_rows);
        let number = batch.column(0).as_primitive::<Int64Type>();
        let value = batch.column(1).as_primitive::<Int64Type>();
        let name = batch.column(2).as_string_view();
        for i in 0..batch.num_rows() {
            let name = name.is_valid(i).then(|| name.value(i).to_string());
            out.push(((name, number.value(i)), value.value(i)));
        }
    }
    let counted: usize =
        snapshot.scan(part, Some(&[]), batch_rows).map(|b| b.unwrap().num_rows()).sum();
    assert_eq!(counted, out.len(), "a scan without columns still counts");
    out
}

/// A name that is sometimes NULL, sometimes long enough to live outside the view.
fn name(rng: &mut StdRng) -> Option<String> {
    match rng.random_range(0..8) {
        0 => None,
        n if n < 4 => Some(format!("n{n}")),
        n => Some(format!("a name that is longer than twelve bytes {n}")),
    }
}

fn random_epoch(rng: &mut StdRng, model: &mut Model, keys: i64, size: usize) -> Vec<ChangeBatch> {
    let mut batches = Vec::new();
    let mut left = rng.random_range(0..=size);
    while left > 0 {
        let length = rng.random_range(1..=left);
        left -= length;
        let deletes = rng.random_bool(0.7);
        let mut values = Vec::new();
        let mut neg = Vec::new();
        for _ in 0..length {
            let row = (rng.random_range(0..1000), name(rng), rng.random_range(0..keys));
            let delete = deletes && rng.random_bool(0.4);
            if delete {
                model.remove(&(row.1.clone(), row.2));
            } else {
                model.insert((row.1.clone(), row.2), row.0);
            }
            neg.push(delete);
            values.push(row);
        }
        let ops = if deletes { Ops::Signs { neg: BooleanBuffer::from(neg) } } else { Ops::Insert };
        batches.push(ChangeBatch { rows: rows(&values), ops, hash: None });
    }
    batches
}

#[test]
fn a_keyed_view_equals_its_model_at_every_kept_epoch() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let view = keyed(1);
        let mut writer = view.writer(0).unwrap();
        let mut model = Model::new();
        let mut history: Vec<(Epoch, Model)> = Vec::new();
        let mut epoch = 0;
        let keys = *[3, 50, 4000].get(seed as usize % 3).unwrap();
        for _ in 0..rng.random_range(1..40) {
            let size = if rng.random_bool(0.2) { 0 } else { 300 };
            for batch in random_epoch(&mut rng, &mut model, keys, size) {
                writer.apply(&batch).unwrap();
            }
            epoch += rng.random_range(1..4);
            writer.seal(Epoch(epoch)).unwrap();
            history.push((Epoch(epoch), model.clone()));
        }
        let floor = rng.random_range(0..history.len());
        view.retain_from(history[floor].0);
        for (at, model) in &history[floor..] {
            let snapshot = view.read(*at).unwrap();
            let batch_rows = rng.random_range(1..200);
            let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), *v)).collect();
            assert_eq!(read(&snapshot, 0, batch_rows), expected, "seed {seed}, epoch {at}");
            assert!(snapshot.rows_at_most() >= expected.len());
        }
        let runs = view.stats().runs;
        assert!(runs <= 8, "{runs} runs");
    }
}

#[test]
fn a_pinned_version_outlives_pruning_and_pruned_epochs_are_refused() {
    let view = keyed(1);
    let mut writer = view.writer(0).unwrap();
    let put = |value| ChangeBatch::inserts(rows(&[(value, Some("k".into()), 1)]));
    for epoch in [2, 5, 9] {
        writer.apply(&put(epoch)).unwrap();
        writer.seal(Epoch(epoch as u64)).unwrap();
    }
    let pinned = view.read(Epoch(4)).unwrap();
    view.retain_from(Epoch(6));
    assert_eq!(read(&pinned, 0, 10), vec![((Some("k".into()), 1), 2)]);
    assert_eq!(read(&view.read(Epoch(6)).unwrap(), 0, 10), vec![((Some("k".into()), 1), 5)]);
    let refused = view.read(Epoch(4)).unwrap_err();
    assert_eq!(refused, ViewError::TooOld { epoch: Epoch(4), oldest: Epoch(5) });
    assert_eq!(refused.diagnostic().state.code(), "55000");
    assert_eq!(view.read(Epoch(10)).unwrap_err(), ViewError::NotYet { epoch: Epoch(10) });
    assert_eq!(
        view.read(Epoch(1)).unwrap_err(),
        ViewError::TooOld { epoch: Epoch(1), oldest: Epoch(5) }
    );
}

#[test]
fn an_epoch_is_visible_only_when_every_part_has_sealed_it() {
    let view = keyed(2);
    let (mut a, mut b) = (view.writer(0).unwrap(), view.writer(1).unwrap());
    a.apply(&ChangeBatch::inserts(rows(&[(1, None, 1)]))).unwrap();
    a.seal(Epoch(1)).unwrap();
    assert_eq!(view.read(Epoch(1)).unwrap_err(), ViewError::NotYet { epoch: Epoch(1) });
    b.seal(Epoch(1)).unwrap();
    let snapshot = view.read(Epoch(1)).unwrap();
    assert_eq!((read(&snapshot, 0, 8).len(), read(&snapshot, 1, 8).len()), (1, 0));
    assert_eq!(view.writer(0).unwrap_err(), ViewError::PartTaken { part: 0 });
    assert_eq!(
        a.seal(Epoch(1)).unwrap_err(),
        ViewError::EpochOrder { epoch: Epoch(1), sealed: Epoch(1) }
    );
}

#[test]
fn an_append_only_view_keeps_every_row_in_order() {
    let schema = ViewSchema { stored: schema(), key: vec![2], append_only: true };
    let view = ViewStore::new().create(ObjectId(1), schema, 1).unwrap();
    let mut writer = view.writer(0).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut expected = Vec::new();
    let mut lengths = Vec::new();
    for epoch in 1..300u64 {
        let length = if epoch % 50 == 0 { 20_000 } else { rng.random_range(0..40) };
        let values: Vec<_> =
            (0..length).map(|i| (i, name(&mut rng), expected.len() as i64 + i)).collect();
        expected.extend(values.iter().map(|v| ((v.1.clone(), v.2), v.0)));
        writer.apply(&ChangeBatch::inserts(rows(&values))).unwrap();
        writer.seal(Epoch(epoch)).unwrap();
        lengths.push(expected.len());
    }
    for epoch in [1u64, 2, 49, 50, 51, 200, 299] {
        let snapshot = view.read(Epoch(epoch)).unwrap();
        let length = lengths[epoch as usize - 1];
        assert_eq!(snapshot.rows_at_most(), length);
        assert_eq!(read(&snapshot, 0, 1000), expected[..length], "epoch {epoch}");
    }
    assert!(view.stats().runs <= 8);
    let deletion = ChangeBatch {
        rows: rows(&[(1, None, 1)]),
        ops: Ops::Signs { neg: BooleanBuffer::from(vec![true]) },
        hash: None,
    };
    assert_eq!(writer.apply(&deletion).unwrap_err(), ViewError::NotAppendOnly);
}

#[test]
fn a_view_without_a_key_has_one_row() {
    let schema = ViewSchema { stored: schema(), key: vec![], append_only: false };
    let view = ViewStore::new().create(ObjectId(1), schema, 1).unwrap();
    let mut writer = view.writer(0).unwrap();
    for epoch in 1..10 {
        let values = [(epoch, None, 0), (epoch * 10, None, epoch)];
        writer.apply(&ChangeBatch::inserts(rows(&values))).unwrap();
        writer.seal(Epoch(epoch as u64)).unwrap();
    }
    assert_eq!(read(&view.read(Epoch(7)).unwrap(), 0, 8), vec![((None, 7), 70)]);
}

/// A short string must not keep alive the large buffer that it was decoded into.
#[test]
fn stored_strings_own_little_memory() {
    let view = keyed(1);
    let mut writer = view.writer(0).unwrap();
    for epoch in 1..20u64 {
        let long = "x".repeat(1 << 20);
        let batch = rows(&[
            (1, Some(long), 1),
            (2, Some(format!("a kept name of more than 12 bytes {epoch}")), 2),
        ]);
        let kept = ChangeBatch::inserts(batch).slice(1, 1);
        writer.apply(&kept).unwrap();
        writer.seal(Epoch(epoch)).unwrap();
    }
    assert!(view.stats().bytes < 20_000, "{} bytes", view.stats().bytes);
}

/// Large merges of keys that arrive in order share chunks instead of copying.
#[test]
fn ordered_keys_are_merged_by_sharing() {
    let view = keyed(1);
    let mut writer = view.writer(0).unwrap();
    for epoch in 0..8u64 {
        let values: Vec<_> = (0..8192).map(|i| (i, None, epoch as i64 * 8192 + i)).collect();
        writer.apply(&ChangeBatch::inserts(rows(&values))).unwrap();
        writer.seal(Epoch(epoch + 1)).unwrap();
    }
    let version = view.parts[0].at(Epoch(8)).unwrap();
    let first = view.parts[0].at(Epoch(1)).unwrap();
    assert!(Arc::ptr_eq(&version.runs[0].chunks[0], &first.runs[0].chunks[0]));
    assert_eq!(read(&view.read(Epoch(8)).unwrap(), 0, 8192).len(), 8 * 8192);
}
