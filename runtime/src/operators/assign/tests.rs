//! Both time operators against [`WindowSpec::assign`], row by row.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_types::plan;
use tidemill_types::{ChangeBatch, WATERMARK_END, hidden};

use super::super::{Operator, Output, Step};
use super::*;

fn input(rows: &[(Option<i64>, i64)]) -> ChangeBatch {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Schema::new(vec![
        Field::new("ts", time, true),
        Field::new(hidden::ROW_WATERMARK, DataType::Int64, false),
    ]);
    let ts: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<TimestampMicrosecondArray>());
    let watermark: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>());
    let rows = RecordBatch::try_new(Arc::new(schema), vec![ts, watermark]).unwrap();
    let hash = (0..rows.num_rows() as u64).collect();
    ChangeBatch { hash: Some(hash), ..ChangeBatch::inserts(rows) }
}

fn with(columns: [Field; 2]) -> Arc<Schema> {
    let mut fields: Vec<Field> =
        input(&[]).rows.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(columns);
    Arc::new(Schema::new(fields))
}

fn random_rows(rng: &mut SmallRng) -> Vec<(Option<i64>, i64)> {
    let count = rng.random_range(0..60);
    let base = rng.random_range(-30..30);
    (0..count)
        .map(|_| {
            let ts = match rng.random_range(0..50) {
                0 => None,
                1 => Some(i64::MIN + rng.random_range(0..20)),
                2 => Some(i64::MAX - rng.random_range(0..20)),
                _ => Some(base + rng.random_range(-9..9)),
            };
            let watermark = match rng.random_range(0..30) {
                0..10 => WATERMARK_NONE,
                10 => WATERMARK_END,
                _ => base + rng.random_range(-20..20),
            };
            (ts, watermark)
        })
        .collect()
}

/// Rows that go on, as (row, slice end, first window end), and the counts.
fn twin(
    window: &WindowSpec,
    lateness: i64,
    rows: &[(Option<i64>, i64)],
) -> (Vec<(u64, i64, i64)>, Counters) {
    let mut counters = Counters { rows_in: rows.len() as u64, ..Counters::default() };
    let mut placed = Vec::new();
    for (row, (ts, watermark)) in rows.iter().enumerate() {
        let Some(ts) = ts else {
            counters.null_time += 1;
            continue;
        };
        let a = window.assign(*ts, *watermark, lateness);
        counters.late_window_rows += a.refused_windows as u64;
        if a.late {
            counters.late_rows += 1;
            continue;
        }
        counters.admitted += 1;
        if window.earliest_window_end(a.slice_end) <= window.latest_window_end(a.slice_end) {
            placed.push((row as u64, a.slice_end, a.first_window_end));
        }
    }
    (placed, counters)
}

fn settings() -> impl Iterator<Item = (u64, WindowSpec, i64)> {
    (0..600u64).map(|seed| {
        let (size, slide) = [(10, 10), (10, 5), (12, 3), (3, 10), (7, 2)][(seed % 5) as usize];
        let offset = (seed / 5 % 3) as i64;
        (seed, WindowSpec::hop(size, slide, offset), [0, 5][(seed / 15 % 2) as usize])
    })
}

#[test]
fn slices_are_those_of_the_definition() {
    let schema = with([
        Field::new(hidden::SLICE_END, DataType::Int64, false),
        Field::new(hidden::FIRST_WINDOW_END, DataType::Int64, false),
    ]);
    for (seed, window, allowed_lateness) in settings() {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rows = random_rows(&mut rng);
        let spec = plan::AssignSlices {
            window,
            time_column: 0,
            watermark_column: Some(1),
            allowed_lateness,
        };
        let mut operator = AssignSlices::new(spec, Arc::clone(&schema));
        let (expected, mut counters) = twin(&window, allowed_lateness, &rows);
        counters.rows_out = expected.len() as u64;
        let mut out = Output::default();
        assert_eq!(operator.push(0, input(&rows), &mut out).unwrap(), Step::Done);
        let mut got = Vec::new();
        while let Some(batch) = out.pop() {
            let hash = batch.hash.clone().unwrap();
            let slice_ends = batch.rows.column(2).as_primitive::<Int64Type>();
            let first_ends = batch.rows.column(3).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                got.push((hash[row], slice_ends.value(row), first_ends.value(row)));
            }
        }
        assert_eq!(got, expected, "seed {seed} {window:?}");
        assert_eq!(operator.counters(), counters, "seed {seed} {window:?}");
    }
}

#[test]
fn rows_are_repeated_for_every_window_that_admits_them() {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = with([
        Field::new("window_start", time.clone(), false),
        Field::new("window_end", time, false),
    ]);
    for (seed, window, allowed_lateness) in settings() {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut rows = random_rows(&mut rng);
        // At the ends of time windows saturate; the definition has no word on them.
        rows.retain(|(ts, _)| ts.is_none_or(|ts| (-1_000..1_000).contains(&ts)));
        let spec = plan::AssignWindows {
            window,
            time_column: 0,
            watermark_column: Some(1),
            allowed_lateness,
        };
        let batch_rows = [1, 3, 100][rng.random_range(0..3)];
        let mut operator = AssignWindows::new(spec, Arc::clone(&schema), batch_rows).unwrap();
        let (placed, mut counters) = twin(&window, allowed_lateness, &rows);
        let expected: Vec<(u64, i64, i64)> = placed
            .iter()
            .flat_map(|(row, slice_end, first)| {
                let last = window.latest_window_end(*slice_end);
                let ends = (*first..=last).step_by(window.slide as usize);
                ends.map(|end| (*row, end - window.size, end))
            })
            .collect();
        counters.rows_out = expected.len() as u64;
        let mut out = Output::default();
        let mut step = operator.push(0, input(&rows), &mut out).unwrap();
        while step == Step::MoreOutput {
            step = operator.resume(&mut out).unwrap();
        }
        let mut got = Vec::new();
        while let Some(batch) = out.pop() {
            assert!(batch.num_rows() <= batch_rows);
            let hash = batch.hash.clone().unwrap();
            let starts = batch.rows.column(2).as_primitive::<TimestampMicrosecondType>();
            let ends = batch.rows.column(3).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                got.push((hash[row], starts.value(row), ends.value(row)));
            }
        }
        assert_eq!(got, expected, "seed {seed} {window:?}");
        assert_eq!(operator.counters(), counters, "seed {seed} {window:?}");
    }
}
